"""One sandwich step, up to the optimiser.

widest ─ the task's loss ─► backward ─► its outputs, softened ─┐
others ─ soft loss ◄─ inplace, or a teacher's outputs ◄────────┘ ─► backward (gradients add up)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from edgeslim.models.devices import mixed
from edgeslim.models.selection import Net
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.tasks.base import Outputs, Target, Task, named
from edgeslim.training.engines import choose
from edgeslim.training.teachers import Teacher


def accumulate_gradients(
    model: SlimmableModel,
    images: Tensor,
    target: Target,
    nets: Sequence[Net],
    task: Task,
    teacher: Teacher | None = None,
) -> Tensor:
    """Add the gradients of every net; returns their losses, float32 (len(nets),), still on the device.

    ``nets`` come widest first. It learns the target; the others what the task makes of its outputs, or a teacher's.
    """
    taught: Outputs | None = None
    if teacher is not None and len(nets) > 1:
        with mixed(images.device):
            taught = named(task, teacher.outputs(images))
    engine, losses = choose(model, images), []
    for i, net in enumerate(nets):
        with model.at(net), mixed(images.device):
            out = named(task, engine.forward(model, images))
        if i == 0:
            loss = task.loss(out, target)
            soft = task.soften(out if taught is None else taught, target)
        else:
            loss = task.soft_loss(out, soft)
        loss.backward()
        losses.append(loss.detach())
    return torch.stack(losses)
