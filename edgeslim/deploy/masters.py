"""From a checkpoint to what a bundle stores: full-width masters, and what every width does to them.

Checkpoint.state_dict ─► masters()          one MasterSource per convolution and linear layer
SlicedModel.layers    ─► cuts_and_folds()   one Cut and one LayerFold per layer, in the same order
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from edgeslim.core.rebuild import LayerArrays, LayerFold, layer_arrays
from edgeslim.core.slicing import Cut
from edgeslim.errors import CheckpointError, UsageError
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.models.sliced import FoldedLayer, SlicedModel
from edgeslim.press.build import MasterSource


def masters(layers: Sequence[FoldedLayer], state_dict: Mapping[str, Tensor]) -> list[MasterSource]:
    """The full-width weights behind ``layers``, float32, in their order."""
    return [
        MasterSource(
            name=layer.name,
            weight=state_dict[f"{layer.name}.weight"].numpy(),
            bias=state_dict[f"{layer.name}.bias"].numpy() if layer.shift is None else None,
            groups=layer.full_groups,
            in_scale=layer.in_scale is not None,
            scale=layer.scale is not None,
            shift=layer.shift is not None,
        )
        for layer in layers
    ]


def cuts_and_folds(net: SlicedModel) -> tuple[list[Cut], list[LayerFold]]:
    """What ``net``'s width takes of every master and folds into it."""
    folds = [LayerFold(in_scale=layer.in_scale, scale=layer.scale, shift=layer.shift) for layer in net.layers]
    return [layer.cut for layer in net.layers], folds


def arrays(net: SlicedModel, sources: Sequence[MasterSource]) -> list[LayerArrays]:
    """Every constant of ``net`` in terms of its master, as the recipe finder wants them."""
    cuts, folds = cuts_and_folds(net)
    return [
        layer_arrays(np.ascontiguousarray(source.weight), source.bias, cut, fold)
        for source, cut, fold in zip(sources, cuts, folds, strict=True)
    ]


def with_fp16_masters(checkpoint: Checkpoint) -> Checkpoint:
    """The same checkpoint with convolution and linear weights (and their own biases) rounded to float16.

    Rounding happens before folding, so a bundle that stores float16 rebuilds exactly what was exported.

    Raises:
        CheckpointError: a weight is too large for float16.
    """
    rounded = {}
    norms = set(checkpoint.build().norms())
    for key, tensor in checkpoint.state_dict.items():
        owner = key.rpartition(".")[0]
        if any(owner == norm or owner.startswith(f"{norm}.") for norm in norms):
            rounded[key] = tensor
            continue
        rounded[key] = tensor.to(torch.float16).to(torch.float32)
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
