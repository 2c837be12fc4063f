"""Loss and accuracy on a set of images, of a net or of anything else that answers with logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeslim.data.images import ImageSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """``loss``: mean cross-entropy; ``top1``, ``top5``: shares in [0, 1]; ``answers``: every image's best class."""

    loss: float
    top1: float
    top5: float
    answers: Tensor


@torch.inference_mode()
def score(
    predict: Callable[[Tensor], Tensor],
    data: ImageSet,
    *,
    batch_size: int = 128,
    device: torch.device | str = "cpu",
) -> Score:
    """Score ``predict`` (normalised images (B, C, S, S) on ``device`` → logits (B, classes)) on all of ``data``."""
    loss = torch.zeros((), dtype=torch.float64)
    answers: list[Tensor] = []
    in_five = 0
    for images, labels in data.batches(batch_size, device):
        logits = predict(images)
        loss += F.cross_entropy(logits, labels, reduction="sum").double().cpu()
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices
        answers.append(logits.argmax(dim=1).cpu())
        in_five += int((best == labels.unsqueeze(1)).sum())
    chosen = torch.cat(answers)
    right = int((chosen == data.labels).sum())
    return Score(loss=loss.item() / len(data), top1=right / len(data), top5=in_five / len(data), answers=chosen)


def evaluate(net: nn.Module, data: ImageSet, *, batch_size: int = 128) -> dict[str, float]:
    """``loss`` (mean cross-entropy) and ``top1`` (share in [0, 1]) of ``net`` in evaluation mode."""
    net = net.eval().to(memory_format=torch.channels_last)
    found = score(net, data, batch_size=batch_size)
    return {"loss": found.loss, "top1": found.top1}
