"""The folded PyTorch net that a bundle stands for, from the bundle's own numbers."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from edgeslim.core.bundle import SlimBundle
from edgeslim.core.manifest import WidthEntry
from edgeslim.core.rebuild import LayerArrays
from edgeslim.core.slicing import folded_weight
from edgeslim.core.width import Width
from edgeslim.deploy.fold import fold
from edgeslim.errors import FormatError
from edgeslim.models.registry import from_spec
from edgeslim.models.sliced import SlicedModel
from edgeslim.models.spec import ModelSpec
from edgeslim.models.static import StaticModel


def folded_net(bundle: SlimBundle, entry: WidthEntry) -> SlicedModel:
    """The net of ``entry``, every weight cut and scaled out of the bundle's masters.

    Its structure comes from the model spec in the manifest, built by this edgeslim.

    Raises:
        FormatError: ``unknown-model``: the manifest's net is not one that this edgeslim can build.
    """
    try:
        spec = ModelSpec.from_json(bundle.manifest.model.spec)
        net = fold(_with_neutral_statistics(from_spec(spec).static(Width(entry.permille))))
    except Exception as error:
        raise FormatError("unknown-model", f"cannot build {bundle.manifest.model.id!r}: {error}") from error
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    stored = bundle.layers(entry)
    if [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)] != [
        layer.name for layer in bundle.manifest.layers
    ]:
        raise FormatError("unknown-model", f"the layers of {spec.name} are not those of the bundle")
    for module, arrays in zip(layers, stored, strict=True):
        _put(module, arrays)
    return net


def _with_neutral_statistics(net: StaticModel) -> StaticModel:
    """Statistics that any net has after one batch, so that it can be folded; the numbers are replaced afterwards."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and module.num_batches_tracked is not None:
            module.num_batches_tracked.fill_(1)
    return copy.deepcopy(net).eval()


def _put(module: nn.Conv2d | nn.Linear, arrays: LayerArrays) -> None:
    weight = folded_weight(
        np.ascontiguousarray(arrays.master, np.float32),
        arrays.cut,
        scale=arrays.fold.scale,
        in_scale=arrays.fold.in_scale,
    )
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(weight).reshape(module.weight.shape))
        if module.bias is not None and arrays.bias is not None:
            module.bias.copy_(torch.from_numpy(np.array(arrays.bias[: arrays.cut.out_channels], np.float32)))
