"""Everything that decides the numbers of a training run, and good values for each data set."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from edgeslim import tasks
from edgeslim.data.augment import Augment
from edgeslim.errors import UsageError
from edgeslim.tasks import Distill, TaskSettings
from edgeslim.tasks.base import Task
from edgeslim.training.optim import OptimConfig
from edgeslim.training.sandwich import Sandwich


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One run. Two runs with equal settings on one machine give equal losses, bit by bit.

    ``task``: by its name (``tasks``); ``data``: what the images are called; ``data_sha256``: of their content, where
    that is cheap; ``batch_size``: over all processes; ``label_smoothing``: of the widest's hard labels; ``distill``:
    what the narrower widths learn (``tasks.classify``); ``teacher``: where that comes from (``inplace``, ``ema``, or
    the SHA-256 of a checkpoint).

    Raises:
        UsageError: a value out of its range.
    """

    data: str
    epochs: int
    batch_size: int
    task: str = "classify"
    sandwich: Sandwich
    optim: OptimConfig = field(default_factory=OptimConfig)
    augment: Augment = field(default_factory=lambda: Augment(padding=4, flip=True))
    label_smoothing: float = 0.1
    distill: Distill = "trusted"
    teacher: str = "inplace"
    data_sha256: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UsageError(f"--epochs is at least 1, got {self.epochs}")
        if self.batch_size < 2:
            raise UsageError(f"--batch-size is at least 2, got {self.batch_size}")
        if not 0 <= self.label_smoothing < 1:
            raise UsageError(f"--label-smoothing is in [0, 1), got {self.label_smoothing}")

    def make_task(self) -> Task:
        """The task with these settings.

        Raises:
            UsageError: there is no such task.
        """
        return tasks.get(self.task, TaskSettings(smoothing=self.label_smoothing, distill=self.distill))

    def to_json(self) -> dict[str, Any]:
        """Plain values, widths in permille."""
        document = asdict(self)
        sandwich = document["sandwich"]
        sandwich["low"], sandwich["high"] = self.sandwich.low.permille, self.sandwich.high.permille
        if self.sandwich.ladder is not None:
            sandwich["ladder"] = [width.permille for width in self.sandwich.ladder]
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """Settings that suit a data set. ``lr`` is for SGD at ``batch_size``; another batch size scales it linearly."""

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    padding: int | None = None  # None: an eighth of the input size

    def padding_for(self, input_size: int) -> int:
        return input_size // 8 if self.padding is None else self.padding

    def lr_for(self, optimizer: str, batch_size: int) -> float:
        """Adam-type steps do not grow with the gradient, so their rate is its own: 1e-3 per 64 images."""
        base, images = (1e-3, 64) if optimizer == "adamw" else (self.lr, self.batch_size)
        return base * batch_size / images


_SMALL_IMAGES = Defaults(epochs=30, batch_size=128, lr=0.1)
_DEFAULTS = {
    "digits": Defaults(epochs=12, batch_size=64, lr=0.1, padding=1),
    "cifar10": _SMALL_IMAGES,
    "cifar100": _SMALL_IMAGES,
    "fashion_mnist": _SMALL_IMAGES,
    "imagenet": Defaults(epochs=250, batch_size=1024, lr=0.5, weight_decay=4e-5),
}
_PHOTOS = Defaults(epochs=60, batch_size=64, lr=0.05, weight_decay=4e-5)


def defaults_for(data: str, input_size: int) -> Defaults:
    """Settings for a named set; folders by the size of their images."""
    return _DEFAULTS.get(data, _SMALL_IMAGES if input_size <= 64 else _PHOTOS)
