"""Starting a slimmable net from weights that exist, because few can train ImageNet from scratch.

    FILE or torchvision:NAME ─ open_source ─► Source ─ warm_start(model, source) ─► model filled in place

    torchvision, timm, Lite0 (``layouts``)   one width: channels are sorted by importance (``importance``)
    edgeslim checkpoint, published net       slimmable already: kept in order, unless trained at one width only

Whatever training program wrapped a state dict is taken off first (``foreign``).

At full width the model then computes what the source does (1e-5), statistics included. Another number of classes
means a new head, another stem (small images, other input channels) a new stem; nothing else may differ.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgeslim.core.width import Width
from edgeslim.errors import HostError, ModelError
from edgeslim.models.checkpoint import Checkpoint, checkpoint_of, is_own
from edgeslim.models.checkpoint_reading import check_names, checked_tensor, read_document
from edgeslim.models.foreign import weights_of
from edgeslim.models.importance import sort_channels
from edgeslim.models.layers import PrivateBatchNorm2d, SlimBatchNorm2d
from edgeslim.models.layouts import HEAD, STEM, Source, one_width_source
from edgeslim.models.registry import from_spec, network
from edgeslim.models.slimmable import SlimmableModel


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStart:
    """What was done: how many bundles of channels were sorted, and which layers start afresh, in names and in words."""

    sorted_bundles: int
    fresh: tuple[str, ...]
    notes: tuple[str, ...] = ()


def open_source(source: str | Path, *, widths: Sequence[Width] | None = None) -> Source:
    """Read what ``--init`` names.

    Args:
        source: a checkpoint, a published US-/S-Net file, a state dict of ``layouts`` (bare, or as a training program
            saves it, or as safetensors), or ``torchvision:NAME`` for the weights that torchvision publishes
            (downloaded into its cache).
        widths: what the BatchNorm statistics of a published file stand for, where buffer sizes do not tell.

    Raises:
        CheckpointError: unreadable, or of no network known here; names five of the keys that do not fit.
        HostError: the weights cannot be downloaded.
    """
    what = str(source)
    if what.startswith("torchvision:"):
        found = one_width_source(_downloaded(what.removeprefix("torchvision:")), what)
        assert found is not None
        return found
    document = read_document(Path(source))
    if not is_own(document):
        weights = weights_of(document, what)
        alone = one_width_source(weights.tensors, what, weights.notes)
        if alone is not None:
            return alone
    return _from_checkpoint(checkpoint_of(document, what, widths=widths), what)


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
    afresh = _different(model, source)
    fresh = tuple(afresh)
    reference = _reference(model, source, fresh)
    bundles = sort_channels(reference) if (source.trained_alone if sort is None else sort) else 0
    with torch.no_grad():
        own = model.state_dict()
        for key, tensor in reference.state_dict().items():
            if key.rpartition(".")[0] not in fresh:
                own[key].copy_(tensor)
    model.drop_statistics()
    statistics = reference.statistics(model.spec.high)
    if statistics and STEM not in fresh:
        model.set_statistics(model.spec.high, statistics)
    return WarmStart(sorted_bundles=bundles, fresh=fresh, notes=tuple(afresh.values()))


def _different(model: SlimmableModel, source: Source) -> dict[str, str]:
    """What starts afresh, and why: a stem of another kernel or other input channels, a head of other classes."""
    own = model.state_dict()
    stem, head = f"{STEM}.weight", f"{HEAD}.weight"
    check_names((stem, head), [key for key in (stem, head) if key in source.tensors], source.what)
    fresh = {}
    theirs, ours = (tuple(tensors[stem].shape[1:]) for tensors in (source.tensors, own))
    if theirs != ours:
        fresh[STEM] = f"the stem {STEM} starts afresh: its kernel is {theirs} in {source.what}, {ours} here"
    theirs, ours = (tuple(tensors[head].shape[:1]) for tensors in (source.tensors, own))
    if theirs != ours:
        fresh[HEAD] = f"the head {HEAD} starts afresh: {source.what} has {theirs[0]} classes, this net {ours[0]}"
    return fresh


def _reference(model: SlimmableModel, source: Source, fresh: tuple[str, ...]) -> SlimmableModel:
    """A model like ``model`` but with the source's own head, filled with the source's weights and statistics."""
    classes = source.tensors[f"{HEAD}.weight"].shape[0]
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
                if name == STEM and name in fresh:
                    taken.skip(key)
                else:
                    parameter.copy_(taken(key, parameter))
    taken.refuse_the_rest()
    if statistics:
        reference.set_statistics(model.spec.high, statistics)
    return reference


class _Taken:
    """Takes tensors out of a source, checked; knows what was asked for."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.asked: list[str] = []

    def __call__(self, key: str, like: Tensor) -> Tensor:
        self.asked.append(key)
        if key not in self.source.tensors:
            return like  # told with all others that are missing
        return checked_tensor(self.source.tensors[key], tuple(like.shape), f"{self.source.what}: {key}")

    def skip(self, key: str) -> None:
        self.asked.append(key)

    def refuse_the_rest(self) -> None:
        """Raise ``CheckpointError`` for keys that were not there, or that nobody asked for."""
        check_names(self.asked, self.source.tensors, self.source.what)


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
    return Source(
        network=spec.name,
        tensors=tensors,
        trained_alone=spec.low == spec.high,
        what=what,
        notes=checkpoint.notes,
        input=checkpoint.input,
    )


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
