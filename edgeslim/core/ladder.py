"""From a latency table and accuracies to the rungs a controller climbs.

    rows ─► usable (measured, valid, quality known) ─► Pareto ─► thinning (1.25x in p50, from the widest down) ─► Ladder
                 └────────── every width left out says why ──────┴──────────────┘

Rungs have strictly increasing latency and quality, whole microseconds and microjoules. Nothing is interpolated across
widths. Where accuracies are unknown, what the table names stands in (multiply-adds; the width itself as a last
resort) and ``Ladder.metric`` says so.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeslim.core.latency import (
    BatterySpan,
    ClockSpan,
    DeviceInfo,
    LatencyRow,
    LatencyTable,
    LoadSpan,
    OsInfo,
    Prior,
    Probe,
    RuntimeInfo,
    ThermalSpan,
)
from edgeslim.core.width import Width
from edgeslim.errors import TableError

MAX_TIME_US = 60_000_000
MAX_ENERGY_UJ = 1_000_000_000
ESTIMATED_WATTS = 2  # where energy is not measured: microjoules = microseconds x 2 W
THIN_NUMERATOR, THIN_DENOMINATOR = 5, 4  # neighbours at least 1.25x apart; a denser ladder switches 12 times a minute


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One width: p50 on a cool device, energy per inference, and what it is worth (``Ladder.metric``)."""

    width: Width
    t_us: int
    e_uj: int
    quality: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedWidth:
    """A width the ladder does not use, and why."""

    width: Width
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """Rungs from narrow to wide; ``notes`` say what stands in for what.

    Raises:
        TableError: no rung, latencies or qualities not strictly increasing, energies decreasing, values out of range.
    """

    rungs: tuple[Rung, ...]
    metric: str = "top1"
    energy_estimated: bool = False
    dropped: tuple[DroppedWidth, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.rungs:
            raise TableError("a ladder needs at least one width", hint="`edgeslim bench` measures some")
        for rung in self.rungs:
            if not (1 <= rung.t_us <= MAX_TIME_US and 0 <= rung.e_uj <= MAX_ENERGY_UJ):
                raise TableError(f"width {rung.width}: {rung.t_us} µs or {rung.e_uj} µJ is out of range")
        for low, high in zip(self.rungs, self.rungs[1:], strict=False):
            if not (low.t_us < high.t_us and low.e_uj <= high.e_uj and low.quality < high.quality):
                raise TableError(
                    f"widths {low.width} and {high.width} are no ladder: the wider must cost and give more"
                )

    @property
    def widths(self) -> tuple[Width, ...]:
        return tuple(rung.width for rung in self.rungs)

    def index(self, width: Width) -> int:
        """The rung of ``width``; ``TableError`` if it is none."""
        if width not in self.widths:
            raise TableError(f"width {width} is not a rung; rungs are {', '.join(map(str, self.widths))}")
        return self.widths.index(width)

    def without(self, width: Width, reason: str) -> Ladder:
        """The ladder of the other rungs, for a width that cannot be loaded."""
        gone = self.index(width)
        return dataclasses.replace(
            self,
            rungs=self.rungs[:gone] + self.rungs[gone + 1 :],
            dropped=(*self.dropped, DroppedWidth(width=width, reason=reason)),
        )


def ladder(
    table: LatencyTable,
    accuracies: Mapping[Width, float] | None = None,
    *,
    target: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    doubtful: bool = False,
) -> Ladder:
    """The Pareto-optimal, thinned rungs of ``table``.

    Args:
        table: burst rows are used, and rows of kind ``prior`` for widths that have none.
        accuracies: per width, in any unit where more is better; default the table's own quality.
        target, precision, threads: needed where the table holds several.
        doubtful: use measured rows that do not count, too.

    Raises:
        TableError: nothing usable, or rows of several targets, precisions, thread counts or devices.
    """
    notes: list[str] = []
    dropped: list[DroppedWidth] = []
    rows = _one_per_width(table.select(target=target, precision=precision, threads=threads))
    rows = _measured(rows, dropped, notes, doubtful=doubtful)
    quality, metric = _quality(rows, table, accuracies, dropped, notes)
    rungs, estimated = _priced([row for row in rows if row.width in quality], quality, notes)
    rungs = _thinned(_pareto(rungs, dropped), dropped)
    return Ladder(
        rungs=_energy_rising(rungs, notes),
        metric=metric,
        energy_estimated=estimated,
        dropped=tuple(sorted(dropped, key=lambda item: item.width)),
        notes=tuple(notes),
    )


def _one_per_width(rows: Sequence[LatencyRow]) -> list[LatencyRow]:
    """Burst before prior, the last of several; refuses to mix what is not one place."""
    usable = [row for row in rows if row.kind != "sustained"]
    if not usable:
        raise TableError(
            "the table has no burst row for this choice",
            hint="`edgeslim bench --kind burst` measures what a ladder needs",
        )
    places: dict[str, set[object]] = {
        "target": {row.target for row in usable},
        "precision": {row.precision for row in usable},
        "threads": {row.runtime.threads for row in usable},
        "input shape": {row.input_shape for row in usable},
        "device": {row.device.model for row in usable},
    }
    for name, values in places.items():
        if len(values) > 1:
            raise TableError(
                f"the table holds several values of {name}: {', '.join(sorted(map(str, values)))}",
                hint=f"choose one, e.g. --{name} {min(map(str, values))}",
            )
    best: dict[int, LatencyRow] = {}
    for row in sorted(usable, key=lambda row: (row.kind == "burst", row.valid)):
        best[row.width_permille] = row
    return [best[permille] for permille in sorted(best)]


def _measured(
    rows: list[LatencyRow], dropped: list[DroppedWidth], notes: list[str], *, doubtful: bool
) -> list[LatencyRow]:
    timed = [row for row in rows if row.p50_ms is not None]
    dropped += [_drop(row.width, f"not measured: {'; '.join(row.reasons)}") for row in rows if row.p50_ms is None]
    valid = [row for row in timed if row.valid]
    if not valid and timed:
        notes.append("no row calls itself valid: the ladder stands on doubtful rows")
        return timed
    if doubtful and len(valid) < len(timed):
        notes.append(f"{len(timed) - len(valid)} of {len(timed)} rows do not count, and are used all the same")
        return timed
    dropped += [_drop(row.width, f"not valid: {'; '.join(row.reasons)}") for row in timed if not row.valid]
    return valid


def _quality(
    rows: list[LatencyRow],
    table: LatencyTable,
    accuracies: Mapping[Width, float] | None,
    dropped: list[DroppedWidth],
    notes: list[str],
) -> tuple[dict[Width, float], str]:
    """What each width is worth, and in which unit; widths without a value are dropped where others have one."""
    metric = "top1"
    if accuracies is None and table.quality is not None:
        accuracies, metric = table.quality.as_dict(), table.quality.metric
    found = {row.width: float(accuracies[row.width]) for row in rows if accuracies and row.width in accuracies}
    if not found:
        notes.append("accuracies are unknown: the width stands in, so every faster width is worth less")
        return {row.width: float(row.width_permille) for row in rows}, "width"
    if metric == "macs":
        notes.append("accuracies are unknown: multiply-adds stand in")
    for row in rows:
        if row.width not in found:
            dropped.append(_drop(row.width, f"its {metric} is unknown, others have one"))
    return found, metric


def _priced(rows: list[LatencyRow], quality: Mapping[Width, float], notes: list[str]) -> tuple[list[Rung], bool]:
    """Whole microseconds and microjoules; energy is measured for all or estimated for all."""
    estimated = any(row.energy_mj_per_inference is None for row in rows)
    if estimated:
        notes.append(f"energy is estimated: {ESTIMATED_WATTS} W while an inference runs")
    rungs = []
    for row in rows:
        assert row.p50_ms is not None
        t_us = min(max(math.floor(row.p50_ms * 1000 + 0.5), 1), MAX_TIME_US)
        e_uj = t_us * ESTIMATED_WATTS if estimated else math.floor((row.energy_mj_per_inference or 0.0) * 1000 + 0.5)
        rungs.append(Rung(width=row.width, t_us=t_us, e_uj=min(e_uj, MAX_ENERGY_UJ), quality=quality[row.width]))
    return rungs, estimated


def _pareto(rungs: list[Rung], dropped: list[DroppedWidth]) -> list[Rung]:
    """Those that no other beats: sorted by latency, each must be worth more than all before it."""
    kept: list[Rung] = []
    for rung in sorted(rungs, key=lambda rung: (rung.t_us, -rung.quality, rung.width)):
        if kept and rung.quality <= kept[-1].quality:
            best = kept[-1]
            dropped.append(
                _drop(
                    rung.width,
                    f"{rung.t_us / 1000:.3g} ms for {rung.quality:.6g} is beaten by "
                    f"{best.width} ({best.t_us / 1000:.3g} ms for {best.quality:.6g})",
                )
            )
        else:
            kept.append(rung)
    return kept


def _thinned(rungs: list[Rung], dropped: list[DroppedWidth]) -> list[Rung]:
    kept = rungs[-1:]
    for rung in reversed(rungs[:-1]):
        if rung.t_us * THIN_NUMERATOR <= kept[-1].t_us * THIN_DENOMINATOR:
            kept.append(rung)
        else:
            reason = f"too close to {kept[-1].width}: {kept[-1].t_us / rung.t_us:.2f}x faster, a rung needs 1.25x"
            dropped.append(_drop(rung.width, reason))
    return kept[::-1]


def _energy_rising(rungs: list[Rung], notes: list[str]) -> tuple[Rung, ...]:
    """A rung never costs less than a narrower one: noise in the meter must not break the power budget's search."""
    rising: list[Rung] = []
    for rung in rungs:
        if rising and rung.e_uj < rising[-1].e_uj:
            notes.append(f"width {rung.width} measured less energy than {rising[-1].width}: raised to the same")
            rung = dataclasses.replace(rung, e_uj=rising[-1].e_uj)
        rising.append(rung)
    return tuple(rising)


def _drop(width: Width, reason: str) -> DroppedWidth:
    return DroppedWidth(width=width, reason=reason)


def scale_prior(
    table: LatencyTable,
    here_ms: Mapping[Width, float],
    *,
    device: DeviceInfo,
    os: OsInfo,
    runtime: RuntimeInfo,
    created_at: str,
    target: str | None = None,
    precision: str | None = None,
) -> LatencyTable:
    """Another device's burst rows, scaled by a quick probe of (best: two far apart) widths on this one.

    One factor for all widths, the geometric mean of the probes' ratios. Rows are marked ``kind="prior"`` and the header
    keeps the other device and the probes; energy, heat and samples of the other device do not come along.

    Raises:
        TableError: no probe is a width of the table, or a probe is not a positive time.
    """
    rows = _one_per_width(table.select(target=target, precision=precision))
    there = {row.width: row for row in rows if row.p50_ms is not None and row.valid}
    probes = []
    for width in sorted(here_ms):
        if width not in there:
            raise TableError(f"the probed width {width} is not in the prior table")
        if not here_ms[width] > 0:
            raise TableError(f"the probe of width {width} is {here_ms[width]} ms, expected a positive time")
        there_ms = there[width].p50_ms
        assert there_ms is not None
        probes.append(Probe(permille=width.permille, there_ms=there_ms, here_ms=here_ms[width]))
    if not probes:
        raise TableError("a prior needs at least one probed width", hint="time the narrowest and the widest")
    scale = math.exp(sum(math.log(probe.here_ms / probe.there_ms) for probe in probes) / len(probes))
    scaled = (_scaled(row, scale, device, os, runtime, created_at) for row in there.values())
    return LatencyTable(
        edgeslim_version=table.edgeslim_version,
        created_at=created_at,
        quality=table.quality,
        prior=Prior(device=rows[0].device, probes=tuple(probes), scale=scale),
        rows=tuple(scaled),
    )


_TIMES = ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "mean_ms", "std_ms", "min_ms", "max_ms")
_LOADS = ("rebuild_ms", "load_cold_ms", "load_warm_ms", "first_inference_ms")


def _scaled(
    row: LatencyRow, scale: float, device: DeviceInfo, os: OsInfo, runtime: RuntimeInfo, created_at: str
) -> LatencyRow:
    times = {name: getattr(row, name) * scale for name in _TIMES}
    times |= {name: None if getattr(row, name) is None else getattr(row, name) * scale for name in _LOADS}
    return dataclasses.replace(
        row,
        **times,
        kind="prior",
        device=device,
        os=os,
        runtime=runtime,
        samples_ms=None,
        samples_file=None,
        block_runs=None,
        peak_rss_bytes=None,
        thermal=ThermalSpan(),
        battery=BatterySpan(),
        clock=ClockSpan(),
        load=LoadSpan(),
        energy_mj_per_inference=None,
        energy_method="none",
        started_at=created_at,
    )
