"""What ``edgeslim.train`` tells on its way, before and after training itself (``training.watch``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edgeslim.core.width import Width
from edgeslim.training.config import TrainConfig
from edgeslim.training.resume import RunFiles
from edgeslim.training.watch import TrainEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainPlan:
    """What is about to be done."""

    model: str
    listed: bool
    """Whether its widths are a list, not a range."""
    ladder: tuple[Width, ...]
    start: str
    """Where the weights come from."""
    macs: int
    """Multiply-adds of the widest, one image."""
    data: str
    images: int
    """To train on."""
    val_images: int
    """Held out; 0: none."""
    validated: tuple[Width, ...]
    """Measured on them after every epoch."""
    classes: int
    original_size: int
    """Pixels of the shorter side of the data's images; of files, that of one in the middle."""
    input_size: int
    input_channels: int
    asked_size: bool
    """Whether somebody asked for this input size."""
    halvings_left_out: int
    """Of the network, so that small images keep their resolution for longer."""
    config: TrainConfig
    steps_per_epoch: int
    device: str
    processes: int
    threads: int
    workers: int | None
    """Processes that decode images; None: they are in memory."""
    files: RunFiles
    save_seconds: float
    tensorboard: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Words for people."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """The run goes on, with ``step`` of ``steps``."""

    step: int
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """After training: ``done`` of ``of`` widths."""

    what: Literal["calibrating", "measuring"]
    done: int
    of: int


TrainVerbEvent = TrainPlan | Note | Resumed | TrainEvent | Tail
TrainVerbWatcher = Callable[[TrainVerbEvent], None]
