"""MobileNetV2 (Sandler et al., 2018), slimmable: inverted residuals, expanded channels are t x the rounded base.

features.0: conv3x3 BN ReLU6 · features.1…17.body: [conv1x1 BN ReLU6] dw3x3 BN ReLU6 conv1x1 BN
features.18: conv1x1 to 1280 at every width, BN, ReLU6 · features.19: pool · classifier.0
"""

from __future__ import annotations

from torch import nn

from edgeslim.models.blocks import Chain, Classifier, Residual
from edgeslim.models.builder import Builder
from edgeslim.models.channels import Channels
from edgeslim.models.network import Network, every_25, listed

# (expansion t, channels at 1.0, repetitions, stride of the first)
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
TAIL_CHANNELS = 1280


def _block(b: Builder, name: str, inputs: Channels, outputs: Channels, *, expansion: int, stride: int) -> nn.Module:
    layers: list[nn.Module] = []
    hidden = inputs
    if expansion != 1:
        hidden = b.channels(f"{name}.hidden", inputs.base, ratio=expansion)
        layers += b.conv_norm(inputs, hidden, activation=nn.ReLU6)
    layers += b.conv_norm(hidden, hidden, 3, stride=stride, depthwise=True, activation=nn.ReLU6)
    layers += b.conv_norm(hidden, outputs)
    body = nn.Sequential(*layers)
    return Residual(body) if inputs is outputs else Chain(body)


def build(b: Builder) -> nn.Module:
    """The network."""
    stem_stride, *stage_strides = b.strides(2, *(stride for *_, stride in STAGES))
    channels = b.channels("stem", 32)
    layers: list[nn.Module] = [
        nn.Sequential(
            *b.conv_norm(b.fixed("image", b.spec.in_channels), channels, 3, stride=stem_stride, activation=nn.ReLU6),
        )
    ]
    for number, ((expansion, base, repetitions, _), stage_stride) in enumerate(
        zip(STAGES, stage_strides, strict=True), start=1
    ):
        stage = b.channels(f"stage{number}", base)
        for repetition in range(repetitions):
            # Blocks after the first of a stage keep shape and channels: inputs *is* outputs, so they are residual.
            stride = stage_stride if repetition == 0 else 1
            layers.append(_block(b, f"features.{len(layers)}", channels, stage, expansion=expansion, stride=stride))
            channels = stage
    tail = b.fixed("tail", TAIL_CHANNELS)
    layers.append(nn.Sequential(*b.conv_norm(channels, tail, activation=nn.ReLU6)))
    layers.append(nn.AdaptiveAvgPool2d(1))
    return Classifier(nn.Sequential(*layers), b.classifier(tail))


US = Network(build=build, ladder=every_25(350), listed=False)
S = Network(build=build, ladder=listed(350, 500, 750, 1000), listed=True)
