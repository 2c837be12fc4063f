"""From what one cell's process reported to a row of the table."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path

import edgeslim
from edgeslim.benchmark.board import validity
from edgeslim.benchmark.board.messages import Block, Prepared
from edgeslim.core.job import Cell, Job
from edgeslim.core.latency import LatencyRow, LatencyStatistics
from edgeslim.core.passport import BatterySpan, ClockSpan, DeviceInfo, OsInfo, RuntimeInfo, ThermalSpan
from edgeslim.host import machine
from edgeslim.host.load import Load
from edgeslim.host.sysfs import Battery, Heat

_LOOK_EVERY_S = 1.0  # reading sysfs, or asking a Pi's firmware, must not disturb
_NS_DIGITS = 4  # of a millisecond: 0.1 µs, finer than the clock is honest


@dataclass(slots=True, kw_only=True)
class Tally:
    """One cell while it is being measured."""

    cell: Cell
    order: int
    root: Path
    started_at: str = ""
    prepared: Prepared | None = None
    run_ms: float = 0.0
    warmup_runs: int = 0
    blocks: list[Block] = field(default_factory=list)
    heats: list[Heat] = field(default_factory=list)
    batteries: list[Battery] = field(default_factory=list)
    clocks_khz: list[int | None] = field(default_factory=list)
    peak_rss_bytes: int | None = None
    notes: list[str] = field(default_factory=list)
    _next_look: float = 0.0

    def __post_init__(self) -> None:
        self.started_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.look()

    def look(self, *, now: bool = False) -> None:
        """Note the machine's state; asked more often than every second it does nothing, unless it must be ``now``."""
        if time.monotonic() < self._next_look and not now:
            return
        self._next_look = time.monotonic() + _LOOK_EVERY_S
        self.heats.append(machine.heat(self.root))
        self.batteries.append(machine.battery(self.root))
        self.clocks_khz.append(machine.clock_khz(self.root))

    @property
    def runs(self) -> int:
        return sum(len(block.samples_ns) for block in self.blocks)

    @property
    def measured_s(self) -> float:
        return sum(block.load.wall_s for block in self.blocks)

    def thermal(self) -> ThermalSpan:
        first, last = self.heats[0], self.heats[-1]
        return ThermalSpan(
            level_start=first.level,
            level_end=last.level,
            level_max=max((heat.level for heat in self.heats if heat.level is not None), default=None),
            zone_c_start=first.zone_c,
            zone_c_end=last.zone_c,
        )

    def battery(self) -> BatterySpan:
        known = [battery.charging for battery in self.batteries if battery.charging is not None]
        saving = [battery.low_power for battery in self.batteries if battery.low_power is not None]
        return BatterySpan(
            permille_start=self.batteries[0].permille,
            permille_end=self.batteries[-1].permille,
            charging=any(known) if known else None,
            low_power=any(saving) if saving else None,
        )

    def clock(self, reference_ms: float) -> ClockSpan:
        khz = {"khz_start": self.clocks_khz[0], "khz_end": self.clocks_khz[-1]}
        if not self.blocks:
            return ClockSpan(baseline_ms_reference=reference_ms, **khz)
        start_ms, end_ms = validity.third_medians_ms([block.baseline_ns for block in self.blocks])
        return ClockSpan(baseline_ms_reference=reference_ms, baseline_ms_start=start_ms, baseline_ms_end=end_ms, **khz)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowMaker:
    """What all rows of one session share."""

    job: Job
    device: DeviceInfo
    os: OsInfo
    reference_ms: float

    def row(self, tally: Tally, *, failure: str | None = None) -> LatencyRow:
        """The finished row; with ``failure`` it keeps what was measured before, and does not count."""
        job, prepared, blocks = self.job, tally.prepared, tally.blocks
        said = _unknown_runtime(tally.cell) if prepared is None else prepared.runtime
        runtime = dataclasses.replace(said, threads=tally.cell.threads)
        thermal, battery, clock = tally.thermal(), tally.battery(), tally.clock(self.reference_ms)
        load = Load.total(block.load for block in blocks)
        samples_ms = tuple(round(ns / 1e6, _NS_DIGITS) for block in blocks for ns in block.samples_ns)
        if failure is None:
            reasons = validity.reasons(
                job,
                blocks,
                thermal=thermal,
                battery=battery,
                clock=clock,
                load=load,
                runtime=runtime,
                threads_used=said.threads,
            )
        else:
            reasons = (failure,)
        energy_uj = _energy_uj(blocks)
        return LatencyRow(
            file_sha256=tally.cell.file_sha256,
            bundle_sha256=job.bundle_sha256,
            artifact=tally.cell.artifact,
            net=tally.cell.net,
            label=tally.cell.label,
            width_permille=tally.cell.width_permille,
            target=tally.cell.target,
            precision=tally.cell.precision,
            input_shape=tally.cell.input_shape,
            device=self.device,
            os=self.os,
            runtime=runtime,
            context="process",
            rebuild_ms=None if prepared is None else prepared.rebuild_ms,
            load_cold_ms=None if prepared is None else prepared.load_cold_ms,
            load_warm_ms=None if prepared is None else prepared.load_warm_ms,
            first_inference_ms=None if prepared is None else prepared.first_inference_ms,
            warmup_runs=tally.warmup_runs,
            runs=len(samples_ms),
            duration_s=tally.measured_s,
            **(dataclasses.asdict(LatencyStatistics.of(samples_ms)) if samples_ms else {}),
            samples_ms=samples_ms or None,
            block_runs=tuple(len(block.samples_ns) for block in blocks) or None,
            peak_rss_bytes=tally.peak_rss_bytes,
            thermal=thermal,
            battery=battery,
            clock=clock,
            load=load,
            energy_mj_per_inference=None if energy_uj is None else energy_uj / 1000 / len(samples_ms),
            energy_method="none" if energy_uj is None else blocks[0].energy_method,
            kind=job.kind,
            order=tally.order,
            seed=job.seed,
            valid=not reasons,
            reasons=reasons,
            notes=tuple(tally.notes),
            started_at=tally.started_at,
            edgeslim_version=edgeslim.__version__,
        )


def _energy_uj(blocks: list[Block]) -> float | None:
    values = [block.energy_uj for block in blocks]
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _unknown_runtime(cell: Cell) -> RuntimeInfo:
    """Of a cell that never loaded."""
    return RuntimeInfo(
        name=cell.target,
        version="unknown",
        delegate_requested=cell.backend,
        delegate_actual=None,
        threads=cell.threads,
        load_mode=None,
    )
