"""The definition, literally: everything in one batch, in float64."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Pair = tuple[Tensor, Tensor]


def literal_statistics(net: nn.Module, images: Tensor) -> dict[str, Pair]:
    """Mean and population variance of every BatchNorm's input in one training-mode forward of all ``images``.

    Read off the running statistics with momentum 1, which hold the variance with Bessel's correction.
    """
    net = copy.deepcopy(net).double().eval()
    samples: dict[str, int] = {}
    norms = {name: module for name, module in net.named_modules() if isinstance(module, _BatchNorm)}
    for name, norm in norms.items():
        norm.momentum = 1.0
        norm.train()

        def count(_: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
            samples[name] = inputs[0].numel() // inputs[0].shape[1]

        norm.register_forward_pre_hook(count)
    with torch.no_grad():
        net(images.double())
    found = {}
    for name, norm in norms.items():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        found[name] = norm.running_mean, norm.running_var * ((samples[name] - 1) / samples[name])
    return found


def largest_error(found: Mapping[str, Pair], wanted: Mapping[str, Pair]) -> float:
    """Of means in standard deviations (or in themselves, where they are larger), of variances in themselves.

    Variances far below a BatchNorm's eps of 1e-5 count as if they were 1e-5: nothing can tell them apart.
    """
    assert list(found) == list(wanted)
    worst = 0.0
    for name, (mean, variance) in wanted.items():
        floor = variance.clamp(min=1e-5)
        scale = floor.sqrt().maximum(mean.abs())
        worst = max(
            worst,
            ((found[name][0].double() - mean).abs() / scale).max().item(),
            ((found[name][1].double() - variance).abs() / floor).max().item(),
        )
    return worst
