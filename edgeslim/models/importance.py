"""Which channels matter, and putting them first without changing what the full-width net computes.

A width keeps the first channels of every layer. In a net trained at one width the order of its channels means
nothing, so before slimming it they are sorted: the channels that carry most come first ("Once-for-All", ICLR 2020,
appendix, sorts by L1 norms likewise). All layers that share a bundle of channels (``Channels``: a residual stream, a
depthwise convolution with its neighbours) get the same permutation, so the function stays the same.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from edgeslim.core.width import Width
from edgeslim.models.channels import Channels
from edgeslim.models.layers import PrivateBatchNorm2d, SlimBatchNorm2d, SlimConv2d, SlimLinear
from edgeslim.models.slimmable import SlimmableModel


def sort_channels(model: SlimmableModel) -> int:
    """Reorder every movable bundle of channels by falling importance; returns how many bundles were reordered.

    Statistics of the widest net follow; those of other widths no longer mean anything and are dropped.
    """
    widest = model.spec.high
    model.drop_statistics(keep=(widest,))
    statistics = model.statistics(widest)
    producers, consumers, norms = _users(model)
    movable = [bundle for bundle in producers if bundle.movable and bundle.rule != "fixed"]
    orders = {
        bundle: torch.argsort(
            _importance(producers[bundle], consumers[bundle], norms[bundle], widest), descending=True, stable=True
        )
        for bundle in movable
    }
    with torch.no_grad():
        for bundle, order in orders.items():
            for producer in producers[bundle]:
                producer.weight.copy_(producer.weight[order])
                if producer.bias is not None:
                    producer.bias.copy_(producer.bias[order])
            for consumer in consumers[bundle]:
                consumer.weight.copy_(consumer.weight[:, order])
            for norm in norms[bundle]:
                _reorder(norm, order, widest)
    if statistics:
        for name, norm in model.norms().items():
            if norm.outputs in orders:
                mean, var = statistics[name]
                norm.statistics[widest.permille] = (mean[orders[norm.outputs]], var[orders[norm.outputs]])
    return len(orders)


_Layers = dict[Channels, list[SlimConv2d | SlimLinear]]


def _users(model: SlimmableModel) -> tuple[_Layers, _Layers, dict[Channels, list[SlimBatchNorm2d]]]:
    """Who writes each bundle (rows), who reads it (columns), who normalises it. A depthwise layer has only rows."""
    producers: _Layers = defaultdict(list)
    consumers: _Layers = defaultdict(list)
    norms: dict[Channels, list[SlimBatchNorm2d]] = defaultdict(list)
    for module in model.modules():
        if isinstance(module, SlimConv2d | SlimLinear):
            producers[module.outputs].append(module)
            if not (isinstance(module, SlimConv2d) and module.depthwise):
                consumers[module.inputs].append(module)
        elif isinstance(module, SlimBatchNorm2d):
            norms[module.outputs].append(module)
    return producers, consumers, norms


def _importance(
    producers: list[SlimConv2d | SlimLinear],
    consumers: list[SlimConv2d | SlimLinear],
    norms: list[SlimBatchNorm2d],
    widest: Width,
) -> Tensor:
    """Expected size of a channel times the weight given to it: (Σ |gamma|, else row L1 norms) · Σ column L1 norms."""
    with torch.no_grad():
        read = [layer.weight.abs().flatten(2).sum((0, 2)) for layer in consumers if layer.weight.dim() == 4]
        read += [layer.weight.abs().sum(0) for layer in consumers if layer.weight.dim() == 2]
        if norms:
            written = [norm.affine(widest.permille)[0].abs() for norm in norms]
        else:
            written = [layer.weight.abs().flatten(1).sum(1) for layer in producers]
        return torch.stack(written).sum(0) * torch.stack(read).sum(0)


def _reorder(norm: SlimBatchNorm2d, order: Tensor, widest: Width) -> None:
    weight, bias = (part[order] for part in norm.affine(widest.permille))
    if isinstance(norm, PrivateBatchNorm2d):
        norm.fill(weight, bias)
    else:
        gamma, beta = norm.affine(widest.permille)
        gamma.copy_(weight)
        beta.copy_(bias)
