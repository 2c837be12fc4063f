"""The ladders that simulations stand on: built in, or from a table, and what their rungs are worth in percent.

Simulations report accuracy in percent. A table's accuracies are fractions; where something stands in for them
(multiply-adds, the width, the latency), the widest counts 100.
"""

from __future__ import annotations

import dataclasses
import math

from edgeslim.core.ladder import ESTIMATED_WATTS, Ladder, Rung
from edgeslim.core.worth import STAND_INS

BUILTIN = Ladder(
    rungs=(
        Rung(artifact="builtin/0250", t_us=6_000, energy_uj=9_000, worth=540_000, label="0.25x"),
        Rung(artifact="builtin/0500", t_us=12_000, energy_uj=22_000, worth=640_000, label="0.5x"),
        Rung(artifact="builtin/0750", t_us=20_000, energy_uj=42_000, worth=690_000, label="0.75x"),
        Rung(artifact="builtin/1000", t_us=30_000, energy_uj=70_000, worth=720_000, label="1.0x"),
    )
)
"""A phone-like table; the one that docs/controller.md compares policies on."""


def percents(ladder: Ladder) -> tuple[float, ...]:
    """What every rung is worth, in percent."""
    worths = [rung.worth for rung in ladder.rungs]
    if worths[-1] <= 0:  # smaller is better (an error): the best counts 100
        return tuple(100 * worths[-1] / worth if worth else 100.0 for worth in worths)
    if ladder.metric in STAND_INS:
        return tuple(100 * worth / worths[-1] for worth in worths)
    per_percent = 10_000 if worths[-1] <= 1_000_000 else 1_000_000  # a fraction, or percent already
    return tuple(worth / per_percent for worth in worths)


def at_speed(ladder: Ladder, widest_ms: float) -> Ladder:
    """The same rungs on a device whose speed is such that the widest takes ``widest_ms``.

    For a table from a fast machine: frames are then as tight as on a phone. Energy is 2 W while an inference runs.
    """
    factor = widest_ms * 1000 / ladder.rungs[-1].t_us
    rungs = []
    for rung in ladder.rungs:
        t_us = max(1, math.floor(rung.t_us * factor + 0.5))
        rungs.append(dataclasses.replace(rung, t_us=t_us, energy_uj=t_us * ESTIMATED_WATTS))
    return dataclasses.replace(ladder, rungs=tuple(rungs))
