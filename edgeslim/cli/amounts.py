"""How amounts are written for people; JSON has every byte."""

from __future__ import annotations

KEPT = "kept: stored for this file alone; from weights: constants made from them"
"""The legend below tables of artifacts."""


def size(count: int) -> str:
    """``8.92 MB``, ``19.1 kB``, ``12 B``: three figures, powers of ten."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= 0.9995 * scale:
            return f"{count / scale:#.3g} {unit}".replace(". ", " ")
    return f"{count} B"
