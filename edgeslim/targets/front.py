"""The ``nhwc-uint8`` input: camera pixels to normalised floats, as explicit operations of the exported graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PixelFront(nn.Module):
    """``net((pixels - 255·mean) · 1/(255·std))``, with pixels uint8 ``[1, H, W, C]`` and ``net`` taking NCHW float32.

    Cast, permute, subtract, multiply: the net's own weights stay as they are. Folding mean and std into the stem
    would be wrong at its zero padding.
    """

    offset: Tensor
    factor: Tensor

    def __init__(self, net: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.net = net
        shape = (1, len(mean), 1, 1)
        self.register_buffer("offset", torch.tensor([255 * m for m in mean]).reshape(shape))
        self.register_buffer("factor", torch.tensor([1 / (255 * s) for s in std]).reshape(shape))

    def forward(self, image: Tensor) -> Tensor:
        # contiguous: or global pooling leaves an as_strided of the channels-last layout, which no delegate takes
        pixels = image.to(torch.float32).permute(0, 3, 1, 2).contiguous()
        logits: Tensor = self.net((pixels - self.offset) * self.factor)
        return logits
