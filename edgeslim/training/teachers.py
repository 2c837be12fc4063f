"""Where soft targets come from; what is learnt from them is the task's (``tasks``).

inplace   the widest's own outputs of this step, detached ("Universally Slimmable Networks", ICCV 2019, §3.3)
ema       outputs of an exponential moving average of the weights, at the widest
a file    outputs of another trained checkpoint at its widest, in evaluation mode
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from edgeslim.core.width import Width
from edgeslim.data.images import ImageSet
from edgeslim.errors import CheckpointError
from edgeslim.models.checkpoint import load_checkpoint
from edgeslim.models.slimmable import SlimmableModel


class Teacher(Protocol):
    """Gives outputs to learn from, from outside the step."""

    def to(self, device: torch.device) -> None: ...

    def outputs(self, images: Tensor) -> Any: ...

    def after_step(self, model: SlimmableModel, step: int) -> None: ...

    def state(self) -> dict[str, Tensor]: ...

    def load(self, state: dict[str, Tensor]) -> None: ...


class EmaTeacher:
    """Mean-teacher weights: ``average ← average + (1 - decay)·(weights - average)`` after every step.

    The decay grows as (1 + t) / (10 + t) up to ``decay``, so that the first average is not the random start.
    BatchNorm uses the batch's statistics, as the training nets do.
    """

    def __init__(self, model: SlimmableModel, widest: Width, decay: float = 0.999) -> None:
        self._average = copy.deepcopy(model).requires_grad_(False)
        self._widest, self._decay = widest, decay

    def to(self, device: torch.device) -> None:
        self._average.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def outputs(self, images: Tensor) -> Any:
        with self._average.at(self._widest):
            return self._average(images)

    @torch.no_grad()
    def after_step(self, model: SlimmableModel, step: int) -> None:
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self._average.parameters()), list(model.parameters()), 1 - decay)

    def state(self) -> dict[str, Tensor]:
        return dict(self._average.state_dict())

    def load(self, state: dict[str, Tensor]) -> None:
        self._average.load_state_dict(state)


class FixedTeacher:
    """Another net, trained before, in evaluation mode."""

    def __init__(self, net: torch.nn.Module) -> None:
        self._net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def to(self, device: torch.device) -> None:
        self._net.to(device)

    @torch.no_grad()
    def outputs(self, images: Tensor) -> Any:
        return self._net(images)

    def after_step(self, model: SlimmableModel, step: int) -> None:
        """It does not learn."""

    def state(self) -> dict[str, Tensor]:
        return {}

    def load(self, state: dict[str, Tensor]) -> None:
        """Nothing to restore: the file it came from is named again on resuming."""


def teacher_from_file(path: str | Path, data: ImageSet, *, widths: Sequence[Width] | None = None) -> FixedTeacher:
    """The net of a checkpoint at the widest of its ladder; ``widths`` as in ``load_checkpoint``.

    Raises:
        CheckpointError: unreadable, without statistics, or made for other classes, channels or normalisation.
    """
    checkpoint = load_checkpoint(path, widths=widths)
    contract = checkpoint.input
    for what, theirs, ours in (
        ("classes", checkpoint.spec.num_classes, data.num_classes),
        ("input channels", checkpoint.spec.in_channels, data.in_channels),
        ("mean", contract and contract.mean, data.contract.mean),
        ("standard deviation", contract and contract.std, data.contract.std),
    ):
        if theirs != ours:
            raise CheckpointError(
                f"{path} cannot teach here: its {what} are {theirs}, the data's {ours}",
                hint="train the teacher on the same data set",
            )
    if not checkpoint.ladder:
        raise CheckpointError(
            f"{path} has no BatchNorm statistics for any width", hint=f"edgeslim calibrate {path} --data …"
        )
    return FixedTeacher(checkpoint.build().static(checkpoint.ladder[-1]))
