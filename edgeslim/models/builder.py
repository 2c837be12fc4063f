"""What the network files are written with: layers on one width cell, strides that suit the image, first values."""

from __future__ import annotations

import torch
from torch import nn

from edgeslim.models.channels import Channels, Rule
from edgeslim.models.layers import PrivateBatchNorm2d, SharedBatchNorm2d, SlimConv2d, SlimLinear, WidthCell
from edgeslim.models.spec import ModelSpec


class Builder:
    """Makes the layers of one network."""

    def __init__(self, spec: ModelSpec, rule: Rule = "round8") -> None:
        self.spec = spec
        self.rule = rule
        self.cell = WidthCell(spec.high.permille)

    def channels(self, base: int, *, ratio: int = 1, movable: bool = True) -> Channels:
        """Channels that the width cuts."""
        return Channels(base=base, ratio=ratio, rule=self.rule, movable=movable)

    def fixed(self, count: int) -> Channels:
        """Channels that every width keeps."""
        return Channels(base=count, rule="fixed")

    def joined(self, *parts: Channels) -> Channels:
        """The concatenation of ``parts``."""
        return Channels(base=sum(part.base * part.ratio for part in parts), movable=False, parts=parts)

    def repeated(self, channels: Channels, times: int) -> Channels:
        """All of ``channels`` again and again (``blocks.Repeat``)."""
        return self.joined(*(channels,) * times)

    def strides(self, *strides: int) -> tuple[int, ...]:
        """The strides of a network, with the first halvings left out for small images.

        Networks for 224 px halve five times. Images of at most 32 px keep their first two halvings' resolution
        (a total stride of 8, so 32 px end as 4 x 4), images of at most 16 px three (stride 4, so 8 px end as 2 x 2).
        """
        size = self.spec.input_size
        left_out = 0 if size > 32 else 2 if size > 16 else 3
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
        groups: int = 1,
        depthwise: bool = False,
        activation: type[nn.Module] | None = None,
    ) -> list[nn.Module]:
        """Convolution, its BatchNorm as the next neighbour (an Identity without normalisation), activation."""
        batch = self.spec.norm == "batch"
        conv = SlimConv2d(
            self.cell,
            self.spec.high,
            inputs,
            outputs,
            kernel_size,
            stride=stride,
            groups=groups,
            depthwise=depthwise,
            bias=not batch,
        )
        norm = self._norm(outputs) if batch else nn.Identity()
        return [conv, norm, *([activation(inplace=True)] if activation is not None else [])]

    def _norm(self, outputs: Channels) -> nn.Module:
        if self.spec.widths:
            return PrivateBatchNorm2d(self.cell, outputs, self.spec.widths)
        return SharedBatchNorm2d(self.cell, self.spec.high, outputs)

    def classifier(self, inputs: Channels) -> nn.Sequential:
        """The linear head on pooled features."""
        return nn.Sequential(SlimLinear(self.cell, self.spec.high, inputs, self.fixed(self.spec.num_classes)))


def initialise(net: nn.Module) -> None:
    """Fill the weights: He's normal by fan-out for convolutions, N(0, 0.01) for the classifier, zero biases."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, SlimConv2d):
                fan_out = module.weight.shape[0] // module.full_groups * module.kernel_size**2
                module.weight.normal_(0.0, (2.0 / fan_out) ** 0.5)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, SlimLinear):
                module.weight.normal_(0.0, 0.01)
                module.bias.zero_()
