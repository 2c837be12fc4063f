"""From a checkpoint to what a bundle stores: full-size masters, and what every net does to them.

Checkpoint ─► sources()      one MasterSource per parameter that deploys, one per vector that is every net's own
Selection  ─► part_counts()  how many of every part a net uses
SlicedModel ─► folds()       one Fold per master
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from edgeslim.core.constants import Fold, NetConstants
from edgeslim.core.manifest import MasterDtype, Part
from edgeslim.errors import CheckpointError, UsageError
from edgeslim.models.channels import Channels
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.models.masters import MasterSpec, masters_of
from edgeslim.models.selection import Net
from edgeslim.models.sliced import FoldedLayer, SlicedModel
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.press.build import MasterSet, MasterSource


def sources(
    model: SlimmableModel,
    net: SlicedModel,
    state_dict: Mapping[str, Tensor],
    *,
    dtype: MasterDtype = "f32",
) -> list[MasterSource]:
    """Every master of ``model``: its parameters in the order of its state dict, then the vectors of nets alone.

    A bias that is folded into shifts has none.

    Args:
        net: any folded net: which numbers come with a net does not depend on its width.
        dtype: of the weights and their biases; round the checkpoint first (``with_fp16_masters``).
    """
    folded = {layer.name: layer for layer in net.layers}
    specs = masters_of(model)
    layers = {spec.name.removesuffix(".weight") for spec in specs if spec.role == "weight"}
    biases = {spec.name for spec in specs if spec.name.endswith(".bias") and spec.name.removesuffix(".bias") in layers}
    found = []
    for spec in specs:
        owner = folded.get(spec.name.rpartition(".")[0])
        if spec.name in biases and owner is not None and owner.shift is not None:
            continue
        axes = tuple(_parts(axis, model.spec.high) for axis in spec.axes)
        array = state_dict[spec.name].numpy()
        if spec.role == "tensor":
            rounded = dtype if spec.name in biases else "f32"
            found.append(MasterSource(name=spec.name, axes=axes, array=array, role="tensor", dtype=rounded))
            continue
        bias = f"{spec.name.removesuffix('.weight')}.bias"
        if owner is None:  # a layer that no BatchNorm is folded into: a transposed convolution
            owner = FoldedLayer(name=spec.name, in_scale=None, scale=None, shift=None)
        found.append(
            MasterSource(
                name=spec.name,
                axes=axes,
                array=array,
                dtype=dtype,
                rows=spec.rows or 0,
                groups=spec.groups,
                in_scale=owner.in_scale is not None,
                scale=owner.scale is not None,
                shift=owner.shift is not None,
                bias=bias if owner.shift is None and bias in biases else None,
            )
        )
    norms = model.norms()
    for name in own_vectors(net):
        channels = _parts(norms[name.rpartition(".")[0]].outputs, model.spec.high)
        found.append(MasterSource(name=name, axes=(channels,), array=None, role="own"))
    return found


def own_vectors(net: SlicedModel) -> list[str]:
    """Vectors made from a net's statistics that are no layer's bias: scale and shift of norms that stand alone."""
    biases = {f"{layer.name}.bias" for layer in net.layers}
    return [tensor.name for tensor in net.tensors if tensor.kind == "vector" and tensor.name not in biases]


def _parts(axis: Channels | int, net: Net) -> tuple[Part, ...]:
    """The parts along one axis; ``net`` is the widest."""
    if isinstance(axis, int):
        return (Part(name=f"size.{axis}", size=axis, optional=False),)
    return tuple(Part(name=part_name(leaf), size=leaf.at(net), optional=False) for leaf in _leaves(axis))


def _leaves(axis: Channels) -> list[Channels]:
    """The groups that are cut to their first channels each."""
    if not axis.parts or axis.whole:
        return [axis]
    return [leaf for part in axis.parts for leaf in _leaves(part)]


def part_name(leaf: Channels) -> str:
    """What a bundle calls a group of channels: its name; a share or a whole of others says so."""
    if not leaf.whole:
        return leaf.name
    name = leaf.name.replace("+", "-and-")  # names of parts have no plus
    return f"{name}.whole" if leaf.divisor == 1 else f"{name}.share{leaf.divisor}"


def part_counts(specs: Sequence[MasterSpec], net: Net) -> dict[str, int]:
    """How many of every part ``net`` uses, by the parts' names."""
    return {
        part_name(leaf): leaf.at(net)
        for spec in specs
        for axis in spec.axes
        if not isinstance(axis, int)
        for leaf in _leaves(axis)
    }


def channel_counts(specs: Sequence[MasterSpec], counts: Mapping[str, int]) -> dict[str, int]:
    """How many channels of every group a net has, by their names; ``counts`` are what ``part_counts`` gave.

    A group that nothing but grouped layers write and read has only its shares among the parts.
    """
    found: dict[str, int] = {}
    for spec in specs:
        for leaf in (leaf for axis in spec.axes if not isinstance(axis, int) for leaf in _leaves(axis)):
            if leaf.can_be_cut:
                found[leaf.name] = counts[part_name(leaf)]
            elif len(leaf.parts) == 1:
                found.setdefault(leaf.parts[0].name, counts[part_name(leaf)] * leaf.divisor)
    return found


def folds(net: SlicedModel, masters: MasterSet) -> list[Fold]:
    """What ``net`` brings to every master, in their order."""
    folded = {layer.name: layer for layer in net.layers}
    tensors = net.state_dict()
    found = []
    for master in masters.masters:
        if master.role == "own":
            found.append(Fold(own=tensors[master.name].numpy().reshape(-1)))
            continue
        layer = folded.get(master.name.rpartition(".")[0]) if master.role == "weight" else None
        if layer is None:
            found.append(Fold())
        else:
            found.append(Fold(in_scale=layer.in_scale, scale=layer.scale, shift=layer.shift))
    return found


def constants(model: SlimmableModel, net: SlicedModel, masters: MasterSet) -> NetConstants:
    """Everything that the constants of ``net`` are made from, as the finder wants it."""
    cut = masters.cut(part_counts(masters_of(model), net.selection))
    return masters.constants(cut, folds(net, masters))


def with_fp16_masters(checkpoint: Checkpoint) -> Checkpoint:
    """The same checkpoint with convolution and linear weights (and their own biases) rounded to float16.

    Rounding happens before folding, so a bundle that stores float16 rebuilds exactly what was exported.

    Raises:
        CheckpointError: a weight is too large for float16.
    """
    rounded = dict(checkpoint.state_dict)
    model = checkpoint.build()
    weights = {spec.name for spec in masters_of(model) if spec.role == "weight"}
    biases = {name.removesuffix("weight") + "bias" for name in weights if name.endswith(".weight")}
    tensors = model.state_dict(keep_vars=True)
    chosen = {id(tensors[key]) for key in (weights | biases) & set(tensors)}
    for key in (key for key, tensor in tensors.items() if id(tensor) in chosen):  # under every name of a shared module
        rounded[key] = rounded[key].to(torch.float16).to(torch.float32)
        if not bool(torch.isfinite(rounded[key]).all()):
            raise CheckpointError(f"{key} holds a weight that float16 cannot", hint="pack with --weights fp32")
    return dataclasses.replace(checkpoint, state_dict=rounded)


def with_input_size(checkpoint: Checkpoint, input_size: int) -> Checkpoint:
    """The same net for images of another size; statistics stay, so calibrate at that size where it matters.

    Raises:
        UsageError: the network's strides depend on the size here, so it would be another net.
    """
    contract = checkpoint.input
    resized = dataclasses.replace(
        checkpoint,
        spec=dataclasses.replace(checkpoint.spec, input_size=input_size),
        input=contract and dataclasses.replace(contract, height=input_size, width=input_size),
    )
    if _strides(resized) != _strides(checkpoint):
        raise UsageError(
            f"a net trained for {checkpoint.spec.input_size} px has other strides than one for {input_size} px",
            hint="train one for that size, or choose a size with the same strides",
        )
    return resized


def _strides(checkpoint: Checkpoint) -> list[object]:
    return [module.stride for module in checkpoint.build().modules() if hasattr(module, "stride")]


def content_sha256(checkpoint: Checkpoint) -> str:
    """Hash of the net's settings and weights, whatever file they came in; statistics and accuracies left out.

    Bundles of one net can be merged although their widths were calibrated or evaluated at different times.
    """
    digest = hashlib.sha256(json.dumps(checkpoint.spec.to_json(), sort_keys=True).encode())
    for key in sorted(checkpoint.state_dict):
        tensor = checkpoint.state_dict[key]
        digest.update(f"{key} {list(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
