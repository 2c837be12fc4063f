"""A small slimmable net with weights that are not special, and images for it."""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from torch import nn

from edgeslim.core.pixels import ImageContract
from edgeslim.core.width import Width
from edgeslim.data.images import ImageSet
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.models.registry import create

CONTRACT = dataclasses.replace(
    ImageContract.imagenet(3, 16, 16, crop="1"), mean=("0.4", "0.5", "0.6"), std=("0.25", "0.2", "0.3")
)


def small_net(name: str = "us_mobilenet_v2", *, norm: Literal["batch", "none"] = "batch") -> Checkpoint:
    """Random weights; gammas and betas away from 1 and 0; trained range 0.25 to 1.0 (or the S family's list)."""
    torch.manual_seed(0)
    widths = (
        {"widths": (Width(500), Width(1000))} if name.startswith("s_") else {"low": Width(250), "high": Width(1000)}
    )
    model = create(name, num_classes=4, input_size=16, in_channels=3, norm=norm, **widths)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.uniform_(parameter, 0.3, 1.2)
    return Checkpoint.from_model(model, input=CONTRACT)


def small_images(count: int = 32, *, split: str = "calib", classes: int = 4, seed: int = 0) -> ImageSet:
    """uint8 noise with a different brightness per class; normalised by 0.5 until a checkpoint says otherwise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    pixels = torch.randint(0, 120, (count, 3, 16, 16), generator=generator) + 30 * labels.view(-1, 1, 1, 1)
    pixels = pixels.to(torch.uint8)
    return ImageSet(
        name="noise",
        split=split,
        pixels=pixels,
        original=pixels,
        labels=labels,
        classes=tuple("abcdefgh"[:classes]),
        contract=dataclasses.replace(CONTRACT, mean=("0.5",) * 3, std=("0.5",) * 3),
        flips=True,
    )
