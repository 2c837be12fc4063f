"""Which widths a step trains: the sandwich rule.

    step t ─► widest, narrowest, n - 2 between them ─► (1.0, 0.62, 0.31, 0.25), widest first

"Universally Slimmable Networks and Improved Training Techniques", ICCV 2019, §3.2. Training the widest and the
narrowest at every step bounds what all widths between them do. The widest comes first because its output is the
soft target of the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edgeslim.core.width import Width
from edgeslim.data import rng
from edgeslim.errors import WidthError
from edgeslim.models.selection import Selection
from edgeslim.models.slimmable import SlimmableModel


class Sampler(Protocol):
    """Chooses the nets of every step: any choice of channels, by (seed, step) alone, so that a run can go on."""

    def nets_at(self, model: SlimmableModel, seed: int, step: int) -> tuple[Selection, ...]:
        """Distinct nets of step ``step``, the widest (whose outputs the others learn from) first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandwich:
    """The widths of every step, drawn by (seed, step).

    ``low``, ``high``: the trained range; ``ladder``: draw from these only (None: any permille of the range);
    ``per_step``: how many widths a step trains; ``bounds``: whether the widest and the narrowest are always among
    them (off for the ablation: all are drawn).

    Raises:
        WidthError: an empty range, fewer than one width, or a ladder outside the range.
    """

    low: Width
    high: Width
    ladder: tuple[Width, ...] | None = None
    per_step: int = 4
    bounds: bool = True

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise WidthError(f"widths {self.low}:{self.high} are upside down", hint=f"--widths {self.high}:{self.low}")
        if self.per_step < 1:
            raise WidthError(f"a step trains at least one width, not {self.per_step}")
        if self.per_step < 2 and self.bounds and self.low != self.high:
            raise WidthError(
                f"the sandwich rule needs at least two widths per step, not {self.per_step}",
                hint="--n-widths 4, or --no-bounds, or --alone WIDTH for a net of one width",
            )
        outside = [width for width in self.ladder or () if not self.low <= width <= self.high]
        if outside:
            raise WidthError(
                f"width {outside[0]} is outside the trained range {self.low}:{self.high}",
                hint="widen --widths or shorten --ladder",
            )

    def widths_at(self, seed: int, step: int) -> tuple[Width, ...]:
        """Distinct widths of step ``step``, widest first."""
        if self.low == self.high:
            return (self.high,)
        fixed = {self.low, self.high} if self.bounds else set()
        drawn = self._draw(self.per_step - len(fixed), seed, step, fixed)
        return tuple(sorted(fixed | drawn, reverse=True))

    def nets_at(self, model: SlimmableModel, seed: int, step: int) -> tuple[Selection, ...]:
        """The same as nets of ``model`` (``Sampler``)."""
        return tuple(model.selection(width) for width in self.widths_at(seed, step))

    def _draw(self, count: int, seed: int, step: int, taken: set[Width]) -> set[Width]:
        if self.ladder is None:
            low, high = self.low.permille, self.high.permille
            return {Width(rng.integer(low, high, seed, "width", step, i)) for i in range(count)}
        rest = sorted(set(self.ladder) - taken)
        drawn: set[Width] = set()
        for i in range(min(count, len(rest))):  # without repetition
            drawn.add(rest.pop(rng.integer(0, len(rest) - 1, seed, "width", step, i)))
        return drawn
