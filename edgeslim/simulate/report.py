"""Figures of a run, as the command line prints them.

Score = delivered accuracy - 0.05 x (percent of time at 45 °C or more) - 0.1 x max(0, switches per minute - 6).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeslim.simulate.engine import Run

HOT_C = 45.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One policy's figures; shares are of time (0..1), accuracies in the ladder's unit."""

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
    throttled_share: float
    share_43c: float
    share_45c: float
    regret: float | None
    """Delivered accuracy below the oracle's; null when it did not run."""
    score: float


def summarise(run: Run, *, oracle_delivered: float | None = None) -> Row:
    """The row of one run."""
    rung = np.asarray(run.rung)
    ran = rung >= 0
    latency = np.asarray(run.latency_us)[ran]
    quality = np.asarray([r.quality for r in run.ladder.rungs])[rung[ran]]
    met = latency <= run.scenario.deadline_us
    temperature = np.asarray(run.temperature_c)
    minutes = rung.size / run.scenario.fps / 60
    p50, p95, p99 = (float(value) for value in np.percentile(latency, (50, 95, 99)) / 1000)
    delivered = float((quality * met).sum() / rung.size)
    switches = float(np.count_nonzero(np.diff(rung[ran])) / minutes)
    share_45c = float(np.mean(temperature >= HOT_C))
    return Row(
        policy=run.policy,
        miss_rate=float(1 - met.mean()),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        delivered_accuracy=delivered,
        mean_accuracy=float(quality.mean()),
        energy_mj=float(np.asarray(run.energy_mj)[ran].mean()),
        switches_per_min=switches,
        throttled_share=float(np.mean(np.asarray(run.clock) < 1)),
        share_43c=float(np.mean(temperature >= 43.0)),
        share_45c=share_45c,
        regret=None if oracle_delivered is None else oracle_delivered - delivered,
        score=score(delivered, share_45c, switches),
    )


def score(delivered: float, share_45c: float, switches_per_min: float) -> float:
    """What a policy is worth; see the head of the file."""
    return delivered - 5.0 * share_45c - 0.1 * max(0.0, switches_per_min - 6)
