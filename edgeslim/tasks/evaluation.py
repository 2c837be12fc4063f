"""A task's measurements on a set of images, of a net or of anything else that answers with its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from edgeslim.data.images import ImageSet
from edgeslim.tasks.base import Metric, Target, Task, named
from edgeslim.tasks.classify import Classify


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


def evaluate(net: nn.Module, data: ImageSet, *, task: Task | None = None, batch_size: int = 128) -> dict[str, float]:
    """What ``task`` measures of ``net`` in evaluation mode; of a classification ``loss``, ``top1`` and ``top5``."""
    net = net.eval().to(memory_format=torch.channels_last)
    return measure(task or Classify(), net, data.batches(batch_size)).result()
