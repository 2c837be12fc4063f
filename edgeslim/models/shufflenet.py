"""ShuffleNet v1 (Zhang et al., 2017) with 3 groups, slimmable as published: every group of a convolution is cut.

    features.0: repeat, conv3x3 (3 groups), BN ReLU maxpool without padding
    features.1…16: a: conv1x1 BN ReLU (3 groups) · b: shuffle dw3x3 BN · c: conv1x1 BN (3 groups)
                   stride 1: ReLU(x + y)    stride 2: ReLU(concat(y, avgpool(x)))
    features.17: pool · classifier.0

The published files hold one convolution per group (``head_i``, ``a_i``, ``c_i``); here the three are one grouped
convolution. Where all of the input goes to every group (the stem; ``a`` of the first unit, which ShuffleNet leaves
ungrouped) the input is repeated once per group: the same products, and one rule for every slice. The shuffle makes
"the first channels of every group" the first channels of the whole, so ``b`` is a plain prefix. Concatenations are cut
as one (``whole``), whatever part the first channels are of, and the branch stands before the pooled input: the
published weights were trained so.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeslim.models.blocks import Classifier, Repeat, Shuffle
from edgeslim.models.builder import Builder
from edgeslim.models.channels import Channels
from edgeslim.models.network import Network, listed

GROUPS = 3
STEM_CHANNELS = 24
STAGES = ((240, 4), (480, 8), (960, 4))  # (channels at 1.0, units); the first unit of a stage halves the image
COMPRESSION = 4  # output channels of a unit to its middle channels


class ShuffleUnit(nn.Module):
    """One unit; appends its pooled input to its branch instead of adding it where ``pool`` is given."""

    def __init__(
        self, a: nn.Sequential, b: nn.Sequential, c: nn.Sequential, *, whole: bool, pool: nn.Module | None
    ) -> None:
        super().__init__()
        self.whole = Repeat(GROUPS) if whole else nn.Identity()
        self.a, self.b, self.c = a, b, c
        self.pool = pool
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.c(self.b(self.a(self.whole(x))))
        joined = x + y if self.pool is None else torch.cat([y, self.pool(x)], dim=1)
        return self.activation(joined)  # type: ignore[no-any-return]


def _unit(
    b: Builder, name: str, inputs: Channels, stage_base: int, stride: int | None, *, whole: bool
) -> tuple[nn.Module, Channels]:
    """A unit and its output channels; ``stride`` None adds, a number concatenates."""
    middle = b.channels(f"{name}.middle", stage_base // COMPRESSION // GROUPS, ratio=GROUPS, movable=False)
    if stride is None:
        branch = outputs = inputs
    else:
        branch = b.channels(f"{name}.branch", (stage_base - inputs.base) // GROUPS, ratio=GROUPS, movable=False)
        outputs = b.joined(branch, inputs, whole=True)
    unit = ShuffleUnit(
        nn.Sequential(
            *b.conv_norm(b.repeated(inputs, GROUPS) if whole else inputs, middle, groups=GROUPS, activation=nn.ReLU)
        ),
        nn.Sequential(Shuffle(GROUPS), *b.conv_norm(middle, middle, 3, stride=stride or 1, depthwise=True)),
        nn.Sequential(*b.conv_norm(middle, branch, groups=GROUPS)),
        whole=whole,
        pool=None if stride is None else nn.AvgPool2d(3, stride=stride, padding=1),
    )
    return unit, outputs


def build(b: Builder) -> nn.Module:
    """The network."""
    stem_stride, pool_stride, *stage_strides = b.strides(2, 2, 2, 2, 2)
    stem = b.channels("stem", STEM_CHANNELS // GROUPS, ratio=GROUPS, movable=False)
    image = b.repeated(b.fixed("image", b.spec.in_channels), GROUPS)
    head = [Repeat(GROUPS), *b.conv_norm(image, stem, 3, stride=stem_stride, groups=GROUPS, activation=nn.ReLU)]
    if pool_stride == 2:
        head.append(nn.MaxPool2d(3, stride=2))
    layers: list[nn.Module] = [nn.Sequential(*head)]
    channels = b.joined(stem, whole=True)
    for (base, units), stage_stride in zip(STAGES, stage_strides, strict=True):
        for position in range(units):
            stride = stage_stride if position == 0 else None
            unit, channels = _unit(b, f"features.{len(layers)}", channels, base, stride, whole=len(layers) == 1)
            layers.append(unit)
    layers.append(nn.AdaptiveAvgPool2d(1))
    return Classifier(nn.Sequential(*layers), b.classifier(channels))


S = Network(build=build, ladder=listed(500, 1000, 2000), listed=True, rule="floor")
