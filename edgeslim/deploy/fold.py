"""Folding BatchNorm into the layer beside it, once, before any exporter sees the net.

    Sequential(… conv, BN …)            W' = W · scale            b' = shift
    Sequential(BN, conv …), padding 0   W' = W · in_scale · …     b' = bias + Σ W · in_shift

scale = gamma / sqrt(var + eps), computed in float64 and rounded once to float32; the weights are then one float32
multiply each (``core.constants``). A BatchNorm before a convolution that pads cannot be folded: the padded
zeros would have to become its shift. It is refused, not approximated.
"""

from __future__ import annotations

import copy
import itertools

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgeslim.core.constants import Constant, Float32, Fold, Kind, NetConstants, of_arrays, values
from edgeslim.core.manifest import Master, Part
from edgeslim.errors import CheckpointError, FormatError, ModelError
from edgeslim.models.count import count
from edgeslim.models.sliced import FoldedLayer, SlicedModel
from edgeslim.models.static import StaticModel

Float64 = npt.NDArray[np.float64]


def fold(net: StaticModel) -> SlicedModel:
    """The deployable net of a calibrated static twin; ``net`` stays as it is.

    Raises:
        CheckpointError: a BatchNorm without statistics, or a fold that is not finite.
        ModelError: a BatchNorm that stands beside no convolution, or before one that pads.
    """
    folded, layers = fold_layers(net)
    assert isinstance(folded, StaticModel)
    return SlicedModel(
        folded.features,
        folded.classifier,
        spec=net.spec,
        selection=net.selection,
        counts=count(net),
        layers=layers,
    )


def fold_layers(net: nn.Module) -> tuple[nn.Module, tuple[FoldedLayer, ...]]:
    """A copy of any plain net with its BatchNorms folded into their neighbours in ``nn.Sequential``.

    Raises:
        CheckpointError, ModelError: as ``fold``.
    """
    names = {id(module): name for name, module in net.named_modules()}
    before, after = _neighbours(net, names)
    used = {id(norm) for norm in (*before.values(), *after.values())}
    for module in net.modules():
        if isinstance(module, _BatchNorm) and id(module) not in used:
            raise ModelError(f"cannot fold BatchNorm {names[id(module)]}: no convolution stands beside it")

    memo: dict[int, nn.Module] = {norm: nn.Identity() for norm in used}
    layers: list[FoldedLayer] = []
    for name, module in net.named_modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        layer, replacement = _fold_one(name, module, before.get(id(module)), after.get(id(module)), names)
        layers.append(layer)
        memo[id(module)] = replacement
    return copy.deepcopy(net, memo).eval(), tuple(layers)


def _neighbours(net: nn.Module, names: dict[int, str]) -> tuple[dict[int, nn.BatchNorm2d], dict[int, nn.BatchNorm2d]]:
    """Which BatchNorm comes directly before, and which directly after, each convolution (by its id)."""
    before: dict[int, nn.BatchNorm2d] = {}
    after: dict[int, nn.BatchNorm2d] = {}
    for sequence in net.modules():
        if not isinstance(sequence, nn.Sequential):
            continue
        row = [module for module in sequence if not isinstance(module, nn.Identity)]
        taken: set[int] = set()
        for left, right in itertools.pairwise(row):
            if isinstance(left, nn.Conv2d) and isinstance(right, nn.BatchNorm2d):
                after[id(left)] = right
                taken.add(id(right))
            elif isinstance(left, nn.BatchNorm2d) and isinstance(right, nn.Conv2d) and id(left) not in taken:
                if right.padding not in (0, (0, 0), "valid"):
                    raise ModelError(
                        f"cannot fold BatchNorm {names[id(left)]}: it stands before {names[id(right)]}, "
                        f"which pads by {right.padding}; only a convolution without padding can take it in"
                    )
                before[id(right)] = left
    return before, after


def _fold_one(
    name: str,
    module: nn.Conv2d | nn.Linear,
    before: nn.BatchNorm2d | None,
    after: nn.BatchNorm2d | None,
    names: dict[int, str],
) -> tuple[FoldedLayer, nn.Module]:
    weight = _float32(module.weight)
    groups = module.groups if isinstance(module, nn.Conv2d) else 1
    out_channels = weight.shape[0]
    bias = np.zeros(out_channels) if module.bias is None else _float32(module.bias).astype(np.float64)
    in_scale = scale = shift = None
    if before is not None:
        in_scale64, in_shift = _scale_and_shift(before, names[id(before)])
        in_scale = _rounded(in_scale64, names[id(before)])
        by_row = np.repeat(in_shift.reshape(groups, -1), out_channels // groups, axis=0)
        bias = bias + np.einsum("oihw,oi->o", weight.astype(np.float64), by_row)
    if after is not None:
        scale64, shift64 = _scale_and_shift(after, names[id(after)])
        scale = _rounded(scale64, names[id(after)])
        bias = shift64 + bias * scale64
    if before is not None or after is not None or module.bias is None:
        shift = _rounded(bias, name)
    layer = FoldedLayer(name=name, in_scale=in_scale, scale=scale, shift=shift)
    own = None if module.bias is None else _float32(module.bias)
    kept = shift if shift is not None else own
    assert kept is not None
    return layer, _plain_layer(module, _folded(name, weight, groups, layer), kept)


def _folded(name: str, weight: Float32, groups: int, layer: FoldedLayer) -> Float32:
    """The deployed weight, by the arithmetic of bundles."""
    parts = [Part(name=f"axis.{axis}", size=size, optional=False) for axis, size in enumerate(weight.shape)]
    master = Master(
        name=name,
        role="weight",
        dtype="f32",
        axes=tuple((axis,) for axis in range(weight.ndim)),
        rows=0,
        groups=groups,
        in_scale=layer.in_scale is not None,
        scale=layer.scale is not None,
        shift=layer.shift is not None,
        bias=None,
        integers="none",
        correction=False,
        of=None,
        sha256=None,
        step_sha256=None,
    )
    net = NetConstants.of(
        of_arrays([master], {name: weight}, {}),
        parts,
        weight.shape,
        [Fold(in_scale=layer.in_scale, scale=layer.scale, shift=layer.shift)],
    )
    try:
        return values(Constant(0, Kind.WEIGHT), net)
    except FormatError:
        raise CheckpointError(f"folding {name} gives weights that are not finite") from None


def _plain_layer(module: nn.Conv2d | nn.Linear, weight: Float32, bias: Float32) -> nn.Module:
    """A layer shaped like ``module`` with exactly these bits as parameters (no gradients)."""
    plain: nn.Conv2d | nn.Linear
    if isinstance(module, nn.Conv2d):
        plain = nn.Conv2d(
            module.in_channels,
            module.out_channels,
            module.kernel_size,  # type: ignore[arg-type]
            stride=module.stride,  # type: ignore[arg-type]
            padding=module.padding,  # type: ignore[arg-type]
            dilation=module.dilation,  # type: ignore[arg-type]
            groups=module.groups,
            device="meta",
        )
    else:
        plain = nn.Linear(module.in_features, module.out_features, device="meta")
    plain.weight = nn.Parameter(torch.from_numpy(weight.copy()), requires_grad=False)
    plain.bias = nn.Parameter(torch.from_numpy(bias.copy()), requires_grad=False)
    return plain


def _scale_and_shift(norm: nn.BatchNorm2d, name: str) -> tuple[Float64, Float64]:
    """y = x·scale + shift of a BatchNorm at inference, in float64."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        raise CheckpointError(f"BatchNorm {name} keeps no statistics, so it cannot be folded")
    if int(norm.num_batches_tracked) == 0:
        raise CheckpointError(
            f"BatchNorm {name} has no statistics for this width yet", hint="edgeslim calibrate CKPT --data … --widths …"
        )
    mean, var = _float32(norm.running_mean).astype(np.float64), _float32(norm.running_var).astype(np.float64)
    gamma, beta = (
        np.float64(default) if tensor is None else _float32(tensor).astype(np.float64)
        for tensor, default in ((norm.weight, 1.0), (norm.bias, 0.0))
    )
    with np.errstate(all="ignore"):  # what is not finite is refused by name in ``_rounded``
        scale: Float64 = gamma / np.sqrt(var + norm.eps)
        return scale, beta - mean * scale


def _rounded(values: Float64, name: str) -> Float32:
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    if not np.isfinite(rounded).all():
        raise CheckpointError(f"folding {name} gives numbers that are not finite: its statistics are damaged")
    return rounded


def _float32(tensor: torch.Tensor) -> Float32:
    return np.ascontiguousarray(tensor.detach().cpu().to(torch.float32).numpy())
