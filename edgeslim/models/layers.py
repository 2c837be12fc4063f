"""Layers that run in any net of a slimmable model: one set of master weights, of which a net uses the first channels.

    SlimmableModel ── owns ──► NetCell ◄── read by every layer at each forward (a dictionary look-up)
         │ at(net): sets the cell

    layer             master                      in a net                           statistics
    SlimConv2d        weight, bias?               rows, columns (per group)          –
    SlimLinear        weight, bias                columns (and rows)                 –
    SlimLayerNorm     weight, bias                first channels of both             –
    SharedBatchNorm   weight, bias                first channels of both             one mean, var per net
    PrivateBatchNorm  bn.{i}.weight, bn.{i}.bias  the pair of listed width i         one mean, var per net

BatchNorms normalise with the batch's own statistics in training mode and never track any: what a net needs at
inference is computed by calibration ("Universally Slimmable Networks", ICCV 2019, §3.4) and set per net.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeslim.core.width import Width
from edgeslim.errors import CheckpointError, ModelError
from edgeslim.models.channels import Channels
from edgeslim.models.masters import Axes, MasterSpec, Sliced, cut
from edgeslim.models.selection import Net, Selection

NORM_EPS = 1e-5  # added to variances, as torch does unless told otherwise


class NetCell:
    """The net that runs now; one object shared by all layers of a model, so that switching touches one place."""

    __slots__ = ("selection",)

    selection: Selection


class SlimLayer(Sliced):
    """A layer with ``outputs`` channels that can hand out its plain twin for one net."""

    outputs: Channels
    high: Width

    def axes(self) -> dict[str, Axes]:
        """What lies along the axes of every own parameter."""
        raise NotImplementedError

    def check(self, net: Selection) -> None:
        """Raise ``ModelError`` if this layer cannot be cut as ``net`` says."""

    def twin(self, net: Net) -> nn.Module:
        """A plain torch layer on the meta device with this net's channel counts."""
        raise NotImplementedError

    def slices(self, net: Net) -> dict[str, Tensor]:
        """The parameters of the twin, cut out of the masters; keyed as in the twin's state dict."""
        return {spec.name: self._cut(spec, net) for spec in self.own_masters()}

    def own_masters(self) -> tuple[MasterSpec, ...]:
        return tuple(MasterSpec(name=name, role="tensor", axes=axes) for name, axes in self.axes().items())

    def _cut(self, spec: MasterSpec, net: Net) -> Tensor:
        parameter: Tensor = getattr(self, spec.name)
        return cut(parameter, spec.parts(self.high), spec.parts(net))


class _Weighted(SlimLayer):
    """A convolution or linear layer: a weight with rows and columns, and perhaps a bias along the rows."""

    full_groups: int

    def own_masters(self) -> tuple[MasterSpec, ...]:
        axes = self.axes()
        weight = MasterSpec(name="weight", role="weight", axes=axes.pop("weight"), rows=0, groups=self.full_groups)
        return (weight, *(MasterSpec(name=name, role="tensor", axes=own) for name, own in axes.items()))


class SlimConv2d(_Weighted):
    """``nn.Conv2d`` over the first input and output channels.

    Args:
        inputs, outputs: groups of channels; the master has their counts at ``high``.
        groups: 1, a constant number of groups (each is cut), or the number of channels with ``depthwise``.
        padding: zeros on every side; None: half the kernel.
        gain: what keeps the variance at initialisation: 2 before a ReLU, 1 before nothing (He et al., 2015).

    Raises:
        ModelError: groups that do not divide the channels.
    """

    def __init__(
        self,
        cell: NetCell,
        high: Width,
        inputs: Channels,
        outputs: Channels,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        depthwise: bool = False,
        bias: bool = False,
        gain: float = 2.0,
    ) -> None:
        super().__init__()
        self._cell, self.high = cell, high
        self.inputs, self.outputs = inputs, outputs
        self.depthwise, self.gain = depthwise, gain
        self.full_groups = inputs.at(high) if depthwise else groups
        self.kernel_size, self.stride = kernel_size, stride
        self.padding = kernel_size // 2 if padding is None else padding
        grouped = groups if not depthwise else 1
        self._rows = outputs.blocks(grouped)
        self._columns: Channels | int = 1 if depthwise else inputs.share(grouped)
        out, columns = outputs.at(high), inputs.at(high) // self.full_groups
        if columns * self.full_groups != inputs.at(high) or self._rows.at(high) != out:
            raise ModelError(f"{inputs.name} to {outputs.name}: {grouped} groups do not divide the channels")
        self.weight = nn.Parameter(torch.empty(out, columns, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(out)) if bias else None
        self.prefix = len(self._rows.parts_at(high)) == 1 and (depthwise or len(inputs.parts_at(high)) == 1)
        """Whether every net uses the first rows and the first columns, and nothing else."""
        self._counts: dict[Net, tuple[int, int, int]] = {}

    def axes(self) -> dict[str, Axes]:
        weight = (self._rows, self._columns, self.kernel_size, self.kernel_size)
        return {"weight": weight} if self.bias is None else {"weight": weight, "bias": (self._rows,)}

    def check(self, net: Selection) -> None:
        if self.depthwise and self.inputs.at(net) != self.outputs.at(net):
            raise ModelError(f"{self.inputs.name} and {self.outputs.name} are the channels of one depthwise layer")
        groups = 1 if self.depthwise else self.full_groups
        for channels in (self.inputs, self.outputs):
            if channels.at(net) % groups:
                raise ModelError(
                    f"{channels.name} of net {net}: {channels.at(net)} channels do not divide by {groups} groups"
                )

    def counts(self, net: Net) -> tuple[int, int, int]:
        """(out channels, in channels, groups) in a net."""
        known = self._counts.get(net)
        if known is None:
            inputs = self.inputs.at(net)
            known = (self.outputs.at(net), inputs, inputs if self.depthwise else self.full_groups)
            self._counts[net] = known
        return known

    def used(self) -> tuple[int, int]:
        """(out channels, groups) in the net that runs now."""
        out, _, groups = self.counts(self._cell.selection)
        return out, groups

    def forward(self, x: Tensor) -> Tensor:
        net = self._cell.selection
        out, inputs, groups = self.counts(net)
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        columns = inputs // groups
        if out != weight.shape[0] or columns != weight.shape[1]:
            if self.prefix:
                weight = weight[:out, :columns]
                bias = None if bias is None else bias[:out]
            else:
                parts = self.slices(net)
                weight, bias = parts["weight"], parts.get("bias")
        return F.conv2d(x, weight, bias, self.stride, self.padding, 1, groups)

    def twin(self, net: Net) -> nn.Conv2d:
        out, inputs, groups = self.counts(net)
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


class SlimLinear(_Weighted):
    """``nn.Linear`` over the first input features, on vectors or tokens: (…, I) → (…, O)."""

    full_groups = 1

    def __init__(self, cell: NetCell, high: Width, inputs: Channels, outputs: Channels) -> None:
        super().__init__()
        self._cell, self.high = cell, high
        self.inputs, self.outputs = inputs, outputs
        self.weight = nn.Parameter(torch.empty(outputs.at(high), inputs.at(high)))
        self.bias = nn.Parameter(torch.empty(outputs.at(high)))
        self.prefix = len(inputs.parts_at(high)) == len(outputs.parts_at(high)) == 1
        self._counts: dict[Net, tuple[int, int]] = {}

    def axes(self) -> dict[str, Axes]:
        return {"weight": (self.outputs, self.inputs), "bias": (self.outputs,)}

    def counts(self, net: Net) -> tuple[int, int]:
        """(output features, input features) in a net."""
        known = self._counts.get(net)
        if known is None:
            known = self._counts[net] = self.outputs.at(net), self.inputs.at(net)
        return known

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        net = self._cell.selection
        out, inputs = self.counts(net)
        if (out, inputs) != weight.shape:
            if self.prefix:
                weight, bias = weight[:out, :inputs], bias[:out]
            else:
                parts = self.slices(net)
                weight, bias = parts["weight"], parts["bias"]
        return F.linear(x, weight, bias)

    def used(self) -> int:
        """Output features in the net that runs now."""
        return self.counts(self._cell.selection)[0]

    def twin(self, net: Net) -> nn.Linear:
        out, inputs = self.counts(net)
        return nn.Linear(inputs, out, device="meta")


class SlimLayerNorm(SlimLayer):
    """``nn.LayerNorm`` over the channels that are there, which lie last: (…, C) → (…, C)."""

    eps = 1e-6

    def __init__(self, cell: NetCell, high: Width, outputs: Channels) -> None:
        super().__init__()
        self._cell, self.high, self.outputs = cell, high, outputs
        self.weight = nn.Parameter(torch.ones(outputs.at(high)))
        self.bias = nn.Parameter(torch.zeros(outputs.at(high)))

    def axes(self) -> dict[str, Axes]:
        return {"weight": (self.outputs,), "bias": (self.outputs,)}

    def forward(self, x: Tensor) -> Tensor:
        parts = self.slices(self._cell.selection)
        return F.layer_norm(x, x.shape[-1:], parts["weight"], parts["bias"], self.eps)

    def twin(self, net: Net) -> nn.LayerNorm:
        return nn.LayerNorm(self.outputs.at(net), eps=self.eps, device="meta")


class SlimBatchNorm2d(SlimLayer):
    """What both BatchNorms share: batch statistics in training, a net's own statistics at inference."""

    def __init__(self, cell: NetCell, high: Width, outputs: Channels, *, eps: float) -> None:
        super().__init__()
        self._cell, self.high, self.outputs, self.eps = cell, high, outputs, eps
        self.prefix = len(outputs.parts_at(high)) == 1
        self.statistics: dict[Selection, tuple[Tensor, Tensor]] = {}  # net → (mean, population variance)
        self._counts: dict[Net, int] = {}

    def deployed(self) -> bool:
        return False  # folded into the numbers of each net

    def masters_in(self, net: Selection) -> tuple[nn.Parameter, nn.Parameter]:
        """The gamma and beta that a net uses channels of."""
        raise NotImplementedError

    def masters(self) -> tuple[nn.Parameter, nn.Parameter]:
        """The gamma and beta that the net that runs now uses channels of."""
        return self.masters_in(self._cell.selection)

    def affine(self, net: Selection) -> tuple[Tensor, Tensor]:
        """Gamma and beta in a net, each of shape (channels,)."""
        count = self._counts.get(net)
        if count is None:
            count = self._counts[net] = self.outputs.at(net)
        weight, bias = self.masters_in(net)
        if count == weight.shape[0]:
            return weight, bias
        if self.prefix:
            return weight[:count], bias[:count]
        full, kept = (self.outputs.parts_at(self.high),), (self.outputs.parts_at(net),)
        return cut(weight, full, kept), cut(bias, full, kept)

    def forward(self, x: Tensor) -> Tensor:
        net = self._cell.selection
        weight, bias = self.affine(net)
        if self.training:
            return F.batch_norm(x, None, None, weight, bias, training=True, eps=self.eps)
        statistics = self.statistics.get(net)
        if statistics is None:
            what = f"width {net}" if net.width is not None else f"net {net}"
            raise CheckpointError(
                f"no BatchNorm statistics for {what}: a slimmable net needs its own for every choice of channels",
                hint=f"edgeslim calibrate CKPT --data … --widths {net}",
            )
        return F.batch_norm(x, statistics[0], statistics[1], weight, bias, training=False, eps=self.eps)

    def twin(self, net: Net) -> nn.BatchNorm2d:
        return nn.BatchNorm2d(self.outputs.at(net), eps=self.eps, device="meta")

    def slices(self, net: Net) -> dict[str, Tensor]:
        assert isinstance(net, Selection)
        weight, bias = self.affine(net)
        return {"weight": weight, "bias": bias}

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> SlimBatchNorm2d:
        """Lets the statistics follow ``.to(device)``; they are no buffers, as calibration owns them."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.statistics = {key: (fn(mean), fn(var)) for key, (mean, var) in self.statistics.items()}
        return self


class SharedBatchNorm2d(SlimBatchNorm2d):
    """Universally slimmable: every net uses the first gammas and betas of one master."""

    def __init__(self, cell: NetCell, high: Width, outputs: Channels, *, eps: float = NORM_EPS) -> None:
        super().__init__(cell, high, outputs, eps=eps)
        full = outputs.at(high)
        self.weight = nn.Parameter(torch.ones(full))
        self.bias = nn.Parameter(torch.zeros(full))

    def axes(self) -> dict[str, Axes]:
        return {"weight": (self.outputs,), "bias": (self.outputs,)}

    def masters_in(self, net: Selection) -> tuple[nn.Parameter, nn.Parameter]:
        return self.weight, self.bias


class _Affine(Sliced):
    """A pair of its own for one listed width; its BatchNorm accounts for it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def deployed(self) -> bool:
        return False


class PrivateBatchNorm2d(SlimBatchNorm2d):
    """S family ("Slimmable Neural Networks", ICLR 2019): gamma and beta of its own for every listed width."""

    def __init__(self, cell: NetCell, outputs: Channels, widths: tuple[Width, ...], *, eps: float = NORM_EPS) -> None:
        super().__init__(cell, widths[-1], outputs, eps=eps)
        self.bn = nn.ModuleList(_Affine(outputs.at(width)) for width in widths)
        self._index = {width: index for index, width in enumerate(widths)}

    def axes(self) -> dict[str, Axes]:
        return {}

    def masters_in(self, net: Selection) -> tuple[nn.Parameter, nn.Parameter]:
        assert net.listed is not None
        private = self.bn[self._index[net.listed]]
        assert isinstance(private, _Affine)
        return private.weight, private.bias

    def fill(self, weight: Tensor, bias: Tensor) -> None:
        """Give every width the first numbers of one full-width gamma and beta (a start, they then part)."""
        with torch.no_grad():
            for private in self.bn:
                assert isinstance(private, _Affine)
                private.weight.copy_(weight[: len(private.weight)])
                private.bias.copy_(bias[: len(private.bias)])
