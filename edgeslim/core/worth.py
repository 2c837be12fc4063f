"""What artifacts are worth, as whole numbers that compare the same in every language.

Quality (of artifacts; decimals, as people write them) ─► worth: millionths, or multiply-adds as they are
"""

from __future__ import annotations

import math

MACS, WIDTH, LATENCY = "macs", "width", "latency"
STAND_INS = (MACS, WIDTH, LATENCY)
"""Metrics that stand in where accuracies are unknown; the latter two are the ladder's own."""
MAX_WORTH = 1 << 52
_MILLION = 1_000_000


def worth(value: float, metric: str, *, larger_is_better: bool = True) -> int:
    """Millionths, rounded half up on the double (0.7123 → 712300); stand-ins are whole already.

    Where smaller is better the number is negated, so that more is always better.
    """
    whole = math.floor(value * (1 if metric in STAND_INS else _MILLION) + 0.5)
    whole = min(max(whole, -MAX_WORTH), MAX_WORTH)
    return whole if larger_is_better else -whole
