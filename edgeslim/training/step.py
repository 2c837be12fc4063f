"""One sandwich step, up to the optimiser.

widest ─ hard labels ─► loss, backward ─► its logits, detached ─┐
others ─ soft targets ◄─ inplace, or a teacher's logits ◄────────┘ ─► loss, backward (gradients add up)
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeslim.core.width import Width
from edgeslim.models.devices import mixed
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.training.config import TrainConfig
from edgeslim.training.distill import Teacher, hard_loss, soft_loss, soft_targets
from edgeslim.training.engines import choose


def accumulate_gradients(
    model: SlimmableModel,
    images: Tensor,
    labels: Tensor,
    widths: tuple[Width, ...],
    config: TrainConfig,
    teacher: Teacher | None = None,
) -> Tensor:
    """Add the gradients of every width; returns their losses, float32 (len(widths),), still on the device.

    ``widths`` come widest first. It learns the labels, smoothed; the others the soft targets of ``config.distill``.
    """
    taught: Tensor | None = None
    if teacher is not None and len(widths) > 1:
        with mixed(images.device):
            taught = teacher.logits(images)
    losses = []
    for i, width in enumerate(widths):
        with model.at(width), mixed(images.device):
            logits = choose(model, images).forward(model, images)
        if i == 0:
            loss = hard_loss(logits, labels, config.label_smoothing)
            targets = soft_targets(logits if taught is None else taught, labels, config.distill)
        else:
            loss = soft_loss(logits, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    return torch.stack(losses)
