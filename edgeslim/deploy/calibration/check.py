"""Do a net's BatchNorm statistics fit what really reaches its BatchNorms?

A BatchNorm with the right statistics turns its input into mean 0 and variance 1 per channel (before gamma and beta).
Wrong ones are easily missed: the published code never updated its statistics while "calibrating", and the statistics
of 1.0x used at 0.5x in one BatchNorm of the tail, whose channel count never changes, cost all accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgeslim.deploy.calibration.moments import Moments
from edgeslim.deploy.calibration.passes import Images

# Measured on digits (512 images to calibrate, 450 to check): held-out images have a shift of 0.025, a spread of 0.12,
# the statistics of 1.0x in the tail of 0.5x a spread of 1.1. Few images say less: their own scatter is allowed for.
_SHIFT, _SHIFT_OF_ONE_IMAGE = 0.1, 1.5
_SPREAD, _SPREAD_OF_ONE_IMAGE = 0.3, 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NormFit:
    """How far the input of one BatchNorm, normalised with its statistics, is from mean 0 and variance 1.

    ``shift``: root mean square over the channels of the normalised mean, in standard deviations; ``spread``: the same
    of log2 of the normalised variance, so 1 is a variance that is off by a factor of 2; both over ``images`` images.
    """

    norm: str
    images: int
    shift: float
    spread: float

    @property
    def fits(self) -> bool:
        few = 1 / math.sqrt(self.images)
        return self.shift <= _SHIFT + _SHIFT_OF_ONE_IMAGE * few and self.spread <= _SPREAD + _SPREAD_OF_ONE_IMAGE * few

    def __str__(self) -> str:
        return f"{self.norm}: means off by {self.shift:.2f} standard deviations, variances by {2**self.spread:.2f}x"


@contextmanager
def watched(net: nn.Module) -> Iterator[dict[str, Moments]]:
    """Collect the moments of what reaches every BatchNorm of ``net`` while the block runs it."""
    found: dict[str, Moments] = {}
    hooks = []
    for name, module in net.named_modules():
        if isinstance(module, _BatchNorm):

            def collect(_: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                moments = Moments.of(inputs[0])
                found[name] = found[name].merge(moments) if name in found else moments

            hooks.append(module.register_forward_pre_hook(collect))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def fits(net: nn.Module, found: dict[str, Moments], images: int) -> tuple[NormFit, ...]:
    """Compare the statistics of ``net`` with the moments that ``watched`` found over ``images``, in network order."""
    modules = dict(net.named_modules())
    return tuple(_fit(name, modules[name], moments, images) for name, moments in found.items())


def check_statistics(net: nn.Module, images: Images, *, batch_size: int = 64) -> tuple[NormFit, ...]:
    """Send ``images`` through a plain net with BatchNorms (evaluation mode) and say how well every one fits.

    Take images of the kind that the statistics were taken from, a few hundred for a sharp answer.
    """
    net.eval()
    with torch.inference_mode(), watched(net) as found:
        for batch, _ in images.batches(batch_size):
            net(batch)
    return fits(net, found, len(images))


def _fit(name: str, module: Any, moments: Moments, images: int) -> NormFit:
    variance = module.running_var.double() + module.eps
    shift = (moments.mean - module.running_mean.double()) / variance.sqrt()
    spread = ((moments.variance + module.eps) / variance).log2()
    return NormFit(norm=name, images=images, shift=_root_mean_square(shift), spread=_root_mean_square(spread))


def _root_mean_square(values: Tensor) -> float:
    return float(values.square().mean().sqrt())
