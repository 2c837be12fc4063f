"""A network with a block and a forward of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeslim.models.builder import Builder
from edgeslim.models.channels import Channels
from edgeslim.models.network import Network, every_25


class TwoWays(nn.Module):
    """A 3x3 and a 1x1 convolution of the same input, added: both ways need the same channels."""

    def __init__(self, b: Builder, inputs: Channels, outputs: Channels, stride: int) -> None:
        super().__init__()
        self.around = nn.Sequential(*b.conv_norm(inputs, outputs, 3, stride=stride))
        self.through = nn.Sequential(*b.conv_norm(inputs, outputs, 1, stride=stride))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.around(x) + self.through(x))


class Branches(nn.Module):
    """The head sees what both blocks saw, one behind the other."""

    def __init__(self, b: Builder) -> None:
        super().__init__()
        stem_stride, first_stride = b.strides(2, 2)
        stem, first, second = (b.channels(name, base) for name, base in (("stem", 16), ("first", 24), ("second", 32)))
        image = b.fixed("image", b.spec.in_channels)
        self.stem = nn.Sequential(*b.conv_norm(image, stem, 3, stride=stem_stride, activation=nn.SiLU))
        self.first = TwoWays(b, stem, first, first_stride)
        self.second = TwoWays(b, first, second, 1)
        self.classifier = b.classifier(b.joined(first, second))

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(self.stem(x))
        seen = torch.cat([first, self.second(first)], dim=1)
        result: Tensor = self.classifier(seen.mean((2, 3)))
        return result


BRANCHES = Network(build=Branches, ladder=every_25(250), listed=False)
