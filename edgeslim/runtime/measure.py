"""A latency table taken by the session itself, when nobody has measured this device before.

    now:   every candidate, forwards then backwards, one in memory at a time; about three seconds
    gaps:  the narrowest and the widest now, the others while the app does something else between its frames

Shorter than `edgeslim bench` (at least 10 runs and 0.5 s of warm-up) and in the app's own process, so every row says so
in its notes. The order A B C … C B A keeps a device that slowly warms from favouring one width.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain

import edgeslim
from edgeslim.core.latency import (
    BatterySpan,
    LatencyRow,
    LatencyTable,
    RuntimeInfo,
    Statistics,
    ThermalSpan,
)
from edgeslim.core.width import Width
from edgeslim.core.worth import quality
from edgeslim.files import sha256_file
from edgeslim.host import machine
from edgeslim.host.sampling import example_input, timed_runs
from edgeslim.host.sysfs import Battery, Heat
from edgeslim.runtime.deployment import Deployment
from edgeslim.runtime.loading import FrameGate, LoadingThread
from edgeslim.runtime.pool import LoadedWidth, WidthPool
from edgeslim.targets.base import Runner

NOTE = "taken by a session at first use, in the app's own process"
SECONDS = 3.0
_MIN_RUNS = 5
_WARMUP_RUNS = 2
_BLOCK_S = 0.12
_GAP_RUNS = 8
_GAP_SHARE = 1.3  # a gap has to be this much longer than the run
_APART = 1.2  # in multiply-adds: closer widths would not both stay on a ladder whose rungs are 1.25x apart


def candidates(deployment: Deployment) -> tuple[Width, ...]:
    """Widths worth measuring: the widest and the narrowest, between them neighbours at least 1.2x apart in MACs."""
    macs = deployment.macs
    known = quality(deployment.bundle).as_dict()
    widths = sorted(width for width in macs if width in known)
    kept = [widths[-1]]
    for width in reversed(widths[:-1]):
        if macs[width] * _APART <= macs[kept[-1]]:
            kept.append(width)
    if kept[-1] != widths[0]:
        kept.append(widths[0])
    return tuple(kept[::-1])


@dataclass(slots=True, kw_only=True)
class Samples:
    """Timed runs of one width, in blocks, and what its runtime said about itself."""

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
    """Collects samples of several widths and turns them into a table."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.samples: dict[Width, Samples] = {}
        self._image = example_input(deployment.input.shape, deployment.input.dtype)

    def block(self, loaded: LoadedWidth, seconds: float) -> None:
        """Warm up, then run for about ``seconds`` and at least five times."""
        found = self.samples.setdefault(loaded.width, Samples.of(loaded.runner))
        with loaded.in_use:
            call = self._call(loaded.runner)
            last = min(timed_runs(call, _WARMUP_RUNS))
            found.warmup_runs += _WARMUP_RUNS
            runs = max(_MIN_RUNS, min(int(seconds * 1e9 / max(last, 1)), 1000))
            found.blocks.append(timed_runs(call, runs))

    def one(self, loaded: LoadedWidth, *, keep: Callable[[], bool]) -> None:
        """A single run, which counts if ``keep`` says so afterwards; the first ones of a width are warm-up."""
        found = self.samples.setdefault(loaded.width, Samples.of(loaded.runner))
        with loaded.in_use:
            (sample,) = timed_runs(self._call(loaded.runner), 1)
        if found.warmup_runs < _WARMUP_RUNS:
            found.warmup_runs += 1
        elif keep():
            found.blocks.append([sample])

    def _call(self, runner: Runner) -> Callable[[], object]:
        run, image = runner.run, self._image
        return lambda: run(image)

    def table(self) -> LatencyTable:
        """Everything measured so far."""
        rows = [self._row(order, width) for order, width in enumerate(sorted(self.samples)) if self.samples[width].runs]
        return LatencyTable(
            edgeslim_version=edgeslim.__version__,
            created_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            quality=quality(self.deployment.bundle),
            rows=tuple(rows),
        )

    def here_ms(self) -> dict[Width, float]:
        """p50 per width, to scale another device's table."""
        return {row.width: row.p50_ms for row in self.table().rows if row.p50_ms is not None}

    def _row(self, order: int, width: Width) -> LatencyRow:
        found = self.samples[width]
        variant, plan = self.deployment.variant, self.deployment.plans[width]
        samples_ms = tuple(round(ns / 1e6, 4) for block in found.blocks for ns in block)
        thermal = _thermal(found.heat_start, machine.heat())
        rose = (thermal.level_max or 0) > (thermal.level_start or 0)
        return LatencyRow(
            file_sha256=plan.key,
            bundle_sha256=sha256_file(self.deployment.bundle.path),
            width_permille=width.permille,
            target=variant.target,
            precision=variant.precision,
            input_shape=variant.inputs[0].shape,
            device=machine.device(),
            os=machine.operating_system(),
            runtime=found.runtime,
            warmup_runs=found.warmup_runs,
            runs=len(samples_ms),
            duration_s=found.seconds,
            **dataclasses.asdict(Statistics.of(samples_ms)),
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
    pool: WidthPool, deployment: Deployment, widths: Sequence[Width], *, seconds: float = SECONDS
) -> Measurement:
    """Measure ``widths`` one after the other, forwards and backwards; those that cannot be loaded are missing."""
    found = Measurement(deployment)
    block_s = min(_BLOCK_S, seconds / (2 * len(widths)))
    for width in (*widths, *reversed(widths)):
        loaded = pool.bring(width)
        if loaded is not None:
            found.block(loaded, block_s)
    return found


class GapMeasurement:
    """Measures the widths that are still missing, one run per gap between two frames, on the loading thread.

    ``offer`` is called once per frame and says which width should be in memory for it.
    """

    def __init__(
        self,
        found: Measurement,
        pool: WidthPool,
        gate: FrameGate,
        missing: Sequence[Width],
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

    def offer(self) -> Width | None:
        """The width to be measured next; None when all are."""
        if not self._missing:
            return None
        if not self._busy and self._gate.idle_ns > _GAP_SHARE * self._need_ns:
            self._busy = True
            LoadingThread.shared().submit(self._step)
        return self._missing[0]

    def _step(self) -> None:
        try:
            width = self._missing[0]
            if self._pool.has_failed(width):
                self._next()
                return
            loaded = self._pool.peek(width)
            if loaded is None or not self._gate.wait_for_gap(self._need_ns / 1e9):
                return
            begun = self._gate.begun
            self._found.one(loaded, keep=lambda: self._gate.begun == begun)
            if self._found.samples[width].runs >= _GAP_RUNS:
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
