"""Layers that run at any width: one set of master weights, of which a width uses the first channels.

    SlimmableModel ── owns ──► WidthCell ◄── read by every layer at each forward (a dictionary look-up)
         │ at(width): sets the cell

    layer             master                      at a width                         statistics
    SlimConv2d        weight, bias?               rows, columns (per group)          –
    SlimLinear        weight, bias                columns (and rows)                 –
    SharedBatchNorm   weight, bias                first channels of both             one mean, var per width
    PrivateBatchNorm  bn.{i}.weight, bn.{i}.bias  the pair of listed width i         one mean, var per width

BatchNorms normalise with the batch's own statistics in training mode and never track any: what a width needs at
inference is computed by calibration ("Universally Slimmable Networks", ICCV 2019, §3.4) and set per net.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeslim.core.width import Width
from edgeslim.errors import CheckpointError
from edgeslim.models.channels import Channels


class WidthCell:
    """The width a net runs at now; one object shared by all its layers, so that switching touches one place."""

    __slots__ = ("permille", "statistics")

    def __init__(self, permille: int) -> None:
        self.permille = permille
        self.statistics = permille  # under which width's name the statistics of this net are kept


class SlimLayer(nn.Module):
    """A layer with ``outputs`` channels that can hand out its plain twin for one width."""

    outputs: Channels

    def twin(self, width: Width) -> nn.Module:
        """A plain torch layer on the meta device with this width's channel counts."""
        raise NotImplementedError

    def slices(self, width: Width) -> dict[str, Tensor]:
        """The parameters of the twin: views into the masters, keyed as in the twin's state dict."""
        raise NotImplementedError


class SlimConv2d(SlimLayer):
    """``nn.Conv2d`` over the first input and output channels.

    Args:
        inputs, outputs: channel bundles; the master has their counts at ``high``.
        groups: 1, a constant number of groups (each is cut), or the number of channels with ``depthwise``.
        gain: what keeps the variance at initialisation: 2 before a ReLU, 1 before nothing (He et al., 2015).
    """

    def __init__(
        self,
        cell: WidthCell,
        high: Width,
        inputs: Channels,
        outputs: Channels,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        depthwise: bool = False,
        bias: bool = False,
        gain: float = 2.0,
    ) -> None:
        super().__init__()
        self._cell = cell
        self.inputs, self.outputs = inputs, outputs
        self.depthwise, self.gain = depthwise, gain
        self.full_groups = inputs.at(high) if depthwise else groups
        self.kernel_size, self.stride, self.padding = kernel_size, stride, kernel_size // 2
        out, columns = outputs.at(high), inputs.at(high) // self.full_groups
        self.weight = nn.Parameter(torch.empty(out, columns, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(out)) if bias else None
        self._counts: dict[int, tuple[int, int, int]] = {}

    def counts(self, permille: int) -> tuple[int, int, int]:
        """(out channels, in channels, groups) at a width."""
        known = self._counts.get(permille)
        if known is None:
            width = Width(permille)
            inputs = self.inputs.at(width)
            known = (self.outputs.at(width), inputs, inputs if self.depthwise else self.full_groups)
            self._counts[permille] = known
        return known

    def used(self) -> tuple[int, int]:
        """(out channels, groups) at the width that runs now."""
        out, _, groups = self.counts(self._cell.permille)
        return out, groups

    def _cut(self, out: int, columns: int, groups: int) -> Tensor:
        weight = self.weight
        if self.depthwise:
            return weight[:out]
        if groups > 1:
            by_group = weight.view(groups, -1, *weight.shape[1:])
            return by_group[:, : out // groups, :columns].flatten(0, 1)
        return weight[:out, :columns]

    def forward(self, x: Tensor) -> Tensor:
        out, inputs, groups = self.counts(self._cell.permille)
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        columns = inputs // groups
        if out != weight.shape[0] or columns != weight.shape[1]:
            weight = self._cut(out, columns, groups)
            bias = None if bias is None else bias[:out]
        return F.conv2d(x, weight, bias, self.stride, self.padding, 1, groups)

    def twin(self, width: Width) -> nn.Conv2d:
        out, inputs, groups = self.counts(width.permille)
        return nn.Conv2d(
            inputs,
            out,
            self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            groups=groups,
            bias=self.bias is not None,
            device="meta",
        )

    def slices(self, width: Width) -> dict[str, Tensor]:
        out, inputs, groups = self.counts(width.permille)
        parts = {"weight": self._cut(out, inputs // groups, groups)}
        if self.bias is not None:
            parts["bias"] = self.bias[:out]
        return parts


class SlimLinear(SlimLayer):
    """``nn.Linear`` over the first input features; the classifier of every network here."""

    def __init__(self, cell: WidthCell, high: Width, inputs: Channels, outputs: Channels) -> None:
        super().__init__()
        self._cell = cell
        self.inputs, self.outputs = inputs, outputs
        self.weight = nn.Parameter(torch.empty(outputs.at(high), inputs.at(high)))
        self.bias = nn.Parameter(torch.empty(outputs.at(high)))

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        width = Width(self._cell.permille)
        out, inputs = self.outputs.at(width), self.inputs.at(width)
        if (out, inputs) != weight.shape:
            weight, bias = weight[:out, :inputs], bias[:out]
        return F.linear(x, weight, bias)

    def used(self) -> int:
        """Output features at the width that runs now."""
        return self.outputs.at(Width(self._cell.permille))

    def twin(self, width: Width) -> nn.Linear:
        return nn.Linear(self.inputs.at(width), self.outputs.at(width), device="meta")

    def slices(self, width: Width) -> dict[str, Tensor]:
        out, inputs = self.outputs.at(width), self.inputs.at(width)
        return {"weight": self.weight[:out, :inputs], "bias": self.bias[:out]}


class SlimBatchNorm2d(SlimLayer):
    """What both BatchNorms share: batch statistics in training, per-width statistics at inference."""

    eps = 1e-5

    def __init__(self, cell: WidthCell, outputs: Channels) -> None:
        super().__init__()
        self._cell = cell
        self.outputs = outputs
        self.statistics: dict[int, tuple[Tensor, Tensor]] = {}  # permille → (mean, population variance)
        self._counts: dict[int, int] = {}

    def masters_of(self, permille: int) -> tuple[nn.Parameter, nn.Parameter]:
        """The gamma and beta whose first channels a width uses."""
        raise NotImplementedError

    def masters(self) -> tuple[nn.Parameter, nn.Parameter]:
        """The gamma and beta whose first channels the width that runs now uses."""
        return self.masters_of(self._cell.permille)

    def affine(self, permille: int) -> tuple[Tensor, Tensor]:
        """Gamma and beta at a width, each of shape (channels,)."""
        count = self._counts.get(permille)
        if count is None:
            count = self._counts[permille] = self.outputs.at(Width(permille))
        weight, bias = self.masters_of(permille)
        return (weight, bias) if count == weight.shape[0] else (weight[:count], bias[:count])

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.affine(self._cell.permille)
        if self.training:
            return F.batch_norm(x, None, None, weight, bias, training=True, eps=self.eps)
        statistics = self.statistics.get(self._cell.statistics)
        if statistics is None:
            width = Width(self._cell.permille)
            raise CheckpointError(
                f"no BatchNorm statistics for width {width}: a slimmable net needs its own at every width",
                hint=f"edgeslim calibrate CKPT --data … --widths {width}",
            )
        return F.batch_norm(x, statistics[0], statistics[1], weight, bias, training=False, eps=self.eps)

    def twin(self, width: Width) -> nn.BatchNorm2d:
        return nn.BatchNorm2d(self.outputs.at(width), eps=self.eps, device="meta")

    def slices(self, width: Width) -> dict[str, Tensor]:
        weight, bias = self.affine(width.permille)
        return {"weight": weight, "bias": bias}

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> SlimBatchNorm2d:
        """Lets the statistics follow ``.to(device)``; they are no buffers, as calibration owns them."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.statistics = {key: (fn(mean), fn(var)) for key, (mean, var) in self.statistics.items()}
        return self


class SharedBatchNorm2d(SlimBatchNorm2d):
    """Universally slimmable: every width uses the first gammas and betas of one master."""

    def __init__(self, cell: WidthCell, high: Width, outputs: Channels) -> None:
        super().__init__(cell, outputs)
        full = outputs.at(high)
        self.weight = nn.Parameter(torch.ones(full))
        self.bias = nn.Parameter(torch.zeros(full))

    def masters_of(self, permille: int) -> tuple[nn.Parameter, nn.Parameter]:
        return self.weight, self.bias


class _Affine(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))


class PrivateBatchNorm2d(SlimBatchNorm2d):
    """S family ("Slimmable Neural Networks", ICLR 2019): gamma and beta of its own for every listed width."""

    def __init__(self, cell: WidthCell, outputs: Channels, widths: tuple[Width, ...]) -> None:
        super().__init__(cell, outputs)
        self.bn = nn.ModuleList(_Affine(outputs.at(width)) for width in widths)
        self._index = {width.permille: index for index, width in enumerate(widths)}

    def masters_of(self, permille: int) -> tuple[nn.Parameter, nn.Parameter]:
        private = self.bn[self._index[permille]]
        assert isinstance(private, _Affine)
        return private.weight, private.bias

    def fill(self, weight: Tensor, bias: Tensor) -> None:
        """Give every width the first numbers of one full-width gamma and beta (a start, they then part)."""
        with torch.no_grad():
            for private in self.bn:
                assert isinstance(private, _Affine)
                private.weight.copy_(weight[: len(private.weight)])
                private.bias.copy_(bias[: len(private.bias)])
