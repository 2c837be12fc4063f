"""From a latency table and what its artifacts are worth to the rungs a controller climbs.

    rows ─► usable (measured, valid, worth known) ─► Pareto ─► thinning by value ─► Ladder
                 └────────── every artifact left out says why ────┴──────┘

Artifacts of one runtime on one device with one thread count stand side by side, whatever their precision, input size
or net. Rungs have strictly increasing latency and worth, all whole numbers: decimals of the table are rounded half up
on the double, ``floor(x * 1000 + 0.5)``, before anything is compared. Nothing is interpolated. Where accuracies are
unknown, what the table names stands in (multiply-adds; else the width, else the latency); ``Ladder.metric`` says so.
``tests/golden/ladder`` has tables and their ladders for all languages.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeslim.core.latency import LatencyRow, LatencyTable
from edgeslim.core.reasons import Reason
from edgeslim.core.worth import LATENCY, MACS, MAX_WORTH, WIDTH, worth
from edgeslim.errors import TableError

MAX_TIME_US = 60_000_000
MAX_ENERGY_UJ = 1_000_000_000
ESTIMATED_WATTS = 2  # where energy is not measured: microjoules = microseconds x 2 W
# As (numerator, denominator). A ladder with every rung that a table has switches 12 times a minute.
STEP = (5, 4)  # from the widest down, the next rung is so much faster
LEAP = (3, 2)  # where no rung is nearer than that, one of those leapt over is put back
APART = (21, 20)  # and even then, or at the narrowest, rungs are so far apart
GAIN = (1, 200)  # of its worth, more than the rung below: a rung that brings less costs more in late frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One artifact: p50 on a cool device, energy per inference, what it is worth (``Ladder.metric``), its name."""

    artifact: str
    t_us: int
    energy_uj: int
    worth: int
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedArtifact:
    """An artifact that the ladder does not use, and why."""

    artifact: str
    label: str
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """Rungs from narrow to wide; ``notes`` say what stands in for what.

    Raises:
        TableError: no rung, an artifact twice, latencies or worths not strictly increasing, energies decreasing, values
            out of range.
    """

    rungs: tuple[Rung, ...]
    metric: str = "top1"
    energy_estimated: bool = False
    dropped: tuple[DroppedArtifact, ...] = ()
    notes: tuple[Reason, ...] = ()

    def __post_init__(self) -> None:
        if not self.rungs:
            raise TableError("a ladder needs at least one rung", hint="`edgeslim bench` measures some")
        if len(set(self.artifacts)) < len(self.rungs):
            raise TableError(f"an artifact is two rungs: {', '.join(self.artifacts)}")
        for rung in self.rungs:
            if not (1 <= rung.t_us <= MAX_TIME_US and 0 <= rung.energy_uj <= MAX_ENERGY_UJ):
                raise TableError(f"{rung.artifact}: {rung.t_us} µs or {rung.energy_uj} µJ is out of range")
            if not -MAX_WORTH <= rung.worth <= MAX_WORTH:
                raise TableError(f"{rung.artifact}: a worth of {rung.worth} is out of range")
        for low, high in zip(self.rungs, self.rungs[1:], strict=False):
            if not (low.t_us < high.t_us and low.energy_uj <= high.energy_uj and low.worth < high.worth):
                raise TableError(f"{low.artifact} and {high.artifact} are no ladder: the wider must cost and give more")

    @property
    def artifacts(self) -> tuple[str, ...]:
        return tuple(rung.artifact for rung in self.rungs)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(rung.label for rung in self.rungs)

    def index(self, artifact: str) -> int:
        """The rung of ``artifact``; ``TableError`` if it is none."""
        if artifact not in self.artifacts:
            raise TableError(f"{artifact} is not a rung; rungs are {', '.join(self.artifacts)}")
        return self.artifacts.index(artifact)

    def without(self, artifact: str, reason: Reason) -> Ladder:
        """The ladder of the other rungs, for an artifact that cannot be loaded."""
        gone = self.index(artifact)
        drop = DroppedArtifact(artifact=artifact, label=self.rungs[gone].label, reason=reason)
        return dataclasses.replace(
            self, rungs=self.rungs[:gone] + self.rungs[gone + 1 :], dropped=(*self.dropped, drop)
        )


def ladder(
    table: LatencyTable,
    accuracies: Mapping[str, float] | None = None,
    *,
    target: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    device: str | None = None,
    context: str | None = None,
    doubtful: bool = False,
) -> Ladder:
    """The Pareto-optimal, thinned rungs of ``table``.

    Args:
        table: burst rows are used, and rows of kind ``prior`` for artifacts that have none.
        accuracies: per artifact, in any unit where more is better; default the table's own quality.
        target, threads, device, context: needed where the table holds several; ``device`` is a model's name.
        precision: only rows of this one.
        doubtful: use measured rows that do not count, too.

    Raises:
        TableError: nothing usable, or rows of several targets, thread counts, devices or contexts.
    """
    notes: list[Reason] = []
    dropped: list[DroppedArtifact] = []
    chosen = table.select(target=target, precision=precision, threads=threads, device=device, context=context)
    rows = _measured(one_per_artifact(chosen), dropped, notes, doubtful=doubtful)
    worths, metric = _worths(rows, table, accuracies, dropped, notes)
    rungs, estimated = _priced([row for row in rows if row.artifact in worths], worths, notes)
    rungs = thinned(_pareto(rungs, dropped), dropped)
    return Ladder(
        rungs=_energy_rising(rungs, notes),
        metric=metric,
        energy_estimated=estimated,
        dropped=tuple(sorted(dropped, key=lambda item: item.artifact)),
        notes=tuple(notes),
    )


def one_per_artifact(rows: Sequence[LatencyRow]) -> list[LatencyRow]:
    """Burst before prior, valid before not, the last of several; by artifact id.

    Raises:
        TableError: none, or rows of several targets, thread counts, devices or contexts.
    """
    usable = [row for row in rows if row.kind != "sustained"]
    if not usable:
        raise TableError(
            "the table has no burst row for this choice",
            hint="`edgeslim bench --kind burst` measures what a ladder needs",
        )
    places: dict[str, set[str]] = {
        "target": {row.target for row in usable},
        "threads": {str(row.runtime.threads) for row in usable},
        "device": {row.device.model for row in usable},
        "context": {row.context for row in usable},
    }
    for name, values in places.items():
        if len(values) > 1:
            raise TableError(
                f"the table holds several values of {name}: {', '.join(sorted(values))}",
                hint=f"choose one, e.g. --{name} {min(values)}",
            )
    best: dict[str, LatencyRow] = {}
    for row in sorted(usable, key=lambda row: (row.kind == "burst", row.valid)):
        best[row.artifact] = row
    return [best[artifact] for artifact in sorted(best)]


def _measured(
    rows: list[LatencyRow], dropped: list[DroppedArtifact], notes: list[Reason], *, doubtful: bool
) -> list[LatencyRow]:
    timed = [row for row in rows if row.p50_ms is not None]
    dropped += [_drop(row, "not_measured", why="; ".join(row.reasons)) for row in rows if row.p50_ms is None]
    valid = [row for row in timed if row.valid]
    if not valid and timed:
        notes.append(Reason.of("all_doubtful"))
        return timed
    if doubtful and len(valid) < len(timed):
        notes.append(Reason.of("some_doubtful", count=len(timed) - len(valid), of=len(timed)))
        return timed
    dropped += [_drop(row, "not_valid", why="; ".join(row.reasons)) for row in timed if not row.valid]
    return valid


def _worths(
    rows: list[LatencyRow],
    table: LatencyTable,
    accuracies: Mapping[str, float] | None,
    dropped: list[DroppedArtifact],
    notes: list[Reason],
) -> tuple[dict[str, int], str]:
    """What each artifact is worth, and in which metric; those without a value are dropped where others have one."""
    metric, larger = "top1", True
    if accuracies is None and table.quality is not None:
        accuracies, metric, larger = table.quality.as_dict(), table.quality.metric, table.quality.larger_is_better
    found = {
        row.artifact: worth(accuracies[row.artifact], metric, larger_is_better=larger)
        for row in rows
        if accuracies and row.artifact in accuracies
    }
    if not found:
        return _stand_ins(rows, notes)
    if metric == MACS:
        notes.append(Reason.of("worth_is_macs"))
    dropped += [_drop(row, "no_worth", metric=metric) for row in rows if row.artifact not in found]
    return found, metric


def _stand_ins(rows: list[LatencyRow], notes: list[Reason]) -> tuple[dict[str, int], str]:
    """The width where every row has one; else whatever takes longer is taken to be better."""
    if all(row.width_permille is not None for row in rows):
        notes.append(Reason.of("worth_is_width"))
        return {row.artifact: row.width_permille or 0 for row in rows}, WIDTH
    notes.append(Reason.of("worth_is_latency"))
    return {row.artifact: _microseconds(row) for row in rows}, LATENCY


def _microseconds(row: LatencyRow) -> int:
    assert row.p50_ms is not None
    return min(max(math.floor(row.p50_ms * 1000 + 0.5), 1), MAX_TIME_US)


def _priced(rows: list[LatencyRow], worths: Mapping[str, int], notes: list[Reason]) -> tuple[list[Rung], bool]:
    """Whole microseconds and microjoules; energy is measured for all or estimated for all."""
    estimated = any(row.energy_mj_per_inference is None for row in rows)
    if estimated:
        notes.append(Reason.of("energy_estimated", watts=ESTIMATED_WATTS))
    rungs = []
    for row in rows:
        t_us = _microseconds(row)
        energy_uj = t_us * ESTIMATED_WATTS
        if not estimated:
            energy_uj = math.floor((row.energy_mj_per_inference or 0.0) * 1000 + 0.5)
        rungs.append(
            Rung(
                artifact=row.artifact,
                t_us=t_us,
                energy_uj=min(energy_uj, MAX_ENERGY_UJ),
                worth=worths[row.artifact],
                label=row.label,
            )
        )
    return rungs, estimated


def _pareto(rungs: list[Rung], dropped: list[DroppedArtifact]) -> list[Rung]:
    """Those that no other beats: sorted by latency, each must be worth more than all before it."""
    kept: list[Rung] = []
    for rung in sorted(rungs, key=lambda rung: (rung.t_us, -rung.worth, rung.artifact)):
        if kept and rung.worth <= kept[-1].worth:
            dropped.append(_drop(rung, "beaten", by=kept[-1].label))
        else:
            kept.append(rung)
    return kept


def thinned(rungs: list[Rung], dropped: list[DroppedArtifact]) -> list[Rung]:
    """The widest, the narrowest, and between them the rungs that are worth a switch.

    From the widest down the next rung is the slowest that is ``STEP`` faster. Where that is a ``LEAP``, the rung leapt
    over whose loss would cost most is put back. Then whatever brings less than ``GAIN`` over the rung below it goes.
    So at no time is the best rung that fits worth more than ``GAIN`` less than it was after the first of these.
    """
    if not rungs:
        return []
    t, values = [rung.t_us for rung in rungs], _values(rungs)
    widest = upper = len(rungs) - 1
    places = [widest]
    while (lower := _last_faster(t, upper, STEP)) >= 0:
        if _is_faster(t[lower], t[upper], LEAP):
            places += _put_back(t, values, lower, upper)
        places.append(lower)
        upper = lower
    if _is_faster(t[0], t[upper], APART):
        places.append(0)
    kept: list[int] = []
    for place in reversed(places):
        if not kept or place == widest or _gains(values[kept[-1]], values[place]):
            kept.append(place)
    dropped += [_why_thinned(place, rungs, values, kept) for place in range(len(rungs)) if place not in kept]
    return [rungs[place] for place in kept]


def _is_faster(low_us: int, high_us: int, ratio: tuple[int, int]) -> bool:
    numerator, denominator = ratio
    return low_us * numerator <= high_us * denominator


def _last_faster(t: list[int], upper: int, ratio: tuple[int, int]) -> int:
    """The slowest rung that is so much faster than ``upper``; -1: none."""
    lower = upper - 1
    while lower >= 0 and not _is_faster(t[lower], t[upper], ratio):
        lower -= 1
    return lower


def _gains(low: int, high: int) -> bool:
    numerator, denominator = GAIN
    return (high - low) * denominator >= high * numerator


def _put_back(t: list[int], values: list[int], lower: int, upper: int) -> list[int]:
    """Of the rungs between, the one worth most for the times in which it is the best that fits; the faster of two."""
    best, most = [], 0
    for place in range(lower + 1, _last_faster(t, upper, APART) + 1):
        area = (values[place] - values[lower]) * (t[upper] - t[place])
        if area > most and _gains(values[lower], values[place]):
            best, most = [place], area
    return best


def _why_thinned(place: int, rungs: list[Rung], values: list[int], kept: list[int]) -> DroppedArtifact:
    rung = rungs[place]
    below = max((other for other in kept if other < place), default=-1)
    if below >= 0 and not _gains(values[below], values[place]):
        return _drop(rung, "adds_little", to=rungs[below].label)
    near = _nearest(rung, [rungs[other] for other in kept])
    return _drop(rung, "too_close", to=near.label, percent=100 * rung.t_us // near.t_us)


def _values(rungs: list[Rung]) -> list[int]:
    """Worths above that of a late answer, in at most 30 bits, so that products with times stay below 2^57.

    A late answer is worth 0, or where worths are negative (errors) as far below the least as that is below the most.
    """
    least, most = rungs[0].worth, rungs[-1].worth
    nothing = 0 if least >= 0 else 2 * least - most
    shift = max((most - nothing).bit_length() - 30, 0)
    return [(rung.worth - nothing) >> shift for rung in rungs]


def _nearest(rung: Rung, kept: list[Rung]) -> Rung:
    """The kept rung whose time is the most alike, by ratio."""
    above = next(place for place, other in enumerate(kept) if other.t_us > rung.t_us)  # the widest is always kept
    if above == 0 or rung.t_us * rung.t_us >= kept[above - 1].t_us * kept[above].t_us:
        return kept[above]
    return kept[above - 1]


def _energy_rising(rungs: list[Rung], notes: list[Reason]) -> tuple[Rung, ...]:
    """A rung never costs less than a narrower one: noise in the meter must not break the power budget's search."""
    rising: list[Rung] = []
    for rung in rungs:
        if rising and rung.energy_uj < rising[-1].energy_uj:
            notes.append(Reason.of("energy_raised", label=rung.label, to=rising[-1].label))
            rung = dataclasses.replace(rung, energy_uj=rising[-1].energy_uj)
        rising.append(rung)
    return tuple(rising)


def _drop(what: LatencyRow | Rung, code: str, **params: int | str) -> DroppedArtifact:
    return DroppedArtifact(artifact=what.artifact, label=what.label, reason=Reason.of(code, **params))
