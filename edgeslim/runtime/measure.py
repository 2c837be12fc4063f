"""A latency table taken by the session itself, when nobody has measured this device before.

    now:   every candidate, forwards then backwards, one in memory at a time; about three seconds
    gaps:  the narrowest and the widest now, the others while the app does something else between its frames

Shorter than `edgeslim bench` (at least 10 runs and 0.5 s of warm-up) and in the app's own process, so every row says so
in its notes. The order A B C … C B A keeps a device that slowly warms from favouring one artifact.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain

import edgeslim
from edgeslim.core.latency import LatencyRow, LatencyStatistics, LatencyTable
from edgeslim.core.passport import BatterySpan, RuntimeInfo, ThermalSpan
from edgeslim.core.quality import quality
from edgeslim.files import sha256_file
from edgeslim.host import machine
from edgeslim.host.sampling import example_inputs, timed_runs
from edgeslim.host.sysfs import Battery, Heat
from edgeslim.runtime.deployment import Deployment
from edgeslim.runtime.loading import FrameGate, LoadingThread
from edgeslim.runtime.pool import ArtifactPool, LoadedArtifact
from edgeslim.targets.base import Runner

NOTE = "taken by a session at first use, in the app's own process"
SECONDS = 3.0
_MIN_RUNS = 5
_WARMUP_RUNS = 2
_BLOCK_S = 0.12
_GAP_RUNS = 8
_GAP_SHARE = 1.3  # a gap has to be this much longer than the run
_APART = 1.2  # in multiply-adds: closer nets seldom both stay on a ladder, whose rungs are 1.25x apart as a rule


def candidates(deployment: Deployment) -> tuple[str, ...]:
    """Artifacts worth measuring: of every variant the widest and the narrowest, and between them neighbours at least
    1.2x apart in multiply-adds; from narrow to wide."""
    known = quality(deployment.bundle).as_dict()
    kept: set[str] = set()
    for variant in deployment.variants:
        plans = [plan for plan in deployment.plans.values() if plan.variant == variant.id and plan.artifact in known]
        chosen = plans[-1:]
        for plan in reversed(plans[:-1]):
            if plan.macs * _APART <= chosen[-1].macs:
                chosen.append(plan)
        kept |= {plan.artifact for plan in (*chosen, *plans[:1])}
    return tuple(artifact for artifact in deployment.plans if artifact in kept)


@dataclass(slots=True, kw_only=True)
class Samples:
    """Timed runs of one artifact, in blocks, and what its runtime said about itself."""

    runtime: RuntimeInfo
    heat_start: Heat
    battery_start: Battery
    warmup_runs: int = 0
    blocks: list[list[int]] = field(default_factory=list)
    started_at: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))

    @classmethod
    def of(cls, runner: Runner) -> Samples:
        return cls(runtime=runner.describe(), heat_start=machine.heat(), battery_start=machine.battery())

    @property
    def runs(self) -> int:
        return sum(map(len, self.blocks))

    @property
    def seconds(self) -> float:
        return sum(map(sum, self.blocks)) / 1e9


class Measurement:
    """Collects samples of several artifacts and turns them into a table; ``threads`` are those asked for."""

    def __init__(self, deployment: Deployment, threads: int) -> None:
        self.deployment = deployment
        self._threads = threads
        self.samples: dict[str, Samples] = {}

    def block(self, loaded: LoadedArtifact, seconds: float) -> None:
        """Warm up, then run for about ``seconds`` and at least five times."""
        found = self.samples.setdefault(loaded.plan.artifact, Samples.of(loaded.runner))
        with loaded.in_use:
            call = _call(loaded)
            last = min(timed_runs(call, _WARMUP_RUNS))
            found.warmup_runs += _WARMUP_RUNS
            runs = max(_MIN_RUNS, min(int(seconds * 1e9 / max(last, 1)), 1000))
            found.blocks.append(timed_runs(call, runs))

    def one(self, loaded: LoadedArtifact, *, keep: Callable[[], bool]) -> None:
        """A single run, which counts if ``keep`` says so afterwards; the first ones of an artifact are warm-up."""
        found = self.samples.setdefault(loaded.plan.artifact, Samples.of(loaded.runner))
        with loaded.in_use:
            (sample,) = timed_runs(_call(loaded), 1)
        if found.warmup_runs < _WARMUP_RUNS:
            found.warmup_runs += 1
        elif keep():
            found.blocks.append([sample])

    def table(self) -> LatencyTable:
        """Everything measured so far."""
        measured = [artifact for artifact in self.deployment.plans if artifact in self.samples]
        rows = [self._row(order, name) for order, name in enumerate(measured) if self.samples[name].runs]
        return LatencyTable(
            edgeslim_version=edgeslim.__version__,
            created_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            quality=quality(self.deployment.bundle),
            rows=tuple(rows),
        )

    def here_ms(self) -> dict[str, float]:
        """p50 per artifact, to scale another device's table."""
        return {row.artifact: row.p50_ms for row in self.table().rows if row.p50_ms is not None}

    def _row(self, order: int, artifact: str) -> LatencyRow:
        found = self.samples[artifact]
        plan = self.deployment.plans[artifact]
        samples_ms = tuple(round(ns / 1e6, 4) for block in found.blocks for ns in block)
        thermal = _thermal(found.heat_start, machine.heat())
        rose = (thermal.level_max or 0) > (thermal.level_start or 0)
        return LatencyRow(
            file_sha256=plan.key,
            bundle_sha256=sha256_file(self.deployment.bundle.path),
            artifact=artifact,
            net=plan.net,
            label=plan.label,
            width_permille=plan.width_permille,
            target=self.deployment.target,
            precision=plan.precision,
            input_shape=plan.inputs[0].shape,
            device=machine.device(),
            os=machine.operating_system(),
            runtime=dataclasses.replace(found.runtime, threads=self._threads),
            context="app",
            warmup_runs=found.warmup_runs,
            runs=len(samples_ms),
            duration_s=found.seconds,
            **dataclasses.asdict(LatencyStatistics.of(samples_ms)),
            samples_ms=samples_ms,
            block_runs=tuple(len(block) for block in found.blocks),
            thermal=thermal,
            battery=_battery(found.battery_start, machine.battery()),
            kind="burst",
            order=order,
            seed=0,
            valid=not rose,
            reasons=("the thermal level rose",) if rose else (),
            notes=(NOTE,),
            started_at=found.started_at,
            edgeslim_version=edgeslim.__version__,
        )


def measure_now(
    pool: ArtifactPool, deployment: Deployment, artifacts: Sequence[str], *, threads: int, seconds: float = SECONDS
) -> Measurement:
    """Measure ``artifacts`` one after the other, forwards and backwards; those that cannot be loaded are missing."""
    found = Measurement(deployment, threads)
    block_s = min(_BLOCK_S, seconds / (2 * len(artifacts)))
    for artifact in (*artifacts, *reversed(artifacts)):
        loaded = pool.bring(artifact)
        if loaded is not None:
            found.block(loaded, block_s)
    return found


def _call(loaded: LoadedArtifact) -> Callable[[], object]:
    inputs = example_inputs(loaded.plan.inputs)
    return lambda: loaded.run(inputs)


class GapMeasurement:
    """Measures the artifacts that are still missing, one run per gap between two frames, on the loading thread.

    ``offer`` is called once per frame and says which artifact should be in memory for it.
    """

    def __init__(
        self,
        found: Measurement,
        pool: ArtifactPool,
        gate: FrameGate,
        missing: Sequence[str],
        *,
        done: Callable[[Measurement], None],
    ) -> None:
        self._found = found
        self._pool = pool
        self._gate = gate
        self._missing = list(missing)
        self._need_ns = max(statistics.median(chain(*samples.blocks)) for samples in found.samples.values())
        self._done = done
        self._busy = False

    def offer(self) -> str | None:
        """The artifact to be measured next; None when all are."""
        if not self._missing:
            return None
        if not self._busy and self._gate.idle_ns > _GAP_SHARE * self._need_ns:
            self._busy = True
            LoadingThread.shared().submit(self._step)
        return self._missing[0]

    def _step(self) -> None:
        try:
            artifact = self._missing[0]
            if self._pool.has_failed(artifact):
                self._next()
                return
            loaded = self._pool.peek(artifact)
            if loaded is None or not self._gate.wait_for_gap(self._need_ns / 1e9):
                return
            begun = self._gate.begun
            self._found.one(loaded, keep=lambda: self._gate.begun == begun)
            if self._found.samples[artifact].runs >= _GAP_RUNS:
                self._next()
        finally:
            self._busy = False

    def _next(self) -> None:
        self._missing.pop(0)
        if not self._missing:
            self._done(self._found)


def _thermal(start: Heat, end: Heat) -> ThermalSpan:
    levels = [heat.level for heat in (start, end) if heat.level is not None]
    return ThermalSpan(
        level_start=start.level,
        level_end=end.level,
        level_max=max(levels, default=None),
        zone_c_start=start.zone_c,
        zone_c_end=end.zone_c,
    )


def _battery(start: Battery, end: Battery) -> BatterySpan:
    return BatterySpan(
        permille_start=start.permille, permille_end=end.permille, charging=end.charging, low_power=end.low_power
    )
