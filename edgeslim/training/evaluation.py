"""Loss and accuracy of a plain net on a set of images."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from edgeslim.training.images import ImageSet


@torch.inference_mode()
def evaluate(net: nn.Module, data: ImageSet, *, batch_size: int = 128) -> dict[str, float]:
    """``loss`` (mean cross-entropy) and ``top1`` (share in [0, 1]) of ``net`` in evaluation mode."""
    net = net.eval().to(memory_format=torch.channels_last)
    loss = torch.zeros((), dtype=torch.float64)
    right = torch.zeros((), dtype=torch.int64)
    for images, labels in data.batches(batch_size):
        logits = net(images)
        loss += F.cross_entropy(logits, labels, reduction="sum").double()
        right += (logits.argmax(dim=1) == labels).sum()
    return {"loss": loss.item() / len(data), "top1": right.item() / len(data)}
