"""A task's measurements on a set of images, of a net or of anything else that answers with its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgeslim.data.images import ImageSet
from edgeslim.tasks.base import Metric, Target, Task, named
from edgeslim.tasks.classify import Accuracy, Classify


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """``loss``: mean cross-entropy; ``top1``, ``top5``: shares in [0, 1]; ``answers``: every image's best class."""

    loss: float
    top1: float
    top5: float
    answers: Tensor


@torch.inference_mode()
def measure(
    task: Task,
    predict: Callable[[Tensor], Any],
    batches: Iterable[tuple[Tensor, Target]],
) -> Metric:
    """The task's metric of ``predict`` (input → outputs of the task) over ``batches`` of inputs and targets."""
    metric = task.metric()
    for images, target in batches:
        metric.add(named(task, predict(images)), target)
    return metric


def score(
    predict: Callable[[Tensor], Tensor],
    data: ImageSet,
    *,
    batch_size: int = 128,
    device: torch.device | str = "cpu",
) -> Score:
    """Score ``predict`` (normalised images (B, C, S, S) on ``device`` → logits (B, classes)) on all of ``data``."""
    metric = measure(Classify(), predict, data.batches(batch_size, device))
    assert isinstance(metric, Accuracy)
    return Score(answers=metric.answers, **metric.result())


def evaluate(net: nn.Module, data: ImageSet, *, batch_size: int = 128) -> dict[str, float]:
    """``loss`` (mean cross-entropy) and ``top1`` (share in [0, 1]) of ``net`` in evaluation mode."""
    net = net.eval().to(memory_format=torch.channels_last)
    found = score(net, data, batch_size=batch_size)
    return {"loss": found.loss, "top1": found.top1}
