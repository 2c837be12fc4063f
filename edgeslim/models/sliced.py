"""The deployable net of one choice of channels: layers with bias, nothing slimmable and no BatchNorm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from edgeslim.core.constants import Float32
from edgeslim.models.count import Counts
from edgeslim.models.selection import Selection
from edgeslim.models.shell import Shell
from edgeslim.models.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoldedLayer:
    """What the statistics of a net make of one convolution or linear layer.

    ``in_scale`` (input channels,) belongs to a BatchNorm *before* the layer; ``scale`` and ``shift`` are (output
    channels,). float32; None where there is none. The deployed bias is ``shift``, or the layer's own without one.
    """

    name: str
    in_scale: Float32 | None
    scale: Float32 | None
    shift: Float32 | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployedTensor:
    """Where one tensor of a deployed net comes from; ``name`` is its key in the net's state dict.

    ``weight``: cut out of the master of the key ``master``, times an input scale per column (``in_scaled``), times a
    scale per row (``scaled``). ``tensor``: cut out of ``master`` and nothing else. ``vector``: numbers of this net
    alone, made from its statistics; there is no master.
    """

    name: str
    kind: Literal["weight", "tensor", "vector"]
    master: str | None = None
    scaled: bool = False
    in_scaled: bool = False


class ChannelAffine(nn.Module):
    """x · scale + shift per channel: a BatchNorm that no layer could take in. (…, C, …) → the same shape.

    ``scale`` and ``shift`` have as many axes of length 1 behind the channels as ``trailing`` says (2 for images).
    """

    def __init__(self, channels: int, trailing: int) -> None:
        super().__init__()
        shape = (channels, *(1,) * trailing)
        self.scale = nn.Parameter(torch.empty(shape, device="meta"), requires_grad=False)
        self.shift = nn.Parameter(torch.empty(shape, device="meta"), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


class SlicedModel(Shell):
    """Made by ``deploy.fold``, always in evaluation mode.

    ``counts`` are those of the net before folding (the published convention); ``tensors`` say of every parameter and
    buffer, in the order of the state dict, where it comes from; ``layers`` have the numbers of the convolutions and
    linear layers, in module order, and are empty in a structure without numbers.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        spec: ModelSpec,
        selection: Selection,
        counts: Counts,
        tensors: tuple[DeployedTensor, ...],
        layers: tuple[FoldedLayer, ...] = (),
    ) -> None:
        super().__init__(network)
        self.spec = spec
        self.selection = selection
        self.counts = counts
        self.tensors = tensors
        self.layers = layers
        self.eval()
