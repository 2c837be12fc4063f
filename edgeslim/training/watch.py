"""What a training run tells those who watch it, as values.

Trainer ─► Progress (by the clock) ─► EpochDone (with its Validation) ─► … ─► Saved (by the clock)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeslim.models.checkpoint import Checkpoint

DISPLAY_SECONDS = 1.0
"""Between two looks at the losses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLine:
    """One step: ``losses`` by the net's name (permille of a width), widest first."""

    step: int
    epoch: int
    lr: float
    losses: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What the task measured of a few nets on images that are held out: by the net's name, then by measurement.

    ``checkpoint``: the nets as they are, calibrated; None for one that was read from the log.
    """

    metric: str
    larger_is_better: bool
    values: Mapping[str, Mapping[str, float]]
    checkpoint: Checkpoint | None = field(default=None, compare=False, repr=False)

    @property
    def score(self) -> float:
        """Mean of the metric over the nets."""
        return sum(values[self.metric] for values in self.values.values()) / len(self.values)

    def better_than(self, others: list[Validation]) -> bool:
        """Than each of them; the first is."""
        sign = 1 if self.larger_is_better else -1
        return all(sign * self.score > sign * other.score for other in others)

    def to_line(self) -> dict[str, Any]:
        """For the log."""
        values = {name: dict(values) for name, values in self.values.items()}
        return {"metric": self.metric, "larger_is_better": self.larger_is_better, "validation": values}

    @classmethod
    def from_line(cls, line: dict[str, Any]) -> Validation:
        """``to_line``'s values back."""
        return cls(metric=line["metric"], larger_is_better=line["larger_is_better"], values=line["validation"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """``step`` of ``steps`` is done; ``lines``: the steps since the last report, the newest last."""

    step: int
    steps: int
    lines: tuple[StepLine, ...]
    images_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochDone:
    """``epoch`` of ``epochs`` (from 1) is done.

    ``losses``: means over its steps, of the nets that were in each of them; ``validation``: None where no images are
    held out; ``best``: whether it is the best one yet.
    """

    epoch: int
    epochs: int
    step: int
    losses: Mapping[str, float]
    seconds: float
    validation: Validation | None
    best: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A file of the run was replaced: the state before ``step``, or the best checkpoint."""

    path: Path
    step: int


TrainEvent = Progress | EpochDone | Saved
Watcher = Callable[[TrainEvent], None]


def both(one: Watcher, other: Watcher) -> Watcher:
    """Tells the one, then the other."""

    def tell(event: TrainEvent) -> None:
        one(event)
        other(event)

    return tell


class EpochLosses:
    """Mean losses of an epoch, of the nets that every step trains."""

    def __init__(self) -> None:
        self._steps, self._sums = 0, dict[str, tuple[int, float]]()

    def add(self, lines: tuple[StepLine, ...]) -> None:
        self._steps += len(lines)
        for line in lines:
            for name, loss in line.losses.items():
                count, total = self._sums.get(name, (0, 0.0))
                self._sums[name] = count + 1, total + loss

    def take(self) -> dict[str, float]:
        """The means; then the next epoch begins."""
        found = {name: total / count for name, (count, total) in self._sums.items() if count == self._steps}
        self._steps, self._sums = 0, {}
        return found
