"""The plain net of one choice of channels: no slimmable layer left, same module names, weights of its own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgeslim.errors import CheckpointError
from edgeslim.models.selection import Selection
from edgeslim.models.shell import Shell
from edgeslim.models.spec import ModelSpec

Statistics = Mapping[str, tuple[Tensor, Tensor]]
"""BatchNorm name → (mean, population variance), each of shape (channels,)."""


class StaticModel(Shell):
    """One net as plain modules of torch (``Conv2d``, ``BatchNorm2d``, ``Linear``).

    A BatchNorm whose ``num_batches_tracked`` is 0 has no statistics yet.
    """

    def __init__(self, network: nn.Module, *, spec: ModelSpec, selection: Selection) -> None:
        super().__init__(network)
        self.spec = spec
        self.selection = selection


def batch_norms(net: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """The BatchNorms of a plain net by name, in the order of ``named_modules``."""
    return {name: module for name, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)}


def set_statistics(net: nn.Module, statistics: Statistics) -> None:
    """Put means and variances into the BatchNorms of a plain net and mark them as known.

    Raises:
        CheckpointError: a BatchNorm without statistics, statistics without a BatchNorm, or another channel count.
    """
    norms = batch_norms(net)
    if norms.keys() != statistics.keys():
        odd = sorted(norms.keys() ^ statistics.keys())[0]
        raise CheckpointError(f"the statistics do not fit the net: {odd} is on one side only")
    for name, norm in norms.items():
        mean, var = statistics[name]
        if mean.shape != (norm.num_features,) or var.shape != (norm.num_features,):
            raise CheckpointError(f"{name} has {norm.num_features} channels, its statistics have {tuple(mean.shape)}")
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        with torch.no_grad():
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(var)
            norm.num_batches_tracked.fill_(1)
