"""Do a net's BatchNorm statistics fit what really reaches its BatchNorms?

A BatchNorm with the right statistics turns its input into mean 0 and variance 1 per channel (before gamma and beta).
Wrong ones are easily missed: the published code never updated its statistics while "calibrating", and the statistics
of 1.0x used at 0.5x in one BatchNorm of the tail, whose channel count never changes, cost all accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgeslim.deploy.calibrate_pass import Images
from edgeslim.deploy.moments import Moments

# Held-out images of the same kind stay under a third of these; foreign statistics are far above.
SHIFT_LIMIT = 0.5
SPREAD_LIMIT = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NormFit:
    """How far the input of one BatchNorm, normalised with its statistics, is from mean 0 and variance 1.

    ``shift``: root mean square over the channels of the normalised mean, in standard deviations; ``spread``: the same
    of log2 of the normalised variance, so 1 is a variance that is off by a factor of 2.
    """

    norm: str
    shift: float
    spread: float

    @property
    def fits(self) -> bool:
        return self.shift <= SHIFT_LIMIT and self.spread <= SPREAD_LIMIT

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


def fits(net: nn.Module, found: dict[str, Moments]) -> tuple[NormFit, ...]:
    """Compare the statistics of ``net`` with the moments that ``watched`` found, in network order."""
    modules = dict(net.named_modules())
    return tuple(_fit(name, modules[name], moments) for name, moments in found.items())


def check_statistics(net: nn.Module, images: Images, *, batch_size: int = 64) -> tuple[NormFit, ...]:
    """Send ``images`` through a plain net with BatchNorms (evaluation mode) and say how well every one fits.

    Take a few hundred images, of the kind that the statistics were taken from; the net is not changed.
    """
    net.eval()
    with torch.inference_mode(), watched(net) as found:
        for batch, _ in images.batches(batch_size):
            net(batch)
    return fits(net, found)


def _fit(name: str, module: Any, moments: Moments) -> NormFit:
    variance = module.running_var.double() + module.eps
    shift = (moments.mean - module.running_mean.double()) / variance.sqrt()
    spread = ((moments.variance + module.eps) / variance).log2()
    return NormFit(norm=name, shift=_root_mean_square(shift), spread=_root_mean_square(spread))


def _root_mean_square(values: Tensor) -> float:
    return float(values.square().mean().sqrt())
