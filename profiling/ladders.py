"""Rungs before thinning, to judge rules on: the shapes that measured tables of 6 and 16 widths have.

Accuracies between published ones are interpolated; times follow the multiply-adds, and the widest takes 30 ms, which is
as tight in a frame of 33 ms as the widest net of interest is on a phone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

from edgeslim.core.ladder import ESTIMATED_WATTS, Ladder, Rung
from edgeslim.core.latency import label_of
from edgeslim.core.width import net_id
from edgeslim.simulation.tables import at_speed

WIDEST_US = 30_000

# width → (millions of multiply-adds, accuracy), from the papers
MOBILENET_V1 = {0.25: (41, 0.498), 0.5: (149, 0.637), 0.75: (325, 0.684), 1.0: (569, 0.709)}
MOBILENET_V2 = {0.35: (59, 0.603), 0.5: (97, 0.654), 0.75: (209, 0.698), 1.0: (300, 0.718)}
RESNET_50 = {0.25: (278, 0.650), 0.5: (1100, 0.720), 0.75: (2300, 0.747), 1.0: (4089, 0.759)}

# widths, relative times, accuracies: a net trained for minutes, whose accuracy does not rise evenly
DEMO = {
    0.35: (0.86, 0.910),
    0.4: (1.0, 0.917),
    0.55: (1.62, 0.918),
    0.7: (2.4, 0.919),
    0.85: (3.31, 0.944),
    1.0: (4.1, 0.946),
}


def between(points: Mapping[float, tuple[float, float]], width: float) -> tuple[float, float]:
    """(multiply-adds, accuracy) at ``width``, linear between its neighbours."""
    known = sorted(points)
    high = next(place for place, w in enumerate(known) if w >= width - 1e-9)
    if abs(known[high] - width) < 1e-9:
        return points[known[high]]
    low = known[high - 1]
    share = (width - low) / (known[high] - low)
    (a, b), (c, d) = points[low], points[known[high]]
    return a + share * (c - a), b + share * (d - b)


def rungs(points: Sequence[tuple[float, float, float]]) -> list[Rung]:
    """Of (width, relative time, accuracy)."""
    slowest = points[-1][1]
    found = []
    for width, time, accuracy in points:
        net, t_us = net_id(round(width * 1000)), round(WIDEST_US * time / slowest)
        found.append(
            Rung(
                artifact=f"shape/{net}",
                t_us=t_us,
                energy_uj=t_us * ESTIMATED_WATTS,
                worth=round(accuracy * 1_000_000),
                label=label_of(net),
            )
        )
    return found


def sixteen(points: Mapping[float, tuple[float, float]], *, overhead: float = 0.0, steps: int = 0) -> list[Rung]:
    """16 widths; ``overhead``: share of the widest's time that every width pays; ``steps``: kernels work in so many
    blocks of channels, so that time rises in steps."""
    low, high = min(points), max(points)
    most = points[high][0]
    made: list[tuple[float, float, float]] = []
    for i in range(16):
        width = low + (high - low) * i / 15
        macs, accuracy = between(points, width)
        time = overhead + (1 - overhead) * macs / most
        if steps:
            time = -(-time * steps // 1) / steps + 0.001 * i
        made.append((width, time, accuracy))
    return rungs(made)


SHAPES: dict[str, list[Rung]] = {
    "mobilenet v1": sixteen(MOBILENET_V1),
    "mobilenet v2": sixteen(MOBILENET_V2),
    "mobilenet v2, overhead": sixteen(MOBILENET_V2, overhead=0.3),
    "resnet-50": sixteen(RESNET_50),
    "mobilenet v2, blocks": sixteen(MOBILENET_V2, steps=8),
    "demo": rungs([(width, *point) for width, point in DEMO.items()]),
}

# How long the widest takes: whether a rung just fits a frame, or a burst, is luck, and eight speeds average it out.
SPEEDS_MS = tuple(22 + 1.5 * i for i in range(8))


def at_speeds(rungs: Sequence[Rung]) -> list[list[Rung]]:
    """The same rungs on faster and slower devices."""
    return [list(at_speed(Ladder(rungs=tuple(rungs)), ms).rungs) for ms in SPEEDS_MS]


def drawn(seed: int) -> list[Rung]:
    """A table by chance: 4 to 16 nets, times spread by 2.2 to 12, an accuracy that saturates and does not rise evenly;
    what another net beats has left, so fewer may remain."""
    chance = random.Random(seed)
    count, spread = chance.randint(4, 16), chance.uniform(2.2, 12)
    times = sorted(math.exp(chance.uniform(0, math.log(spread))) for _ in range(count - 1))
    shares = [time / spread for time in times] + [1.0]
    widest_us = chance.uniform(24_000, 33_000)
    least, gain, bend = chance.uniform(0.5, 0.9), chance.uniform(0.02, 0.2), chance.uniform(1, 5)
    found: list[Rung] = []
    for place, share in enumerate(shares):
        accuracy = least + gain * (1 - math.exp(-bend * share)) / (1 - math.exp(-bend)) + chance.gauss(0, gain * 0.08)
        t_us, worth = round(widest_us * share), round(accuracy * 1_000_000)
        if not found or (worth > found[-1].worth and t_us > found[-1].t_us):
            found.append(
                Rung(
                    artifact=f"drawn/{place:04d}",
                    t_us=t_us,
                    energy_uj=t_us * ESTIMATED_WATTS,
                    worth=worth,
                    label=str(place),
                )
            )
    return found
