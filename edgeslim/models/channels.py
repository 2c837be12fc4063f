"""A group of channels that several layers share, and how many of them a net keeps.

The *same object* stands at every layer that produces or consumes these channels: the convolutions of a residual stage
share one ``Channels``, so that a permutation of it (warm start) reaches all of them and a net cuts all of them alike.

    leaf      stem                              a name and a count: what a ``Selection`` decides
    join      skip + up                         a concatenation; every part is cut to its own first channels
    whole     the same, cut as one              its first channels, whatever part they are of (published ShuffleNet)
    blocks    n equal blocks of one group       the rows of a grouped convolution
    share     one of them                       its columns
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from edgeslim.errors import ModelError
from edgeslim.models.selection import Net, Selection

Rule = Literal["fixed", "round8", "floor"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Channels:
    """``ratio`` times the channels that ``rule`` makes of ``base``, which is the count at width 1.0.

    ``name``: unique within a net and stable, as selections and files speak of it. ``fixed`` never changes (RGB,
    classes, MobileNetV2's 1280); ``round8`` rounds to a multiple of 8 (``Width.channels``); ``floor`` is plain
    ``int(base·width)``, as in the published S-ResNet. ``ratio`` keeps expanded channels an exact multiple of the
    *rounded* base. ``movable``: may be reordered among themselves. ``parts``: the concatenation of other groups, which
    then alone decide; ``whole`` cuts it as one; ``divisor``: one of so many equal blocks of it.
    Compared by identity: two groups of the same size are still two.
    """

    name: str
    base: int
    ratio: int = 1
    rule: Rule = "round8"
    movable: bool = True
    parts: tuple[Channels, ...] = ()
    whole: bool = False
    divisor: int = 1

    def at(self, net: Net) -> int:
        """Channels that are there in ``net``."""
        if self.parts:
            return sum(part.at(net) for part in self.parts) // self.divisor
        if self.rule == "fixed":
            return self.base * self.ratio
        if isinstance(net, Selection):
            return net[self.name]
        if self.rule == "floor":
            return net.channels_floor(self.base) * self.ratio
        return net.channels(self.base) * self.ratio

    def parts_at(self, net: Net) -> tuple[int, ...]:
        """What is there of every part, in order: always its first channels."""
        if not self.parts or self.whole:
            return (self.at(net),)
        return tuple(count for part in self.parts for count in part.parts_at(net))

    def leaves(self) -> Iterator[Channels]:
        """The groups that a selection has counts for (and fixed ones), in order, repetitions included."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.leaves()

    @property
    def can_be_cut(self) -> bool:
        """Whether a selection has a count for it: no join, and not fixed."""
        return not self.parts and self.rule != "fixed"

    def blocks(self, number: int) -> Channels:
        """The same channels as ``number`` equal blocks, each of which is cut to its first channels."""
        if number == 1:
            return self
        return Channels(name=self.name, base=self.base, movable=False, parts=(self.share(number),) * number)

    def share(self, number: int) -> Channels:
        """One of ``number`` equal blocks.

        Raises:
            ModelError: a concatenation of different groups: its parts would not stay in their blocks.
        """
        if number == 1:
            return self
        if len(self.parts) == number and len(set(self.parts)) == 1:
            return self.parts[0]
        if self.parts and not self.whole:
            raise ModelError(f"a grouped convolution cannot read the concatenation {self.name}: no block has its parts")
        return Channels(name=self.name, base=self.base, movable=False, parts=(self,), whole=True, divisor=number)
