"""Folding BatchNorm into the layer beside it, once, before any exporter sees the net.

    conv ─► BN                   W' = W · scale            b' = shift
    BN ─► conv, padding 0        W' = W · in_scale · …     b' = bias + Σ W · in_shift
    any other BN                 x · scale + shift per channel, numbers of this net

Beside means in the graph: nothing else reads what lies between the two. scale = gamma / sqrt(var + eps), computed in
float64 and rounded once to float32; the weights are then one float32 multiply each (``core.constants``). A
BatchNorm before a convolution that pads stays where it is: the padded zeros would have to become its shift.

    StaticModel ─ structure ─► SlicedModel without numbers ─┐
         └─────── numbers ───► every tensor of it ──────────┴─ filled ─► SlicedModel

The structure needs no statistics: whoever has the numbers already (a bundle) fills them in.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgeslim.core.constants import Constant, Float32, Fold, Kind, NetConstants, of_arrays, values
from edgeslim.core.manifest import Master, Part
from edgeslim.errors import CheckpointError, FormatError, ModelError
from edgeslim.models.count import count
from edgeslim.models.graph import Graph, Node, trace
from edgeslim.models.sliced import ChannelAffine, DeployedTensor, FoldedLayer, SlicedModel
from edgeslim.models.static import StaticModel

Float64 = npt.NDArray[np.float64]
M = TypeVar("M", bound=nn.Module)
_Layer = nn.Conv2d | nn.Linear
_PASSES_ON = (nn.Identity, nn.Dropout, nn.Dropout2d)  # at inference they give what they get
_TRAILING = {nn.BatchNorm2d: 2, nn.BatchNorm3d: 3}


def fold(net: StaticModel) -> SlicedModel:
    """The deployable net of a calibrated static twin; ``net`` stays as it is.

    Raises:
        CheckpointError: a BatchNorm without statistics, or a fold that is not finite.
        ModelError: the data cannot be followed through the net, or a BatchNorm that is not for images stands alone.
    """
    plan = _planned(net)
    numbers, layers = _numbers(net, plan)
    return filled(_structure(net, plan, layers), numbers)


def structure(net: StaticModel) -> SlicedModel:
    """The deployable net without numbers, on the meta device; statistics are not needed. ``filled`` completes it.

    Raises:
        ModelError: as ``fold``.
    """
    return _structure(net, _planned(net), ())


def filled(net: SlicedModel, numbers: Mapping[str, Float32]) -> SlicedModel:
    """A structure with numbers in it: ``numbers`` by the names of ``net.tensors``, for every one of them.

    Raises:
        ModelError: names the first tensor that is missing, unknown or has another shape.
    """
    shapes = {name: tuple(getattr(module, part).shape) for name, module, part in _own(net)}
    for name in (*shapes, *numbers):
        if name not in numbers or name not in shapes:
            raise ModelError(
                f"{name} is on one side only: every tensor of a deployed net needs numbers, and no others do"
            )
        if numbers[name].shape != shapes[name]:
            raise ModelError(f"{name} has shape {shapes[name]}, the numbers {numbers[name].shape}")
    return _put(copy.deepcopy(net), numbers)


def fold_layers(net: nn.Module) -> tuple[nn.Module, tuple[FoldedLayer, ...]]:
    """A copy of any plain net with its BatchNorms folded; every layer is its own master.

    Raises:
        CheckpointError, ModelError: as ``fold``.
    """
    plan = _plan(net, trace(net))
    numbers, layers = _numbers(net, plan)
    folded = _without_norms(net, plan)
    return _put(folded, numbers), layers


Tensors = Iterator[tuple[str, nn.Module, str]]


def _own(net: nn.Module) -> Tensors:
    """Name, owner and attribute of every parameter and persistent buffer; of shared modules under the first name."""
    for prefix, module in net.named_modules():
        for part, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and part not in module._non_persistent_buffers_set:
                yield f"{prefix}.{part}" if prefix else part, module, part


def _put(net: M, numbers: Mapping[str, Float32] | None) -> M:
    """``net`` with these numbers, or without any (on the meta device)."""
    for name, module, part in list(_own(net)):
        old: Tensor = getattr(module, part)
        tensor = old.detach().to("meta") if numbers is None else torch.from_numpy(np.array(numbers[name]))
        if part in module._parameters:
            module._parameters[part] = nn.Parameter(tensor, requires_grad=False)
        else:
            module._buffers[part] = tensor
    return net.eval()


# -- which BatchNorm goes where ----------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class _Plan:
    """By layer the BatchNorm before it and after it; those that stand alone."""

    before: dict[_Layer, _BatchNorm] = field(default_factory=dict)
    after: dict[_Layer, _BatchNorm] = field(default_factory=dict)
    alone: list[_BatchNorm] = field(default_factory=list)
    names: dict[nn.Module, str] = field(default_factory=dict)


def _planned(net: StaticModel) -> _Plan:
    try:
        graph = trace(net)
    except ModelError:
        spec = net.spec
        graph = trace(net, torch.zeros(1, spec.in_channels, spec.input_size, spec.input_size))
    return _plan(net, graph)


def _plan(net: nn.Module, graph: Graph) -> _Plan:
    plan = _Plan(names={module: name for name, module in net.named_modules()})
    calls = graph.calls()
    for module in plan.names:
        if not isinstance(module, _BatchNorm):
            continue
        nodes = calls.get(module, ())
        source = _source(nodes[0], graph, calls) if len(nodes) == 1 else None
        if source is not None:
            plan.after[source] = module
            continue
        reader = _reader(nodes[0], graph, calls) if len(nodes) == 1 else None
        if reader is not None:
            plan.before[reader] = module
        elif type(module) in _TRAILING:
            plan.alone.append(module)
        else:
            raise ModelError(
                f"cannot deploy {plan.names[module]}: no layer stands beside it, and it is a {type(module).__name__}"
            )
    return plan


def _source(norm: Node, graph: Graph, calls: dict[nn.Module, tuple[Node, ...]]) -> _Layer | None:
    """The layer whose output only this BatchNorm reads."""
    node = norm.inputs[0]
    while len(graph.users[node]) == 1:
        if isinstance(node.module, _PASSES_ON):
            node = node.inputs[0]
        elif isinstance(node.module, nn.Conv2d | nn.Linear) and len(calls[node.module]) == 1:
            flat = isinstance(norm.module, nn.BatchNorm1d)
            return node.module if isinstance(node.module, nn.Linear) == flat else None
        else:
            break
    return None


def _reader(norm: Node, graph: Graph, calls: dict[nn.Module, tuple[Node, ...]]) -> nn.Conv2d | None:
    """The convolution without padding that alone reads this BatchNorm's output."""
    node = norm
    while len(users := graph.users[node]) == 1:
        node = users[0]
        if isinstance(node.module, nn.Conv2d):
            once = len(calls[node.module]) == 1 and isinstance(norm.module, nn.BatchNorm2d)
            return node.module if once and node.module.padding in (0, (0, 0), "valid") else None
        if not isinstance(node.module, _PASSES_ON):
            break
    return None


# -- structure ---------------------------------------------------------------------------------------------------------


def _structure(net: StaticModel, plan: _Plan, layers: tuple[FoldedLayer, ...]) -> SlicedModel:
    network = _without_norms(net.network, plan)
    return SlicedModel(
        network,
        spec=net.spec,
        selection=net.selection,
        counts=count(net),
        tensors=tuple(_origin(name, plan) for name, _, _ in _own(network)),
        layers=layers,
    )


def _without_norms(net: nn.Module, plan: _Plan) -> nn.Module:
    """A copy on the meta device: norms taken in are gone, those alone are affine, every layer has a bias."""
    memo: dict[int, nn.Module] = {id(norm): nn.Identity() for norm in (*plan.before.values(), *plan.after.values())}
    memo |= {id(norm): ChannelAffine(norm.num_features, _TRAILING[type(norm)]) for norm in plan.alone}
    memo |= {id(module): _with_bias(module) for module in plan.names if isinstance(module, nn.Conv2d | nn.Linear)}
    return _put(copy.deepcopy(net, memo), None)


def _with_bias(module: _Layer) -> _Layer:
    """A layer shaped like ``module``, on the meta device."""
    if isinstance(module, nn.Linear):
        return nn.Linear(module.in_features, module.out_features, device="meta").requires_grad_(False)
    return nn.Conv2d(
        module.in_channels,
        module.out_channels,
        module.kernel_size,  # type: ignore[arg-type]
        stride=module.stride,  # type: ignore[arg-type]
        padding=module.padding,  # type: ignore[arg-type]
        dilation=module.dilation,  # type: ignore[arg-type]
        groups=module.groups,
        device="meta",
    ).requires_grad_(False)


def _origin(name: str, plan: _Plan) -> DeployedTensor:
    owner, _, part = name.rpartition(".")
    module = next((module for module, known in plan.names.items() if known == owner), None)
    if module in plan.alone:
        return DeployedTensor(name=name, kind="vector")
    if not isinstance(module, nn.Conv2d | nn.Linear):
        return DeployedTensor(name=name, kind="tensor", master=name)
    before, after = module in plan.before, module in plan.after
    if part == "weight":
        return DeployedTensor(name=name, kind="weight", master=name, scaled=after, in_scaled=before)
    if before or after or module.bias is None:
        return DeployedTensor(name=name, kind="vector")
    return DeployedTensor(name=name, kind="tensor", master=name)


# -- numbers -----------------------------------------------------------------------------------------------------------


def _numbers(net: nn.Module, plan: _Plan) -> tuple[dict[str, Float32], tuple[FoldedLayer, ...]]:
    """Every tensor of the deployed net by its name, and how each layer's came about."""
    numbers: dict[str, Float32] = {}
    layers: list[FoldedLayer] = []
    for module, name in plan.names.items():
        if isinstance(module, nn.Conv2d | nn.Linear):
            layer, numbers[f"{name}.weight"], numbers[f"{name}.bias"] = _folded(module, name, plan)
            layers.append(layer)
        elif module in plan.alone:
            assert isinstance(module, _BatchNorm)
            shape = (-1, *(1,) * _TRAILING[type(module)])
            for part, vector in zip(("scale", "shift"), _scale_and_shift(module, name), strict=True):
                numbers[f"{name}.{part}"] = _rounded(vector, name).reshape(shape)
    for name, module, part in _own(net):
        if not isinstance(module, _BatchNorm | nn.Conv2d | nn.Linear):
            numbers[name] = getattr(module, part).detach().cpu().numpy()
    return numbers, tuple(layers)


def _folded(module: _Layer, name: str, plan: _Plan) -> tuple[FoldedLayer, Float32, Float32]:
    """What the statistics make of a layer; its deployed weight and bias."""
    weight = _float32(module.weight)
    groups = module.groups if isinstance(module, nn.Conv2d) else 1
    out_channels = weight.shape[0]
    own_bias = None if module.bias is None else _float32(module.bias)
    bias = np.zeros(out_channels) if own_bias is None else own_bias.astype(np.float64)
    in_scale = scale = shift = None
    before, after = plan.before.get(module), plan.after.get(module)
    if before is not None:
        in_scale64, in_shift = _scale_and_shift(before, plan.names[before])
        in_scale = _rounded(in_scale64, plan.names[before])
        by_row = np.repeat(in_shift.reshape(groups, -1), out_channels // groups, axis=0)
        bias = bias + np.einsum("oihw,oi->o", weight.astype(np.float64), by_row)
    if after is not None:
        scale64, shift64 = _scale_and_shift(after, plan.names[after])
        scale = _rounded(scale64, plan.names[after])
        bias = shift64 + bias * scale64
    if before is not None or after is not None or module.bias is None:
        shift = _rounded(bias, name)
    layer = FoldedLayer(name=name, in_scale=in_scale, scale=scale, shift=shift)
    deployed = shift if shift is not None else own_bias
    assert deployed is not None
    return layer, _weight(name, weight, groups, layer), deployed


def _weight(name: str, weight: Float32, groups: int, layer: FoldedLayer) -> Float32:
    """The deployed weight, by the arithmetic of bundles."""
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
    parts = [Part(name=f"axis.{axis}", size=size, optional=False) for axis, size in enumerate(weight.shape)]
    numbers = Fold(in_scale=layer.in_scale, scale=layer.scale, shift=layer.shift)
    net = NetConstants.of(of_arrays([master], {name: weight}, {}), parts, weight.shape, [numbers])
    try:
        return values(Constant(0, Kind.WEIGHT), net)
    except FormatError:
        raise CheckpointError(f"folding {name} gives weights that are not finite") from None


def _scale_and_shift(norm: _BatchNorm, name: str) -> tuple[Float64, Float64]:
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


def _rounded(numbers: Float64, name: str) -> Float32:
    with np.errstate(over="ignore"):
        rounded = numbers.astype(np.float32)
    if not np.isfinite(rounded).all():
        raise CheckpointError(f"folding {name} gives numbers that are not finite: its statistics are damaged")
    return rounded


def _float32(tensor: Tensor) -> Float32:
    return np.ascontiguousarray(tensor.detach().cpu().to(torch.float32).numpy())
