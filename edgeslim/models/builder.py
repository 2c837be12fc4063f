"""What the network files are written with: layers on one width cell, strides that suit the image, first values."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import Tensor, nn

from edgeslim.core.width import Width
from edgeslim.errors import ModelError
from edgeslim.models.blocks import Apply, Residual
from edgeslim.models.channels import Channels, Rule
from edgeslim.models.layers import NORM_EPS, NetCell, PrivateBatchNorm2d, SharedBatchNorm2d, SlimConv2d, SlimLinear
from edgeslim.models.spec import ModelSpec

Activation = type[nn.Module] | Callable[[Tensor], Tensor]


def halvings_left_out(input_size: int) -> int:
    """How many of a network's first halvings are left out for images of ``input_size`` px (``Builder.strides``)."""
    return 0 if input_size > 32 else 2 if input_size > 16 else 3


class Builder:
    """Makes the layers of one network."""

    def __init__(self, spec: ModelSpec, rule: Rule = "round8", norm_eps: float = NORM_EPS) -> None:
        self.spec = spec
        self.rule = rule
        self.norm_eps = norm_eps
        self.cell = NetCell()
        self._names: set[str] = set()

    def channels(self, name: str, base: int, *, ratio: int = 1, movable: bool = True) -> Channels:
        """Channels that a net cuts.

        Raises:
            ModelError: the net has a group of this name already.
        """
        return self._named(Channels(name=name, base=base, ratio=ratio, rule=self.rule, movable=movable))

    def fixed(self, name: str, count: int) -> Channels:
        """Channels that every net keeps."""
        return self._named(Channels(name=name, base=count, rule="fixed"))

    def joined(self, *parts: Channels, whole: bool = False) -> Channels:
        """The concatenation of ``parts``: every part is cut to its first channels. ``whole``: it is cut as one, to its
        first channels whatever part they are of, as published nets do."""
        base = sum(part.base * part.ratio for part in parts)
        name = "+".join(dict.fromkeys(part.name for part in parts))
        return Channels(name=name, base=base, movable=False, parts=parts, whole=whole)

    def repeated(self, channels: Channels, times: int) -> Channels:
        """All of ``channels`` again and again (``blocks.Repeat``)."""
        return self.joined(*(channels,) * times)

    def _named(self, channels: Channels) -> Channels:
        if channels.name in self._names:
            raise ModelError(f"two groups of channels are called {channels.name!r}: names are unique within a net")
        self._names.add(channels.name)
        return channels

    def strides(self, *strides: int) -> tuple[int, ...]:
        """The strides of a network, with the first halvings left out for small images.

        Networks for 224 px halve five times. Images of at most 32 px keep their first two halvings' resolution
        (a total stride of 8, so 32 px end as 4 x 4), images of at most 16 px three (stride 4, so 8 px end as 2 x 2).
        """
        left_out = halvings_left_out(self.spec.input_size)
        chosen = []
        for stride in strides:
            skip = stride == 2 and left_out > 0
            left_out -= skip
            chosen.append(1 if skip else stride)
        return tuple(chosen)

    def conv_norm(
        self,
        inputs: Channels,
        outputs: Channels,
        kernel_size: int = 1,
        *,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        depthwise: bool = False,
        activation: Activation | None = None,
    ) -> list[nn.Module]:
        """Convolution, its BatchNorm as the next neighbour (an Identity without normalisation), activation.

        Args:
            padding: zeros on every side; None: half the kernel.
            activation: a class of modules (``nn.ReLU``; in place where it can be) or a function (``F.silu``).
        """
        batch = self.spec.norm == "batch"
        conv = SlimConv2d(
            self.cell,
            self.spec.high,
            inputs,
            outputs,
            kernel_size,
            stride=stride,
            padding=padding,
            groups=groups,
            depthwise=depthwise,
            bias=not batch,
            gain=1.0 if activation is None else 2.0,
        )
        norm = self.norm(outputs.blocks(groups)) if batch else nn.Identity()
        return [conv, norm, *([_module(activation)] if activation is not None else [])]

    def norm(self, outputs: Channels) -> nn.Module:
        """The BatchNorm of the net's family."""
        if self.spec.widths:
            return PrivateBatchNorm2d(self.cell, outputs, self.spec.widths, eps=self.norm_eps)
        return SharedBatchNorm2d(self.cell, self.spec.high, outputs, eps=self.norm_eps)

    def classifier(self, inputs: Channels) -> nn.Sequential:
        """The linear head on pooled features."""
        return nn.Sequential(
            SlimLinear(self.cell, self.spec.high, inputs, self.fixed("classes", self.spec.num_classes))
        )


def _module(activation: Activation) -> nn.Module:
    if not isinstance(activation, type):
        return Apply(activation)
    in_place = "inplace" in inspect.signature(activation).parameters
    made: nn.Module = activation(inplace=True) if in_place else activation()
    return made


def initialise(net: nn.Module, spec: ModelSpec) -> None:
    """Fill the weights.

    With BatchNorm: He's normal by fan-out for convolutions. Without, what follows must keep the signal's size at
    *every* width and depth: He's normal by fan-in, with ``_CORE_SHARE`` of a row's variance on the columns that the
    narrowest net has, so that all widths begin with about the same activations (a plain He start would shrink them by
    the square root of the width in each layer, 10,000-fold through a quarter-width MobileNetV1); and residual branches
    end in zero, so that a block begins as its shortcut ("Fixup Initialization", ICLR 2019). Classifier N(0, 0.01);
    biases 0.
    """
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, SlimConv2d):
                if module.bias is not None:
                    module.bias.zero_()
                if spec.norm == "batch":
                    fan_out = module.weight.shape[0] // module.full_groups * module.kernel_size**2
                    module.weight.normal_(0.0, (2.0 / fan_out) ** 0.5)
                else:
                    _initialise_unnormalised(module, spec.low)
            elif isinstance(module, SlimLinear):
                module.weight.normal_(0.0, 0.01)
                module.bias.zero_()
        if spec.norm == "none":
            for module in net.modules():
                if isinstance(module, Residual):
                    _last_conv(module.body).weight.zero_()


_CORE_SHARE = 0.9


def _initialise_unnormalised(conv: SlimConv2d, low: Width) -> None:
    columns, area = conv.weight.shape[1], conv.kernel_size**2
    _, inputs, groups = conv.counts(low)
    core = inputs // groups
    share = 1.0 if core == columns else _CORE_SHARE
    conv.weight.normal_()
    conv.weight[:, :core] *= (conv.gain * share / (core * area)) ** 0.5
    conv.weight[:, core:] *= (conv.gain * (1.0 - share) / (max(columns - core, 1) * area)) ** 0.5


def _last_conv(body: nn.Module) -> SlimConv2d:
    return [module for module in body.modules() if isinstance(module, SlimConv2d)][-1]
