"""The deployable net of one choice of channels: layers with bias, nothing slimmable and no BatchNorm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from edgeslim.core.slicing import Cut, Float32
from edgeslim.models.count import Counts
from edgeslim.models.selection import Selection
from edgeslim.models.shell import Shell
from edgeslim.models.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoldedLayer:
    """How one layer's weight and bias come out of the full-width masters.

    weight = ``core.slicing.folded_weight(master, cut, scale=scale, in_scale=in_scale)``;
    bias = ``shift`` where there is one, else the first ``out_channels`` numbers of ``bias_master``.

    ``scale`` and ``shift`` are float32 of shape (out_channels,), ``in_scale`` (a BatchNorm *before* the layer) of
    shape (in_channels,). Master names are ``weight/<name>`` and ``bias/<name>``.
    """

    name: str
    kind: Literal["conv", "linear"]
    weight_master: str
    bias_master: str | None
    out_channels: int
    in_channels: int
    groups: int
    full_groups: int
    scale: Float32 | None
    shift: Float32 | None
    in_scale: Float32 | None = None

    @property
    def cut(self) -> Cut:
        """The part of the master this layer uses."""
        return Cut(
            out_channels=self.out_channels,
            in_channels=self.in_channels,
            groups=self.groups,
            full_groups=self.full_groups,
        )

    def bias(self, master: Float32 | None) -> Float32:
        """The deployed bias, shape (out_channels,), given the full-width bias where ``bias_master`` names one."""
        if self.shift is not None:
            return self.shift
        assert master is not None
        return np.ascontiguousarray(master[: self.out_channels])


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
