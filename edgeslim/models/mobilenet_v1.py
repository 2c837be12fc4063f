"""MobileNetV1 (Howard et al., 2017), slimmable: depthwise 3x3 and pointwise 1x1 in turn, 13 times.

features.0: conv3x3 BN ReLU · features.1…13.body: dw3x3 BN ReLU conv1x1 BN ReLU · features.14: pool · classifier.0
"""

from __future__ import annotations

from torch import nn

from edgeslim.models.blocks import Chain, Classifier
from edgeslim.models.builder import Builder
from edgeslim.models.network import Network, every_25, listed

# (channels at 1.0, repetitions, stride of the first)
STAGES = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))


def build(b: Builder) -> nn.Module:
    """The network."""
    stem_stride, *stage_strides = b.strides(2, *(stride for _, _, stride in STAGES))
    channels = b.channels("stem", 32)
    layers: list[nn.Module] = [
        nn.Sequential(
            *b.conv_norm(b.fixed("image", b.spec.in_channels), channels, 3, stride=stem_stride, activation=nn.ReLU),
        )
    ]
    for (base, repetitions, _), stage_stride in zip(STAGES, stage_strides, strict=True):
        for repetition in range(repetitions):
            inputs, channels = channels, b.channels(f"features.{len(layers)}", base)
            stride = stage_stride if repetition == 0 else 1
            body = nn.Sequential(
                *b.conv_norm(inputs, inputs, 3, stride=stride, depthwise=True, activation=nn.ReLU),
                *b.conv_norm(inputs, channels, activation=nn.ReLU),
            )
            layers.append(Chain(body))
    layers.append(nn.AdaptiveAvgPool2d(1))
    return Classifier(nn.Sequential(*layers), b.classifier(channels))


US = Network(build=build, ladder=every_25(250), listed=False)
S = Network(build=build, ladder=listed(250, 500, 750, 1000), listed=True)
