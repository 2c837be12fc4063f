"""The state oracle: the best fixed cap and margin in hindsight, with at most 1 % misses.

It knows the clock and the contention of every frame before it runs, and has seen the whole half hour; no causal policy
can know either. What it cannot know is the noise of the frame.
"""

from __future__ import annotations

from edgeslim.core.ladder import Ladder
from edgeslim.simulation.engine import Setting, simulate
from edgeslim.simulation.policies import Oracle
from edgeslim.simulation.replay import LoggedFrame, replay
from edgeslim.simulation.simulation import Run, delivered_accuracy, miss_rate

MARGINS = (1.0, 1.03, 1.06, 1.09, 1.11, 1.14, 1.18, 1.24)
MOST_MISSES = 0.01


def best_oracle(ladder: Ladder, setting: Setting, frames: tuple[LoggedFrame, ...] | None = None) -> Run:
    """The run that delivers most, in the setting or on recorded ``frames``.

    The narrowest net throughout where every other choice misses too often.
    """

    def run(cap: int, margin: float) -> Run:
        oracle = Oracle(ladder, cap=cap, margin=margin)
        return simulate(oracle, ladder, setting) if frames is None else replay(oracle, ladder, frames)

    best = run(0, 1.0)
    for cap in range(1, len(ladder.rungs)):
        for margin in MARGINS:
            tried = run(cap, margin)
            if miss_rate(tried) <= MOST_MISSES and delivered_accuracy(tried) > delivered_accuracy(best):
                best = tried
    return best
