"""Soft targets: where they come from and how far a net is from them.

inplace   the widest's own logits of this step, detached ("Universally Slimmable Networks", ICCV 2019, §3.3)
ema       logits of an exponential moving average of the weights, at the widest
a file    logits of another trained checkpoint at its widest, in evaluation mode

A narrow net sums fewer features, so its logits are smaller than its teacher's, and matching them pushes up the weights
that both share: an ignorant teacher grows sure of itself. Measured with plain soft targets (ResNet-18 at quarter width,
CIFAR images, 100 steps at lr 0.01): the widest's loss rose from 2.31 to 2.87 while the narrow nets agreed with it. So a
teacher is trusted, image by image, as far as it is right (``trusted``); ``plain`` takes its word, as the paper does.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeslim.core.width import Width
from edgeslim.data.images import ImageSet
from edgeslim.errors import CheckpointError
from edgeslim.models.checkpoint import load_checkpoint
from edgeslim.models.slimmable import SlimmableModel

Distill = Literal["trusted", "plain", "none"]


def hard_loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy with the labels, mean over the batch; float32 whatever the autocast type."""
    return F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)


def soft_targets(logits: Tensor, labels: Tensor, distill: Distill) -> Tensor:
    """What the narrower widths learn, float32 (B, classes), without gradient.

    ``plain``: the teacher's probabilities p. ``trusted``: t·p + (1 - t)·label with t = p[label], the probability that
    the teacher gives to the right answer. ``none``: the labels.
    """
    hard = F.one_hot(labels, logits.shape[1]).float()
    if distill == "none":
        return hard
    probabilities = logits.detach().float().softmax(dim=1)
    if distill == "plain":
        return probabilities
    return torch.lerp(hard, probabilities, probabilities.gather(1, labels[:, None]))


def soft_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy with the probabilities ``targets`` (temperature 1), mean over the batch."""
    return F.cross_entropy(logits.float(), targets)


class Teacher(Protocol):
    """Gives soft targets from outside the step."""

    def to(self, device: torch.device) -> None: ...

    def logits(self, images: Tensor) -> Tensor: ...

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
    def logits(self, images: Tensor) -> Tensor:
        with self._average.at(self._widest):
            output: Tensor = self._average(images)
        return output

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
    def logits(self, images: Tensor) -> Tensor:
        output: Tensor = self._net(images)
        return output

    def after_step(self, model: SlimmableModel, step: int) -> None:
        """It does not learn."""

    def state(self) -> dict[str, Tensor]:
        return {}

    def load(self, state: dict[str, Tensor]) -> None:
        """Nothing to restore: the file it came from is named again on resuming."""


def teacher_from_file(path: str | Path, data: ImageSet) -> FixedTeacher:
    """The net of a checkpoint at the widest of its ladder.

    Raises:
        CheckpointError: unreadable, without statistics, or made for other classes, channels or normalisation.
    """
    checkpoint = load_checkpoint(path)
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
