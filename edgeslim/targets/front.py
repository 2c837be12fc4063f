"""What is put around a net before it is exported: the ``nhwc-uint8`` input, and names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


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

    def forward(self, pixels: Tensor, *others: Tensor) -> Any:
        return self.net((pixels - self.offset) * self.factor, *others)


class Pixels(nn.Module):
    """Camera pixels, uint8 ``[1, H, W, C]``, cast and permuted for a ``Normalised`` net."""

    def __init__(self, normalised: nn.Module) -> None:
        super().__init__()
        self.normalised = normalised

    def forward(self, image: Tensor, *others: Tensor) -> Any:
        # contiguous: or global pooling leaves an as_strided of the channels-last layout, which no delegate takes
        return self.normalised(image.to(torch.float32).permute(0, 3, 1, 2).contiguous(), *others)


class Named(nn.Module):
    """Takes inputs and gives outputs by name, for exporters that take names from the module's own."""

    def __init__(self, net: nn.Module, outputs: Sequence[str]) -> None:
        super().__init__()
        self.net = net
        self.outputs = tuple(outputs)

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        made = self.net(*inputs.values())
        results = made if isinstance(made, list | tuple) else (made,)
        return dict(zip(self.outputs, results, strict=True))
