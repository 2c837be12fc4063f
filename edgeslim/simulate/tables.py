"""The ladders that simulations stand on: built in, or from a table with its worth in percent.

Simulations report accuracy in percent. A table's accuracies are fractions; where something stands in for them
(multiply-adds, the width), the widest counts 100.
"""

from __future__ import annotations

import dataclasses
import math

from edgeslim.core.ladder import ESTIMATED_WATTS, Ladder, Rung
from edgeslim.core.width import Width

BUILTIN = Ladder(
    rungs=(
        Rung(width=Width(250), t_us=6_000, e_uj=9_000, quality=54.0),
        Rung(width=Width(500), t_us=12_000, e_uj=22_000, quality=64.0),
        Rung(width=Width(750), t_us=20_000, e_uj=42_000, quality=69.0),
        Rung(width=Width(1000), t_us=30_000, e_uj=70_000, quality=72.0),
    )
)
"""A phone-like table; the one that docs/controller.md compares policies on."""

STAND_INS = ("macs", "width")


def in_percent(ladder: Ladder) -> Ladder:
    """The same rungs with their worth in percent."""
    widest = ladder.rungs[-1].quality
    if ladder.metric in STAND_INS:
        factor = 100 / widest
    else:
        factor = 100.0 if widest <= 1 else 1.0
    rungs = tuple(dataclasses.replace(rung, quality=rung.quality * factor) for rung in ladder.rungs)
    return dataclasses.replace(ladder, rungs=rungs)


def at_speed(ladder: Ladder, widest_ms: float) -> Ladder:
    """The same rungs on a device whose speed is such that the widest takes ``widest_ms``.

    For a table from a fast machine: frames are then as tight as on a phone. Energy is 2 W while an inference runs.
    """
    factor = widest_ms * 1000 / ladder.rungs[-1].t_us
    rungs = []
    for rung in ladder.rungs:
        t_us = max(1, math.floor(rung.t_us * factor + 0.5))
        rungs.append(dataclasses.replace(rung, t_us=t_us, e_uj=t_us * ESTIMATED_WATTS))
    return dataclasses.replace(ladder, rungs=tuple(rungs))
