"""The folded PyTorch net that a bundle stands for, from the bundle's own numbers."""

from __future__ import annotations

import math

import numpy as np

from edgeslim.core.bundle import SlimBundle
from edgeslim.core.constants import Constant, Float32, Kind, values
from edgeslim.core.manifest import Net
from edgeslim.core.width import Width
from edgeslim.deploy.fold import filled, structure
from edgeslim.deploy.masters import channel_counts
from edgeslim.errors import EdgeslimError, FormatError, UsageError
from edgeslim.models.masters import masters_of
from edgeslim.models.registry import from_spec
from edgeslim.models.selection import Selection
from edgeslim.models.sliced import SlicedModel
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.models.spec import ModelSpec


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
        net = structure(model.static(_selection(bundle, model, entry), weights=False))
        return filled(net, _numbers(bundle, entry, net))
    except FormatError:
        raise
    except EdgeslimError as error:
        raise UsageError(
            f"cannot build {bundle.manifest.model.id!r} to compare with: {error.message}",
            hint="install the package that brings this network, or the edgeslim that packed the bundle",
        ) from error


def _selection(bundle: SlimBundle, model: SlimmableModel, entry: Net) -> Selection:
    """The channels of ``entry``, by the names of its parts."""
    if entry.widths:
        return model.selection(Width(entry.widths[0]))
    counts = dict(zip((part.name for part in bundle.manifest.parts), entry.cut, strict=True))
    vector = channel_counts(masters_of(model), counts)
    return model.selection(Selection.of({group.name: vector[group.name] for group in model.groups()}, entry.id))


def _numbers(bundle: SlimBundle, entry: Net, net: SlicedModel) -> dict[str, Float32]:
    """The bundle's numbers for every tensor of ``net``."""
    constants = bundle.constants(entry)
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    found = {}
    for tensor in net.tensors:
        if tensor.name in constants.arrays.index:
            index = constants.arrays.index[tensor.name]
            weight = bundle.manifest.masters[index].role == "weight"
            constant = Constant(index, Kind.WEIGHT if weight else Kind.VECTOR)
        else:  # a bias that is a shift
            owner = f"{tensor.name.rpartition('.')[0]}.weight"
            if owner not in constants.arrays.index or not tensor.name.endswith(".bias"):
                raise FormatError("bad-master", f"the bundle has no master for {tensor.name!r} of the network")
            constant = Constant(constants.arrays.index[owner], Kind.BIAS)
        numbers = np.asarray(values(constant, constants), np.float32)
        shape = shapes[tensor.name]
        if numbers.size != math.prod(shape):
            raise UsageError(f"{tensor.name} has {math.prod(shape)} numbers here, {numbers.size} in the bundle")
        found[tensor.name] = numbers.reshape(shape)
    return found
