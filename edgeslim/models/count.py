"""Multiply-adds and parameters, counted on the plain net of one width.

MACs are those of the slimmable papers: convolution Cin/groups·Cout·k·k·H·W, linear in·out, average pooling one per
input element; batch 1. Bias, BatchNorm, activations and additions count nothing. Parameters are those of convolutions,
linear layers and BatchNorm's gamma and beta, before folding.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from edgeslim.errors import UsageError
from edgeslim.models.selection import Net
from edgeslim.models.slimmable import SlimmableModel


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCount:
    """One layer that has weights or costs multiply-adds; ``out_shape`` without the batch."""

    name: str
    kind: str
    macs: int
    params: int
    out_shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Totals and the layers they are made of."""

    macs: int
    params: int
    layers: tuple[LayerCount, ...]


_KINDS: dict[type[nn.Module], str] = {
    nn.Conv2d: "conv",
    nn.Linear: "linear",
    nn.BatchNorm2d: "batchnorm",
    nn.AvgPool2d: "avgpool",
    nn.AdaptiveAvgPool2d: "avgpool",
}


def count(net: nn.Module, chosen: Net | None = None, input_size: int | None = None) -> Counts:
    """Count ``chosen`` of a slimmable model (by default the net that runs now), or any plain net.

    Args:
        input_size: pixels of the square input; the spec's own where the net has one and this is None.

    Raises:
        WidthError, ModelError: the model has no such net.
        UsageError: no input size is known, or the image is too small for the net.
    """
    spec = getattr(net, "spec", None)
    size = input_size if input_size is not None else getattr(spec, "input_size", None)
    if size is None:
        raise UsageError("counting needs an input size")
    if isinstance(net, SlimmableModel):
        plain: nn.Module = net.static(chosen or net.net, weights=False)
    else:
        plain = copy.deepcopy(net).to("meta")
    layers: list[LayerCount] = []
    for name, module in plain.named_modules():
        kind = _KINDS.get(type(module))
        if kind is not None:
            module.register_forward_hook(_recorder(layers, name, kind))
    first = next(module for module in plain.modules() if isinstance(module, nn.Conv2d))
    in_channels = spec.in_channels if spec is not None else first.in_channels
    try:
        with torch.no_grad():
            plain.eval()(torch.empty(1, in_channels, size, size, device="meta"))
    except RuntimeError as error:
        raise UsageError(f"an input of {size} px does not fit this net: {error}") from error
    return Counts(
        macs=sum(layer.macs for layer in layers), params=sum(layer.params for layer in layers), layers=tuple(layers)
    )


def _recorder(layers: list[LayerCount], name: str, kind: str) -> Any:
    def record(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            macs = output[0].numel() * module.in_channels // module.groups * math.prod(module.kernel_size)
        elif isinstance(module, nn.Linear):
            macs = module.in_features * module.out_features
        else:
            macs = args[0][0].numel() if kind == "avgpool" else 0
        layers.append(
            LayerCount(
                name=name,
                kind=kind,
                macs=macs,
                params=sum(parameter.numel() for parameter in module.parameters()),
                out_shape=tuple(output.shape[1:]),
            )
        )

    return record
