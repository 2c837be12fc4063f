"""What happened in a simulation or a replay, frame by frame, and its figures.

Score = delivered accuracy - 0.05 x (percent of time at 45 °C or more) - 0.1 x max(0, switches per minute - 6).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeslim.core.ladder import Ladder
from edgeslim.simulation.tables import percents

WARM_C, HOT_C = 43.0, 45.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One entry per frame; ``rung`` -1 and ``latency_us`` 0 where a frame was skipped.

    ``temperature_c`` and ``clock`` are empty where they were not seen (a replay).
    """

    policy: str
    ladder: Ladder
    minutes: float
    now_us: list[int]
    deadline_us: list[int]
    rung: list[int]
    latency_us: list[int]
    energy_mj: list[float]
    charge: list[float]
    temperature_c: list[float]
    clock: list[float]

    @classmethod
    def empty(cls, policy: str, ladder: Ladder, minutes: float) -> Run:
        return cls(
            policy=policy,
            ladder=ladder,
            minutes=minutes,
            now_us=[],
            deadline_us=[],
            rung=[],
            latency_us=[],
            energy_mj=[],
            charge=[],
            temperature_c=[],
            clock=[],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One policy's figures; shares are of time (0..1), accuracies in percent. Null: not seen."""

    policy: str
    miss_rate: float
    """Inferences later than the deadline, of those that ran."""
    p50_ms: float
    p95_ms: float
    p99_ms: float
    delivered_accuracy: float
    """Mean over all frames; a missed or skipped frame counts 0."""
    mean_accuracy: float
    """Mean over the inferences that ran, late or not."""
    energy_mj: float
    switches_per_min: float
    throttled_share: float | None
    share_43c: float | None
    share_45c: float | None
    regret: float | None
    """Delivered accuracy below the state oracle's; null where no oracle ran."""
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RungUsed:
    """One rung of the ladder that was simulated; accuracy in percent."""

    artifact: str
    label: str
    t_us: int
    energy_uj: int
    worth: int
    """In the metric: millionths, or multiply-adds as they are."""
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationResult:
    """What ``edgeslim simulate`` reports."""

    scenario: str
    """A scenario's name, or that of the replayed log."""
    seed: int
    minutes: float
    fps: int | None
    load_ms: float
    metric: str
    """What accuracy means: top1, or what stands in for it (macs, width, latency: a share of the widest's)."""
    ladder: tuple[RungUsed, ...]
    rows: tuple[Row, ...]


def ladder_used(ladder: Ladder) -> tuple[RungUsed, ...]:
    return tuple(
        RungUsed(
            artifact=rung.artifact,
            label=rung.label,
            t_us=rung.t_us,
            energy_uj=rung.energy_uj,
            worth=rung.worth,
            accuracy=accuracy,
        )
        for rung, accuracy in zip(ladder.rungs, percents(ladder), strict=True)
    )


def summarise(run: Run, *, oracle: Run | None = None) -> Row:
    """The figures of ``run``, with its regret to ``oracle`` on the same noise."""
    rung = np.asarray(run.rung)
    ran = rung >= 0
    latency = np.asarray(run.latency_us)[ran]
    mean = float(_quality(run)[ran].mean())
    p50, p95, p99 = (float(value) for value in np.percentile(latency, (50, 95, 99)) / 1000)
    delivered = delivered_accuracy(run)
    switches = float(np.count_nonzero(np.diff(rung[ran])) / run.minutes)
    temperature, clock = np.asarray(run.temperature_c), np.asarray(run.clock)
    share_45c = _share(temperature >= HOT_C)
    return Row(
        policy=run.policy,
        miss_rate=miss_rate(run),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        delivered_accuracy=delivered,
        mean_accuracy=mean,
        energy_mj=float(np.asarray(run.energy_mj)[ran].mean()),
        switches_per_min=switches,
        throttled_share=_share(clock < 1),
        share_43c=_share(temperature >= WARM_C),
        share_45c=share_45c,
        regret=None if oracle is None else delivered_accuracy(oracle) - delivered,
        score=delivered - 5.0 * (share_45c or 0.0) - 0.1 * max(0.0, switches - 6),
    )


def miss_rate(run: Run) -> float:
    ran = np.asarray(run.rung) >= 0
    return float(1 - _met(run)[ran].mean())


def delivered_accuracy(run: Run) -> float:
    return float((_quality(run) * _met(run)).mean())


def _met(run: Run) -> NDArray[np.bool_]:
    return np.less_equal(run.latency_us, run.deadline_us)


def _quality(run: Run) -> NDArray[np.float64]:
    """Of every frame; 0 where it was skipped (rung -1 takes the last entry)."""
    worth = np.asarray([*percents(run.ladder), 0.0])
    return np.take(worth, run.rung)


def _share(frames: NDArray[np.bool_]) -> float | None:
    return float(frames.mean()) if frames.size else None
