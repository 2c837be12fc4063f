"""Importing the published US-Net and S-Net state dicts.

    tensors by key, prefixes off (``foreign``)
        │ network from the keys        │ widths from the sizes of the statistics, or from the caller
        ▼                              ▼
    weights under our names        one set of statistics per width

Layout of those files: a BatchNorm of the universally slimmable family has one ``weight`` and ``bias`` and, for width
i of its training list, ``bn.{i}.running_mean``, ``.running_var``, ``.num_batches_tracked``, already cut to that width's
channels; in the S family ``bn.{i}`` hold ``weight`` and ``bias`` as well. MobileNetV2's last BatchNorm is a plain one,
used by every width. ShuffleNet has one convolution per group (``head_i``, ``a_i``, ``c_i``). The counters of the
universally slimmable family stay 0 however long it was trained: its BatchNorms call the functional form.

The widths themselves are not in the file. They are taken from the sizes where those leave no choice on the published
grid of 0.025 (or equal the network's published ladder); otherwise the caller has to name them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgeslim.core.width import Width
from edgeslim.errors import CheckpointError
from edgeslim.models.checkpoint_reading import StatisticsByNet, check_names, checked_state_dict, checked_statistics
from edgeslim.models.network import Network
from edgeslim.models.registry import make_spec, network, skeleton
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.models.spec import ModelSpec

_GRID_PERMILLE = 25
_COUNTER = "num_batches_tracked"
_INDEXED = re.compile(r"(.+)\.bn\.(\d+)\.running_mean")
NormStatistics = dict[str, tuple[Tensor, Tensor]]
Sizes = tuple[int, ...]  # channels of every per-width BatchNorm, in module order


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Imported:
    """A published file in our terms; ``notes`` say what it leaves open."""

    spec: ModelSpec
    state_dict: dict[str, Tensor]
    statistics: StatisticsByNet
    notes: tuple[str, ...]


def import_published(
    tensors: Mapping[str, Tensor], *, what: str, model: str | None = None, widths: Sequence[Width] | None = None
) -> Imported:
    """Weights and statistics of a published file, every key accounted for.

    Args:
        tensors: what ``foreign.weights_of`` gave.
        what: the file's name, for errors.
        model: the network; found from the keys when None.
        widths: names for the statistics; needed only where their sizes fit several widths.

    Raises:
        CheckpointError: not such a file; names five of the missing and of the unexpected keys, the first misshapen
            one, or the statistics whose width cannot be told.
    """
    source = _Source(tensors, what)
    name = model or _network_name(source)
    entry = network(name)
    sketch = _sketch(name, entry, source)
    pieces = {norm: source.pieces(norm) for norm in sketch.norms()}
    plain = {norm for norm, parts in pieces.items() if f"{parts[0]}.running_mean" in source.tensors}
    per_width = [norm for norm in pieces if norm not in plain]
    indices = source.indices(per_width)
    _check_keys(sketch, source, pieces, plain, indices)
    sizes = {index: source.sizes(pieces, per_width, index) for index in indices}
    named = _name_statistics(sketch, per_width, sizes, widths, what)

    order = sorted(set(named.values()))
    spec = make_spec(
        name,
        num_classes=sketch.spec.num_classes,
        in_channels=sketch.spec.in_channels,
        low=None if entry.listed else min([entry.ladder[0], *order]),
        widths=order if entry.listed else None,
    )
    state_dict = _weights(spec, source, pieces, plain, named)
    statistics = _statistics(source, pieces, plain, named)
    return Imported(
        spec=spec,
        state_dict=checked_state_dict(spec, state_dict, what),
        statistics=checked_statistics(spec, statistics, what),
        notes=_notes(order, statistics, plain, widths, repeated=len(sizes) - len(named)),
    )


class _Source:
    """The file's tensors, and how our modules are found among them."""

    def __init__(self, tensors: Mapping[str, Tensor], what: str) -> None:
        self.tensors = tensors
        self.what = what
        self.shuffle = "head_0.0.weight" in tensors

    def pieces(self, name: str) -> tuple[str, ...]:
        """The file's modules that our module ``name`` is made of, in order: three branches in a ShuffleNet."""
        if not self.shuffle:
            return (name,)
        stem = re.fullmatch(r"features\.0\.([12])", name)
        if stem:
            return tuple(f"head_{group}.{int(stem[1]) - 1}" for group in range(3))
        unit = re.fullmatch(r"features\.(\d+)\.([abc])\.(\d)", name)
        if unit is None:
            return (name,)
        block = f"features.{int(unit[1]) - 1}.{unit[2]}"
        return (f"{block}.{unit[3]}",) if unit[2] == "b" else tuple(f"{block}_{g}.{unit[3]}" for g in range(3))

    def take(self, modules: Sequence[str], parameter: str) -> Tensor:
        """The parameter of these modules, branches concatenated.

        Raises:
            CheckpointError: it is not there, or the branches differ in shape.
        """
        keys = [f"{module}.{parameter}" for module in modules]
        check_names(keys, [key for key in keys if key in self.tensors], self.what)
        parts = [self.tensors[key] for key in keys]
        if len({part.shape for part in parts}) > 1:
            raise CheckpointError(f"{self.what}: {keys[0]} and its sister branches differ in shape")
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def indices(self, norms: Sequence[str]) -> list[int]:
        """Numbers of the sets of statistics in the file, ascending."""
        found = (_INDEXED.fullmatch(key) for key in self.tensors)
        indices = sorted({int(match[2]) for match in found if match})
        if not norms or not indices:
            raise CheckpointError(
                f"{self.what}: no BatchNorm statistics per width (bn.0.running_mean, …) in this state dict",
                hint="to start training from the weights of one width: edgeslim train --init FILE",
            )
        return indices

    def sizes(self, pieces: Mapping[str, tuple[str, ...]], norms: Sequence[str], index: int) -> Sizes:
        """Channels of every BatchNorm in ``norms`` in the set of this number."""
        return tuple(self.take(pieces[norm], f"bn.{index}.running_mean").numel() for norm in norms)

    def statistics(self, modules: Sequence[str], prefix: str) -> tuple[Tensor, Tensor]:
        """Mean and variance of these modules."""
        return self.take(modules, f"{prefix}running_mean"), self.take(modules, f"{prefix}running_var")

    def unused(self, modules: Sequence[str], prefix: str) -> bool:
        """Whether these statistics were never updated. A counter of 0 alone says nothing: the universally slimmable
        family's counters never move."""
        counters = (self.tensors.get(f"{module}.{prefix}{_COUNTER}") for module in modules)
        counted = any(counter is not None and bool((counter > 0).any()) for counter in counters)
        mean, var = self.statistics(modules, prefix)
        return not counted and bool((mean == 0).all()) and bool((var == 1).all())


def _check_keys(
    sketch: SlimmableModel,
    source: _Source,
    pieces: Mapping[str, tuple[str, ...]],
    plain: set[str],
    indices: Sequence[int],
) -> None:
    """Raise ``CheckpointError`` unless the file has every key of the network, for every set, and no other."""
    wanted: list[str] = []
    for name, layer in sketch.layers().items():
        if name not in pieces:
            wanted += [f"{piece}.{part}" for piece in source.pieces(name) for part, _ in layer.named_parameters()]
            continue
        sets = ("",) if name in plain else tuple(f"bn.{index}." for index in indices)
        private = bool(sketch.spec.widths)
        for piece in pieces[name]:
            affine = sets if private else ("",)
            wanted += [f"{piece}.{prefix}{part}" for prefix in affine for part in ("weight", "bias")]
            wanted += [f"{piece}.{prefix}{part}" for prefix in sets for part in ("running_mean", "running_var")]
    counters = [key for key in source.tensors if key.rpartition(".")[2] == _COUNTER]
    known = {key.rpartition(".")[0] for key in wanted}
    strangers = [key for key in counters if key.rpartition(".")[0] not in known]
    check_names(wanted, [key for key in source.tensors if key not in set(counters)] + strangers, source.what)


def _network_name(source: _Source) -> str:
    keys = source.tensors.keys()
    private = any(re.search(r"\.bn\.\d+\.weight$", key) for key in keys)
    if source.shuffle:
        return "s_shufflenet"
    if "features.18.0.weight" in keys and "features.17.body.6.weight" in keys:
        return "s_mobilenet_v2" if private else "us_mobilenet_v2"
    if "features.13.body.3.weight" in keys and "features.14.body.0.weight" not in keys:
        return "s_mobilenet_v1" if private else "us_mobilenet_v1"
    if private and "features.1.shortcut.0.weight" in keys and "features.16.body.6.weight" in keys:
        return "s_resnet50"
    raise CheckpointError(
        f"{source.what}: cannot tell the network from its keys (first: {next(iter(keys))!r})",
        hint="name it with --model",
    )


def _sketch(name: str, entry: Network, source: _Source) -> SlimmableModel:
    """The network with the file's classes and input channels at its widest published width, without weights."""
    stem = source.take(source.pieces("features.0.1" if source.shuffle else "features.0.0"), "weight")
    classes = source.take(("classifier.0",), "weight")
    if stem.dim() != 4 or classes.dim() != 2:
        raise CheckpointError(f"{source.what}: stem or classifier has an unexpected shape")
    widest = entry.ladder[-1]
    return skeleton(
        make_spec(
            name,
            num_classes=classes.shape[0],
            in_channels=stem.shape[1],
            widths=(widest,) if entry.listed else None,
        )
    )


def _name_statistics(
    sketch: SlimmableModel,
    norms: Sequence[str],
    sizes: Mapping[int, Sizes],
    widths: Sequence[Width] | None,
    what: str,
) -> dict[int, Width]:
    """Which width each index stands for; of repeated widths the first index, which is the one that was evaluated."""
    layers = sketch.norms()

    def sizes_at(width: Width) -> Sizes:
        return tuple(layers[norm].outputs.at(width) for norm in norms)

    entry = network(sketch.spec.name)
    if widths:
        by_caller = _match(sizes, sorted(set(widths)), sizes_at)
        if by_caller.keys() == sizes.keys() or (by_caller and not entry.listed):
            return _first_of_each(by_caller)
    if [sizes[index] for index in sorted(sizes)] == [sizes_at(width) for width in entry.ladder]:
        return dict(zip(sorted(sizes), entry.ladder, strict=True))
    grid = [Width(p) for p in range(_GRID_PERMILLE, entry.ladder[-1].permille + 1, _GRID_PERMILLE)]
    named: dict[int, Width] = {}
    for index, size in sizes.items():
        fitting = [width for width in grid if sizes_at(width) == size]
        if len(fitting) == 1 and entry.listed and fitting[0] in named.values():
            fitting.append(fitting[0])  # two private BatchNorms of the same channels: no way to tell which is which
        if len(fitting) != 1:
            fit = f"fit {fitting[0]}, as others do" if fitting else "fit no width on the grid of 0.025"
            raise CheckpointError(
                f"{what}: cannot tell the widths from the file: the statistics bn.{index} {fit}",
                hint="name the widths the net was trained or calibrated at with --trained-widths",
            )
        named[index] = fitting[0]
    return _first_of_each(named)


def _match(sizes: Mapping[int, Sizes], widths: Sequence[Width], sizes_at: Callable[[Width], Sizes]) -> dict[int, Width]:
    """Indices and widths of equal sizes, paired in ascending order; further indices repeat the last such width."""
    by_size: dict[Sizes, list[Width]] = defaultdict(list)
    for width in widths:
        by_size[sizes_at(width)].append(width)
    named: dict[int, Width] = {}
    for index in sorted(sizes):
        fitting = by_size.get(sizes[index])
        if fitting:
            named[index] = fitting.pop(0) if len(fitting) > 1 else fitting[0]
    return named


def _first_of_each(named: Mapping[int, Width]) -> dict[int, Width]:
    first: dict[Width, int] = {}
    for index in sorted(named):
        first.setdefault(named[index], index)
    return {index: width for width, index in first.items()}


def _weights(
    spec: ModelSpec,
    source: _Source,
    pieces: Mapping[str, tuple[str, ...]],
    plain: set[str],
    named: Mapping[int, Width],
) -> dict[str, Tensor]:
    index_of = {width: index for index, width in named.items()}
    weights: dict[str, Tensor] = {}
    for key in skeleton(spec).state_dict():
        private = re.fullmatch(r"(.+)\.bn\.(\d+)\.(weight|bias)", key)
        if private is None:
            module, _, parameter = key.rpartition(".")
            weights[key] = source.take(source.pieces(module), parameter)
        else:
            norm, width = private[1], spec.widths[int(private[2])]
            indexed = private[3] if norm in plain else f"bn.{index_of[width]}.{private[3]}"
            weights[key] = source.take(pieces[norm], indexed)
    return weights


def _statistics(
    source: _Source,
    pieces: Mapping[str, tuple[str, ...]],
    plain: set[str],
    named: Mapping[int, Width],
) -> dict[Width, NormStatistics]:
    """Statistics of the widths that have them: a BatchNorm that never saw a batch has none."""
    statistics: dict[Width, NormStatistics] = {}
    for index, width in named.items():
        prefixes = {norm: "" if norm in plain else f"bn.{index}." for norm in pieces}
        by_norm = {norm: source.statistics(modules, prefixes[norm]) for norm, modules in pieces.items()}
        if not any(source.unused(modules, prefixes[norm]) for norm, modules in pieces.items()):
            statistics[width] = by_norm
    return statistics


def _notes(
    order: Sequence[Width],
    statistics: Mapping[Width, object],
    plain: set[str],
    widths: Sequence[Width] | None,
    *,
    repeated: int,
) -> tuple[str, ...]:
    """What the file left open and how it was read."""
    notes = []
    if not widths:
        notes.append(f"widths are not in the file; from its sizes: {', '.join(map(str, order))}")
    if repeated:
        notes.append(f"{repeated} more sets of statistics left out: of equal channels the first set is used")
    empty = [width for width in order if width not in statistics]
    if empty:
        notes.append(f"no statistics at {', '.join(map(str, empty))}: never calibrated")
    if plain and statistics:
        notes.append(
            f"{', '.join(sorted(plain))} has one set of statistics for all widths, as published; "
            "calibration gives every width its own and improves accuracy"
        )
    return tuple(notes)
