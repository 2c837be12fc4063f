"""The built-in table: a phone-like ladder of four widths, the same as in docs/controller.md."""

from __future__ import annotations

from edgeslim.core.ladder import Ladder, Rung
from edgeslim.core.width import Width

BUILTIN = Ladder(
    rungs=(
        Rung(width=Width(250), t_us=6_000, e_uj=9_000, quality=54.0),
        Rung(width=Width(500), t_us=12_000, e_uj=22_000, quality=64.0),
        Rung(width=Width(750), t_us=20_000, e_uj=42_000, quality=69.0),
        Rung(width=Width(1000), t_us=30_000, e_uj=70_000, quality=72.0),
    )
)
