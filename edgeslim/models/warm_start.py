"""Starting a slimmable net from weights that exist, because few can train ImageNet from scratch.

    FILE or torchvision:NAME ─ open_source ─► Source ─ warm_start(model, source) ─► model filled in place

    torchvision MobileNetV2, ResNet-18/50    one width: channels are sorted by importance (``importance``)
    edgeslim checkpoint, published net       slimmable already: kept in order, unless trained at one width only

At full width the model then computes what the source does (1e-5), statistics included. Another number of classes
means a new head, another stem (small images, other input channels) a new stem; nothing else may differ.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgeslim.errors import CheckpointError, HostError, ModelError
from edgeslim.models.checkpoint import Checkpoint, load_checkpoint
from edgeslim.models.checkpoint_reading import check_names, checked_tensor, read_document
from edgeslim.models.importance import sort_channels
from edgeslim.models.layers import PrivateBatchNorm2d, SlimBatchNorm2d
from edgeslim.models.registry import from_spec, network
from edgeslim.models.slimmable import SlimmableModel

_HEAD, _STEM = "classifier.0", "features.0.0"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """Weights of the widest net: ``<layer>.weight``, ``.bias``, and of BatchNorms ``.running_mean``, ``.running_var``.

    ``network`` is the universally slimmable network they fit (or the S one of an S checkpoint); ``trained_alone`` says
    that they were trained at one width, so that their channels are in no order; ``what`` names them in errors.
    """

    network: str
    tensors: dict[str, Tensor]
    trained_alone: bool
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStart:
    """What was done: how many bundles of channels were sorted, and which layers start afresh."""

    sorted_bundles: int
    fresh: tuple[str, ...]


def open_source(source: str | Path) -> Source:
    """Read what ``--init`` names.

    Args:
        source: a checkpoint, a published US-/S-Net file, a torchvision state dict, or ``torchvision:NAME`` for the
            weights that torchvision publishes (downloaded into its cache).

    Raises:
        CheckpointError: unreadable, or of no network known here.
        HostError: the weights cannot be downloaded.
    """
    what = str(source)
    if what.startswith("torchvision:"):
        return _from_torchvision(_downloaded(what.removeprefix("torchvision:")), what)
    document = read_document(Path(source))
    for key in ("model", "state_dict"):
        if isinstance(document, Mapping) and isinstance(document.get(key), Mapping) and "format" not in document:
            document = document[key]
    if isinstance(document, Mapping) and {"layer1.0.conv1.weight", "features.1.conv.0.0.weight"} & document.keys():
        return _from_torchvision(document, what)
    return _from_checkpoint(load_checkpoint(source), what)


def warm_start(model: SlimmableModel, source: Source, *, sort: bool | None = None) -> WarmStart:
    """Fill ``model`` with the weights of ``source``.

    Args:
        sort: whether to sort channels by importance; by default where the source was trained at one width.

    Raises:
        ModelError: another network, or another normalisation.
        CheckpointError: names the first missing, unexpected, misshapen or non-finite key.
    """
    if network(source.network).build is not network(model.spec.name).build:
        raise ModelError(f"{source.what} is a {source.network}, which cannot start a {model.spec.name}")
    if model.spec.norm != "batch" and any(name.endswith(".running_mean") for name in source.tensors):
        raise ModelError(f"{source.what} has BatchNorm, the new net has none", hint="--norm batch")
    fresh = _different(model, source)
    reference = _reference(model, source, fresh)
    bundles = sort_channels(reference) if (source.trained_alone if sort is None else sort) else 0
    with torch.no_grad():
        own = model.state_dict()
        for key, tensor in reference.state_dict().items():
            if key.rpartition(".")[0] not in fresh:
                own[key].copy_(tensor)
    model.drop_statistics()
    statistics = reference.statistics(model.spec.high)
    if statistics and _STEM not in fresh:
        model.set_statistics(model.spec.high, statistics)
    return WarmStart(sorted_bundles=bundles, fresh=fresh)


def _different(model: SlimmableModel, source: Source) -> tuple[str, ...]:
    """The stem where its kernel or input channels differ, the head where its classes do: these start afresh."""
    own = model.state_dict()
    stem, head = f"{_STEM}.weight", f"{_HEAD}.weight"
    check_names((stem, head), [key for key in (stem, head) if key in source.tensors], source.what)
    fresh = []
    if source.tensors[stem].shape[1:] != own[stem].shape[1:]:
        fresh.append(_STEM)
    if source.tensors[head].shape[:1] != own[head].shape[:1]:
        fresh.append(_HEAD)
    return tuple(fresh)


def _reference(model: SlimmableModel, source: Source, fresh: tuple[str, ...]) -> SlimmableModel:
    """A model like ``model`` but with the source's own head, filled with the source's weights and statistics."""
    classes = source.tensors[f"{_HEAD}.weight"].shape[0]
    reference = from_spec(dataclasses.replace(model.spec, num_classes=classes))
    taken = _Taken(source)
    statistics = {}
    with torch.no_grad():
        for name, layer in reference.layers().items():
            if isinstance(layer, SlimBatchNorm2d):
                gamma, beta = layer.affine(reference.selection(model.spec.high))
                weight, bias = taken(f"{name}.weight", gamma), taken(f"{name}.bias", beta)
                if isinstance(layer, PrivateBatchNorm2d):
                    layer.fill(weight, bias)
                else:
                    gamma.copy_(weight)
                    beta.copy_(bias)
                if f"{name}.running_mean" in source.tensors:
                    statistics[name] = taken(f"{name}.running_mean", gamma), taken(f"{name}.running_var", gamma)
                continue
            for part, parameter in layer.named_parameters():
                key = f"{name}.{part}"
                if name == _STEM and name in fresh:
                    taken.skip(key)
                else:
                    parameter.copy_(taken(key, parameter))
    taken.refuse_leftovers()
    if statistics:
        reference.set_statistics(model.spec.high, statistics)
    return reference


class _Taken:
    """Takes tensors out of a source, checked; knows what was left."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.left = dict(source.tensors)

    def __call__(self, key: str, like: Tensor) -> Tensor:
        if key not in self.source.tensors:
            raise CheckpointError(f"{self.source.what}: missing key {key!r}")
        self.left.pop(key, None)
        return checked_tensor(self.source.tensors[key], tuple(like.shape), f"{self.source.what}: {key}")

    def skip(self, key: str) -> None:
        self.left.pop(key, None)

    def refuse_leftovers(self) -> None:
        for key in self.left:
            raise CheckpointError(f"{self.source.what}: unexpected key {key!r}")


def _from_checkpoint(checkpoint: Checkpoint, what: str) -> Source:
    """The widest net of a checkpoint; of private BatchNorms the widest width's."""
    spec = checkpoint.spec
    widest = len(spec.widths) - 1
    tensors: dict[str, Tensor] = {}
    for key, tensor in checkpoint.state_dict.items():
        private = re.fullmatch(r"(.+)\.bn\.(\d+)\.(weight|bias)", key)
        if private is None:
            tensors[key] = tensor
        elif int(private[2]) == widest:
            tensors[f"{private[1]}.{private[3]}"] = tensor
    for name, (mean, var) in checkpoint.statistics.get(checkpoint.selection(spec.high), {}).items():
        tensors[f"{name}.running_mean"], tensors[f"{name}.running_var"] = mean, var
    return Source(network=spec.name, tensors=tensors, trained_alone=spec.low == spec.high, what=what)


def _from_torchvision(state_dict: Mapping[str, Any], what: str) -> Source:
    """A torchvision MobileNetV2 or ResNet under our names.

    Raises:
        CheckpointError: another depth, or no such layout.
    """
    if "layer1.0.conv1.weight" in state_dict:
        bottleneck = "layer1.0.conv3.weight" in state_dict
        blocks = len({key.rpartition(".conv1.")[0] for key in state_dict if ".conv1." in key})
        name = {(False, 8): "us_resnet18", (True, 16): "us_resnet50"}.get((bottleneck, blocks))
    else:
        name = "us_mobilenet_v2"
    if name is None:
        raise CheckpointError(f"{what} is a ResNet of another depth", hint="known: ResNet-18, ResNet-50, MobileNetV2")
    rename = dict(_mobilenet_v2_names() if name == "us_mobilenet_v2" else _resnet_names(state_dict))
    tensors: dict[str, Tensor] = {}
    for key, tensor in state_dict.items():
        module, _, part = key.removeprefix("module.").rpartition(".")
        if part != "num_batches_tracked":
            tensors[f"{rename.get(module, module)}.{part}"] = tensor
    return Source(network=name, tensors=tensors, trained_alone=True, what=what)


def _mobilenet_v2_names() -> Iterator[tuple[str, str]]:
    """(torchvision module, ours). There each activated convolution is a little Sequential of its own."""
    theirs = ["conv.0.0", "conv.0.1", "conv.1.0", "conv.1.1", "conv.2", "conv.3"]
    for block in range(1, 18):
        places = zip(["conv.0.0", "conv.0.1", "conv.1", "conv.2"], (0, 1, 3, 4), strict=True)
        for old, new in places if block == 1 else zip(theirs, (0, 1, 3, 4, 6, 7), strict=True):
            yield f"features.{block}.{old}", f"features.{block}.body.{new}"
    yield "classifier.1", _HEAD


def _resnet_names(state_dict: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(torchvision module, ours). Blocks are numbered through all stages."""
    yield from (("conv1", "features.0.0"), ("bn1", "features.0.1"), ("fc", _HEAD))
    blocks = sorted({key.split(".conv1.")[0] for key in state_dict if key.startswith("layer") and ".conv1." in key})
    for number, block in enumerate(blocks, start=1):
        for part in (1, 2, 3):
            yield f"{block}.conv{part}", f"features.{number}.body.{3 * part - 3}"
            yield f"{block}.bn{part}", f"features.{number}.body.{3 * part - 2}"
        for part in (0, 1):
            yield f"{block}.downsample.{part}", f"features.{number}.shortcut.{part}"


def _downloaded(name: str) -> Mapping[str, Any]:
    """The state dict of torchvision's best published weights for ``name``."""
    from torchvision import models

    if name not in ("mobilenet_v2", "resnet18", "resnet50"):
        raise ModelError(
            f"cannot start from torchvision's {name!r}", hint="torchvision:mobilenet_v2, :resnet18 or :resnet50"
        )
    try:
        weights: Mapping[str, Any] = models.get_model_weights(name).DEFAULT.get_state_dict(progress=False)
    except OSError as error:
        raise HostError(
            f"cannot download torchvision's weights of {name}: {error}",
            hint="download the file elsewhere and give its path to --init",
        ) from error
    return weights
