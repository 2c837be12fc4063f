"""A checkpoint that packs in seconds and whose weights look as training leaves them."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from edgeslim.core.pixels import ImageContract
from edgeslim.core.width import Width
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.models.registry import create
from edgeslim.models.selection import Selection

LOW, HIGH = Width(130), Width(250)
WIDTHS = tuple(map(Width, (130, 190, 250)))


def small_checkpoint(*, statistics: tuple[Width, ...] = WIDTHS, seed: int = 0) -> Checkpoint:
    """A US-MobileNetV1 of at most 256 channels whose BatchNorms look as if trained: dead, tiny and negative gammas."""
    torch.manual_seed(seed)
    model = create("us_mobilenet_v1", num_classes=4, input_size=16, low=LOW, high=HIGH)
    with torch.no_grad():
        norm: Any
        for norm in model.norms().values():
            norm.weight.normal_()
            norm.bias.normal_(std=0.1)
            norm.weight[0], norm.weight[1], norm.weight[2] = 0.0, 1e-30, -0.5
    for width in statistics:
        twin = model.static(width)
        model.set_statistics(
            width,
            {
                name: (0.1 * torch.randn(norm.num_features), 0.5 + torch.rand(norm.num_features))
                for name, norm in twin.named_modules()
                if isinstance(norm, torch.nn.BatchNorm2d)
            },
        )
    contract = dataclasses.replace(ImageContract.imagenet(3, 16, 16, crop="1"), mean=("0.5",) * 3, std=("0.25",) * 3)
    accuracies: dict[Width | Selection, dict[str, Any]] = {
        width: {"top1": 0.25 + width.permille / 1000, "images": 40, "metric": "top1", "larger_is_better": True}
        for width in statistics
    }
    return Checkpoint.from_model(model, input=contract, labels="abcd", accuracies=accuracies)
