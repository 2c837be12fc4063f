"""Batched augmentation of small images that are in memory.

    draw(batch, …) ─► AugmentDraw (one row per image) ─► [share of a rank] ─► apply(uint8) ─► uint8

The draw is made for the whole batch, so every rank sees what one process would have seen. Larger images are
cropped and flipped while they are decoded (``stream.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment:
    """``padding``: zeros on each side before cropping back; ``flip``: mirror half of the images; ``jitter``: largest
    relative change of brightness and of contrast (0: none)."""

    padding: int
    flip: bool
    jitter: float = 0.0

    def draw(self, batch: int, generator: torch.Generator) -> AugmentDraw:
        """Random parameters for ``batch`` images, on the CPU."""
        span = 2 * self.padding + 1
        corners = torch.randint(0, span, (batch, 2), generator=generator)
        flipped = torch.rand(batch, generator=generator) < (0.5 if self.flip else 0.0)
        factors = 1 + self.jitter * (2 * torch.rand(batch, 2, generator=generator) - 1)
        return AugmentDraw(corners=corners, flipped=flipped, factors=factors)

    def apply(self, pixels: Tensor, draw: AugmentDraw) -> Tensor:
        """uint8 (B, C, S, S) → uint8 (B, C, S, S), stored channels_last."""
        size, device = pixels.shape[-1], pixels.device
        padded = F.pad(pixels, [self.padding] * 4).permute(0, 2, 3, 1)
        steps = torch.arange(size)
        columns = torch.where(draw.flipped[:, None], size - 1 - steps, steps) + draw.corners[:, 1:]
        rows = steps + draw.corners[:, :1]
        images = torch.arange(len(pixels), device=device)[:, None, None]
        cropped = padded[images, rows.to(device)[:, :, None], columns.to(device)[:, None, :]].permute(0, 3, 1, 2)
        return _jitter(cropped, draw.factors.to(device)) if self.jitter else cropped


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentDraw:
    """Per image: ``corners`` int64 (B, 2) of the crop (row, column), ``flipped`` bool (B,), ``factors`` (B, 2)."""

    corners: Tensor
    flipped: Tensor
    factors: Tensor

    def share(self, part: slice) -> AugmentDraw:
        """The rows of one rank."""
        return AugmentDraw(corners=self.corners[part], flipped=self.flipped[part], factors=self.factors[part])


def _jitter(pixels: Tensor, factors: Tensor) -> Tensor:
    """Brightness, then contrast around the image's own mean."""
    bright = pixels.float() * factors[:, :1, None, None]
    mean = bright.mean(dim=(1, 2, 3), keepdim=True)
    return ((bright - mean) * factors[:, 1:, None, None] + mean).round().clamp(0, 255).to(torch.uint8)
