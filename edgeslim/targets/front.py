"""The ``nhwc-uint8`` input: camera pixels to normalised floats, as explicit operations of the exported graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeslim.targets.base import OUTPUT_NAME


class Normalised(nn.Module):
    """``net((pixels - 255·mean) · 1/(255·std))`` for float pixels ``[1, C, H, W]`` in [0, 255].

    Explicit operations: folding mean and std into the stem would be wrong at its zero padding, and would change the
    weights that a bundle shares between widths.
    """

    offset: Tensor
    factor: Tensor

    def __init__(self, net: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.net = net
        shape = (1, len(mean), 1, 1)
        self.register_buffer("offset", torch.tensor([255 * m for m in mean]).reshape(shape))
        self.register_buffer("factor", torch.tensor([1 / (255 * s) for s in std]).reshape(shape))

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.net((pixels - self.offset) * self.factor)
        return logits


class Pixels(nn.Module):
    """Camera pixels, uint8 ``[1, H, W, C]``, cast and permuted for a ``Normalised`` net."""

    def __init__(self, normalised: Normalised) -> None:
        super().__init__()
        self.normalised = normalised

    def forward(self, image: Tensor) -> Tensor:
        # contiguous: or global pooling leaves an as_strided of the channels-last layout, which no delegate takes
        logits: Tensor = self.normalised(image.to(torch.float32).permute(0, 3, 1, 2).contiguous())
        return logits


class Named(nn.Module):
    """Gives the output its name, for exporters that take it from the module's result."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {OUTPUT_NAME: self.net(image)}
