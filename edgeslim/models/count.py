"""Multiply-adds and parameters, counted on the plain twin of one net.

MACs are those of the slimmable papers: convolution Cin/groups·Cout·k·k·H·W, linear in·out for every vector or token,
matrix products of two computed values (attention) rows·columns·length, average pooling and means one per input
element; batch 1. Bias, normalisation, activations, additions and reshaping count nothing. An operation that is in no
list here is told (``unsupported``), as fvcore tells it, and counts nothing. Parameters are all of the twin's, before
folding.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from edgeslim.core.strict_json import LEFT_OUT
from edgeslim.core.width import Width
from edgeslim.errors import ModelError, UsageError
from edgeslim.models.graph import Node, trace
from edgeslim.models.selection import Net
from edgeslim.models.slimmable import SlimmableModel


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCount:
    """One step that has weights or costs multiply-adds."""

    name: str
    """Its place in the network."""
    kind: str
    """conv, linear, batchnorm …"""
    macs: int
    """Multiply-adds of one image."""
    params: int
    """Its own."""
    out_shape: tuple[int, ...]
    """Without the batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Totals and the layers they are made of. ``unsupported``: operations that were not counted, and how often."""

    macs: int
    params: int
    layers: tuple[LayerCount, ...]
    unsupported: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRow:
    """What the net of one width costs."""

    permille: int
    """The width."""
    macs: int
    """Multiply-adds of one image."""
    params: int
    """Before BatchNorms are folded."""
    channels_sha256: str
    """Hash of its channels: the same for widths that are the same net."""
    alias_of: int | None
    """Permille of the smaller width that is the same net; null: there is none."""
    layers: tuple[LayerCount, ...] | None = field(default=None, metadata=LEFT_OUT)
    """What each layer costs, where that was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileReport:
    """What every width of a network costs."""

    model: str
    """Name of the network."""
    input_size: int
    """Pixels of a side of the image."""
    rows: tuple[ProfileRow, ...]
    """From narrow to wide."""
    unsupported: Mapping[str, int]
    """Operations that were not counted, and how often each stands in the net."""


_KINDS: dict[type[nn.Module], str] = {
    nn.Conv2d: "conv",
    nn.ConvTranspose2d: "conv",
    nn.Linear: "linear",
    nn.BatchNorm2d: "batchnorm",
    nn.LayerNorm: "layernorm",
    nn.GroupNorm: "groupnorm",
    nn.PReLU: "activation",
    nn.Embedding: "embedding",
    nn.AvgPool2d: "avgpool",
    nn.AdaptiveAvgPool2d: "avgpool",
}
_FREE_MODULE_NAMES = (
    "Identity ReLU ReLU6 LeakyReLU ELU CELU SELU GELU SiLU Mish Hardswish Hardsigmoid Hardtanh Sigmoid Tanh "
    "Softplus Softmax LogSoftmax Dropout Dropout2d Flatten Unflatten MaxPool2d AdaptiveMaxPool2d PixelShuffle "
    "PixelUnshuffle ChannelShuffle Upsample UpsamplingNearest2d UpsamplingBilinear2d ZeroPad2d ReflectionPad2d "
    "ReplicationPad2d "
)
_FREE_FUNCTION_NAMES = (
    "abs adaptive_max_pool2d add alias argmax batch_norm broadcast_to cat celu chunk clamp clone concat "
    "contiguous cos detach dim div dropout dtype elu eq erf exp expand expand_as flatten flip float floordiv "
    "gather ge gelu getattr getitem group_norm gt hardsigmoid hardswish hardtanh index_select interpolate "
    "layer_norm le leaky_relu log log_softmax lt masked_fill max max_pool2d maximum min minimum mish movedim "
    "mul narrow ne neg normalize numel ones ones_like pad permute pixel_shuffle pixel_unshuffle pow prelu "
    "reciprocal relu relu6 repeat repeat_interleave reshape reshape_as roll round rsqrt rsub select selu "
    "sigmoid silu sin size softmax softplus split sqrt square squeeze stack sub sum swapaxes t tanh tile to "
    "topk transpose truediv type type_as unbind unflatten unfold unsqueeze view view_as where zeros zeros_like "
)
_FREE_MODULES = frozenset(getattr(nn, name) for name in _FREE_MODULE_NAMES.split())
_FREE_FUNCTIONS = frozenset(_FREE_FUNCTION_NAMES.split())
_PRODUCTS = frozenset(("matmul", "bmm", "mm", "baddbmm", "addmm"))
_MEANS = frozenset(("mean", "avg_pool2d", "adaptive_avg_pool2d"))


def profile(net: SlimmableModel, widths: Sequence[Width], input_size: int, *, layers: bool = False) -> ProfileReport:
    """Count the nets of ``widths``, with every layer if asked; raises as ``count`` does."""
    alias_of = {alias: width.permille for width, aliases in net.distinct(widths).items() for alias in aliases}
    counted = {width: count(net, width, input_size) for width in sorted(set(widths))}
    return ProfileReport(
        model=net.spec.name,
        input_size=input_size,
        rows=tuple(
            ProfileRow(
                permille=width.permille,
                macs=counts.macs,
                params=counts.params,
                channels_sha256=net.selection(width).sha256,
                alias_of=alias_of.get(width),
                layers=counts.layers if layers else None,
            )
            for width, counts in counted.items()
        ),
        unsupported={name: times for counts in counted.values() for name, times in counts.unsupported.items()},
    )


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
    first = next(module for module in plain.modules() if isinstance(module, nn.Conv2d))
    in_channels = spec.in_channels if spec is not None else first.in_channels
    try:
        graph = trace(plain.eval(), torch.empty(1, in_channels, size, size, device="meta"))
    except ModelError:
        raise
    except RuntimeError as error:
        raise UsageError(f"an input of {size} px does not fit this net: {error}") from error
    layers: list[LayerCount] = []
    unsupported: Counter[str] = Counter()
    seen: set[nn.Module] = set()
    for node in graph.nodes:
        if node.kind not in ("module", "function"):
            continue
        macs, kind = _macs(node)
        if kind is None:
            unsupported[node.operation] += 1
            continue
        own = 0 if node.module is None or node.module in seen else _parameters(node.module)
        if node.module is not None:
            seen.add(node.module)
        if macs or own or kind in _KINDS.values():
            shape = () if node.shape is None else node.shape[1:]
            layers.append(LayerCount(name=node.name, kind=kind, macs=macs, params=own, out_shape=shape))
    return Counts(
        macs=sum(layer.macs for layer in layers),
        params=_parameters(plain),
        layers=tuple(layers),
        unsupported=dict(sorted(unsupported.items())),
    )


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _macs(node: Node) -> tuple[int, str | None]:
    """Multiply-adds of one step and its kind; None where nobody knows."""
    module = node.module
    if module is None:
        return _function_macs(node)
    kind = _KINDS.get(type(module))
    if kind is None:
        return 0, "free" if type(module) in _FREE_MODULES else None
    if isinstance(module, nn.Conv2d):
        return _size(node) * module.in_channels // module.groups * math.prod(module.kernel_size), kind
    if isinstance(module, nn.ConvTranspose2d):
        return _size(node.inputs[0]) * module.out_channels // module.groups * math.prod(module.kernel_size), kind
    if isinstance(module, nn.Linear):
        return _size(node) * module.in_features, kind
    return (_size(node.inputs[0]) if kind == "avgpool" else 0), kind


def _function_macs(node: Node) -> tuple[int, str | None]:
    name = node.operation
    if name in _PRODUCTS:
        return _size(node) * _shape(node.inputs[-2])[-1], "product"
    if name == "linear":
        return _size(node) * _shape(node.inputs[0])[-1], "linear"
    if name == "conv2d":
        return _size(node) * math.prod(_shape(node.inputs[1])[1:]), "conv"
    if name == "scaled_dot_product_attention":
        query, key, value = (_shape(read) for read in node.inputs[:3])
        pairs = math.prod(query[:-1]) * key[-2]
        return pairs * (query[-1] + value[-1]), "attention"
    if name in _MEANS:
        return _size(node.inputs[0]), "avgpool"
    return 0, "free" if name in _FREE_FUNCTIONS else None


def _shape(node: Node) -> tuple[int, ...]:
    assert node.shape is not None, f"{node.name} has no shape"
    return node.shape


def _size(node: Node) -> int:
    """Numbers in its output; the batch is 1."""
    return math.prod(_shape(node))
