"""Which channels matter, and putting them first without changing what the full-width net computes.

A width keeps the first channels of every layer. In a net trained at one width the order of its channels means
nothing, so before slimming it they are sorted: the channels that carry most come first ("Once-for-All", ICLR 2020,
appendix, sorts by L1 norms likewise). All layers that share a group of channels (``Channels``: a residual stream, a
depthwise convolution with its neighbours) get the same permutation, so the function stays the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgeslim.core.width import Width
from edgeslim.models.channels import Channels
from edgeslim.models.layers import PrivateBatchNorm2d, SlimBatchNorm2d, SlimConv2d, SlimLinear
from edgeslim.models.selection import Selection
from edgeslim.models.slimmable import SlimmableModel


def sort_channels(model: SlimmableModel) -> int:
    """Reorder every movable group of channels by falling importance; returns how many groups were reordered.

    Statistics of the widest net follow; those of other nets no longer mean anything and are dropped.
    """
    widest = model.selection(model.spec.high)
    model.drop_statistics(keep=(widest,))
    users = _users(model)
    orders = {
        group: torch.argsort(_importance(users[group], group.at(widest), widest), descending=True, stable=True)
        for group in model.groups()
        if group.movable and users[group].producers and not users[group].stays
    }
    with torch.no_grad():
        for group, order in orders.items():
            for layer, start in users[group].producers:
                _reorder(layer.weight, 0, order, start)
                if layer.bias is not None:
                    _reorder(layer.bias, 0, order, start)
            for layer, start in users[group].consumers:
                _reorder(layer.weight, 1, order, start)
            for norm, start in users[group].norms:
                gamma, beta = (part.detach().clone() for part in norm.affine(widest))
                for numbers in (gamma, beta, *norm.statistics.get(widest, ())):
                    _reorder(numbers, 0, order, start)
                if isinstance(norm, PrivateBatchNorm2d):
                    norm.fill(gamma, beta)
                else:
                    for own, numbers in zip(norm.masters_in(widest), (gamma, beta), strict=True):
                        own.copy_(numbers)
    return len(orders)


@dataclass(slots=True, kw_only=True)
class _Users:
    """Who writes a group (rows), reads it (columns) and normalises it, and where it begins there. A depthwise layer has
    only rows. ``stays``: something cuts it together with others, so that its order is theirs too."""

    producers: list[tuple[SlimConv2d | SlimLinear, int]] = field(default_factory=list)
    consumers: list[tuple[SlimConv2d | SlimLinear, int]] = field(default_factory=list)
    norms: list[tuple[SlimBatchNorm2d, int]] = field(default_factory=list)
    stays: bool = False


def _users(model: SlimmableModel) -> dict[Channels, _Users]:
    users: dict[Channels, _Users] = defaultdict(_Users)
    for layer in model.layers().values():
        places = list(_places(layer.outputs, layer.high))
        if isinstance(layer, SlimConv2d | SlimLinear):
            depthwise = isinstance(layer, SlimConv2d) and layer.depthwise
            for group, start in places:
                users[group].producers.append((layer, start))
            for group, start in () if depthwise else _places(layer.inputs, layer.high):
                users[group].consumers.append((layer, start))
            for leaf in (*layer.inputs.leaves(), *layer.outputs.leaves()):
                users[leaf].stays |= isinstance(layer, SlimConv2d) and not depthwise and layer.full_groups > 1
        elif isinstance(layer, SlimBatchNorm2d):
            for group, start in places:
                users[group].norms.append((layer, start))
        else:
            for leaf in layer.outputs.leaves():
                users[leaf].stays = True
        for channels in (getattr(layer, "inputs", layer.outputs), layer.outputs):
            for leaf in channels.leaves() if channels.whole else ():
                users[leaf].stays = True
    return users


def _places(channels: Channels, high: Width) -> Iterator[tuple[Channels, int]]:
    """The groups along an axis, and where each begins at the widest."""
    start = 0
    for leaf in channels.leaves():
        yield leaf, start
        start += leaf.at(high)


def _importance(users: _Users, count: int, widest: Selection) -> Tensor:
    """Expected size of a channel times the weight given to it: (Σ |gamma|, else row L1 norms) · Σ column L1 norms."""
    with torch.no_grad():
        written = [(norm.affine(widest)[0].abs(), start) for norm, start in users.norms]
        if not written:
            written = [(layer.weight.abs().flatten(1).sum(1), start) for layer, start in users.producers]
        read = [(layer.weight.abs().transpose(0, 1).flatten(1).sum(1), start) for layer, start in users.consumers]
        parts = [torch.stack([sums[start : start + count] for sums, start in part]).sum(0) for part in (written, read)]
        return parts[0] * parts[1]


def _reorder(numbers: Tensor, axis: int, order: Tensor, start: int) -> None:
    """Permute ``len(order)`` places of ``axis``, beginning at ``start``, in place."""
    part = numbers.narrow(axis, start, len(order))
    part.copy_(part.index_select(axis, order))
