"""A bundle of channels that several layers share, and how many of them a width keeps.

The *same object* stands at every layer that produces or consumes these channels: the convolutions of a residual stage
share one ``Channels``, so that a permutation of it (warm start) reaches all of them and a width cuts all of them alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeslim.core.width import Width

Rule = Literal["fixed", "round8", "floor"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Channels:
    """``ratio`` times the channels that ``rule`` makes of ``base``, which is the count at width 1.0.

    ``fixed`` never changes (RGB, classes, MobileNetV2's 1280); ``round8`` rounds to a multiple of 8
    (``Width.channels``); ``floor`` is plain ``int(base·width)``, as in the published S-ResNet. ``ratio`` keeps
    expanded channels an exact multiple of the *rounded* base. ``movable``: may be reordered among themselves.
    ``parts``: the concatenation of other bundles, which then alone decide.
    Compared by identity: two bundles of the same size are still two.
    """

    base: int
    ratio: int = 1
    rule: Rule = "round8"
    movable: bool = True
    parts: tuple[Channels, ...] = ()

    def at(self, width: Width) -> int:
        """Channels that are there at ``width``: always the first ones."""
        if self.parts:
            return sum(part.at(width) for part in self.parts)
        if self.rule == "fixed":
            return self.base * self.ratio
        if self.rule == "floor":
            return width.channels_floor(self.base) * self.ratio
        return width.channels(self.base) * self.ratio
