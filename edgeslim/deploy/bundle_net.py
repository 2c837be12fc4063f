"""The folded PyTorch net that a bundle stands for, from the bundle's own numbers."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from edgeslim.core.bundle import SlimBundle
from edgeslim.core.constants import Constant, Kind, values
from edgeslim.core.manifest import Net
from edgeslim.core.width import Width
from edgeslim.deploy.fold import fold
from edgeslim.deploy.masters import part_name
from edgeslim.errors import EdgeslimError, FormatError, UsageError
from edgeslim.models.registry import from_spec
from edgeslim.models.selection import Selection
from edgeslim.models.sliced import SlicedModel
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.models.spec import ModelSpec
from edgeslim.models.static import StaticModel


def folded_net(bundle: SlimBundle, entry: Net) -> SlicedModel:
    """The net of ``entry``, every parameter made of the bundle's masters and folds.

    Its structure comes from the model spec in the manifest, built by this edgeslim.

    Raises:
        UsageError: the manifest's network is not one that this edgeslim can build.
        FormatError: the bundle is damaged.
    """
    try:
        spec = ModelSpec.from_json(bundle.manifest.model.spec)
        model = from_spec(spec)
        net = fold(_with_neutral_statistics(model.static(_selection(bundle, model, entry))))
    except EdgeslimError as error:
        raise UsageError(
            f"cannot build {bundle.manifest.model.id!r} to compare with: {error.message}",
            hint="install the package that brings this network, or the edgeslim that packed the bundle",
        ) from error
    _put_parameters(bundle, entry, net)
    return net


def _selection(bundle: SlimBundle, model: SlimmableModel, entry: Net) -> Selection:
    """The channels of ``entry``, by the names of its parts."""
    if entry.widths:
        return model.selection(Width(entry.widths[0]))
    counts = dict(zip((part.name for part in bundle.manifest.parts), entry.cut, strict=True))
    vector = {group.name: counts[part_name(group)] for group in model.groups()}
    return model.selection(Selection.of(vector, entry.id))


def _with_neutral_statistics(net: StaticModel) -> StaticModel:
    """Statistics that any net has after one batch, so that it can be folded; the numbers are replaced afterwards."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and module.num_batches_tracked is not None:
            module.num_batches_tracked.fill_(1)
    return copy.deepcopy(net).eval()


def _put_parameters(bundle: SlimBundle, entry: Net, net: SlicedModel) -> None:
    """Replace every parameter of ``net`` by the bundle's numbers."""
    constants = bundle.constants(entry)
    index = {master.name: position for position, master in enumerate(bundle.manifest.masters)}
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            owner = name.rpartition(".")[0]
            weight = index.get(f"{owner}.weight")
            if name in index:
                position = index[name]
                kind = Kind.WEIGHT if bundle.manifest.masters[position].role == "weight" else Kind.VECTOR
            elif name == f"{owner}.bias" and weight is not None:
                position, kind = weight, Kind.BIAS
            else:
                raise FormatError("bad-master", f"the bundle has no master for {name!r} of the network")
            numbers = values(Constant(position, kind), constants)
            if numbers.size != parameter.numel():
                raise UsageError(f"{name} has {parameter.numel()} numbers here, {numbers.size} in the bundle")
            parameter.copy_(torch.from_numpy(np.array(numbers, np.float32)).reshape(parameter.shape))
