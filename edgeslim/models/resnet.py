"""ResNet-18 and ResNet-50 (He et al., 2015; stride in the 3x3), slimmable.

    features.0: conv7x7 BN ReLU maxpool (small images: conv3x3 BN ReLU) · features.1…: .body, .shortcut where the
    channels change · last: pool · classifier.0

The S family's channels are plain ``int(c·w)``, as published; the universally slimmable ones round to 8.
"""

from __future__ import annotations

from torch import nn

from edgeslim.models.blocks import Classifier, Residual
from edgeslim.models.builder import Builder
from edgeslim.models.channels import Channels
from edgeslim.models.network import Network, every_25, listed

STAGE_CHANNELS = (64, 128, 256, 512)
EXPANSION = 4  # of a bottleneck


def _basic(
    b: Builder, name: str, inputs: Channels, middle: Channels, outputs: Channels, stride: int
) -> list[nn.Module]:
    return [
        *b.conv_norm(inputs, middle, 3, stride=stride, activation=nn.ReLU),
        *b.conv_norm(middle, outputs, 3),
    ]


def _bottleneck(
    b: Builder, name: str, inputs: Channels, middle: Channels, outputs: Channels, stride: int
) -> list[nn.Module]:
    narrow = b.channels(f"{name}.narrow", middle.base)
    return [
        *b.conv_norm(inputs, middle, activation=nn.ReLU),
        *b.conv_norm(middle, narrow, 3, stride=stride, activation=nn.ReLU),
        *b.conv_norm(narrow, outputs),
    ]


def _stem(b: Builder, channels: Channels, stride: int, pool_stride: int) -> nn.Sequential:
    """Left-out halvings (``Builder.strides``) make it the 3x3 stem without pooling that small images need."""
    kernel_size = 7 if stride == 2 else 3
    layers = b.conv_norm(b.fixed("image", b.spec.in_channels), channels, kernel_size, stride=stride, activation=nn.ReLU)
    if pool_stride == 2:
        layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    return nn.Sequential(*layers)


def _build(b: Builder, repetitions: tuple[int, ...], *, bottleneck: bool) -> nn.Module:
    stem_stride, pool_stride, *stage_strides = b.strides(2, 2, 1, 2, 2, 2)
    channels = b.channels("stem", STAGE_CHANNELS[0])
    layers: list[nn.Module] = [_stem(b, channels, stem_stride, pool_stride)]
    for number, (base, count, stage_stride) in enumerate(
        zip(STAGE_CHANNELS, repetitions, stage_strides, strict=True), start=1
    ):
        # The first stage of ResNet-18 goes on with the stem's channels: no shortcut convolution there.
        if bottleneck or base != channels.base:
            stage = b.channels(f"stage{number}", base * EXPANSION if bottleneck else base)
        else:
            stage = channels
        for repetition in range(count):
            stride = stage_stride if repetition == 0 else 1
            name = f"features.{len(layers)}"
            middle = b.channels(f"{name}.middle", base)
            body = (_bottleneck if bottleneck else _basic)(b, name, channels, middle, stage, stride)
            shortcut = None if channels is stage else nn.Sequential(*b.conv_norm(channels, stage, stride=stride))
            layers.append(Residual(nn.Sequential(*body), shortcut=shortcut, activation=nn.ReLU(inplace=True)))
            channels = stage
    layers.append(nn.AdaptiveAvgPool2d(1))
    return Classifier(nn.Sequential(*layers), b.classifier(channels))


def build18(b: Builder) -> nn.Module:
    """ResNet-18."""
    return _build(b, (2, 2, 2, 2), bottleneck=False)


def build50(b: Builder) -> nn.Module:
    """ResNet-50."""
    return _build(b, (3, 4, 6, 3), bottleneck=True)


US_18 = Network(build=build18, ladder=every_25(250), listed=False)
US_50 = Network(build=build50, ladder=every_25(250), listed=False)
S_50 = Network(build=build50, ladder=listed(250, 500, 750, 1000), listed=True, rule="floor")
