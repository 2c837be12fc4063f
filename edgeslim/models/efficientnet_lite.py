"""EfficientNet-Lite0 (Tan and Le, 2019; the Lite variant of 2020), slimmable: no squeeze-and-excitation, ReLU6.

    features.0: conv3x3 BN ReLU6 · features.1…16.body: [conv1x1 BN ReLU6] dw3x3 or dw5x5 BN ReLU6 conv1x1 BN
    features.17: conv1x1 to 1280 at every width, BN, ReLU6 · features.18: pool · classifier.0

As published it pads like TensorFlow's SAME. A convolution that halves an even image gets kernel - 2 zeros in all, the
odd one below and to the right: (0, 1) for 3x3 and (1, 2) for 5x5, so a padding of its own (``pad``) goes before it.
Sizes of a multiple of 32 halve evenly to the end; of others the last row or column of an odd image goes unseen.
BatchNorm adds 0.001 to variances; pixels are (byte - 127) / 128, after a bicubic resize.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from edgeslim.models.blocks import Chain, Classifier, Residual
from edgeslim.models.builder import Builder
from edgeslim.models.channels import Channels
from edgeslim.models.network import Network, every_25

# (expansion t, channels at 1.0, repetitions, stride of the first, kernel)
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
TAIL_CHANNELS = 1280


def _sequence(layers: list[nn.Module], *, strided: int, kernel_size: int, stride: int) -> nn.Sequential:
    """``layers`` under their numbers; what SAME adds for the ``strided`` one before it, under a name of its own."""
    named: OrderedDict[str, nn.Module] = OrderedDict()
    for position, layer in enumerate(layers):
        if stride == 2 and position == strided:
            before = (kernel_size - 2) // 2
            after = kernel_size - 2 - before
            named["pad"] = nn.ZeroPad2d((before, after, before, after))
        named[str(position)] = layer
    return nn.Sequential(named)


def _block(
    b: Builder, name: str, inputs: Channels, outputs: Channels, *, expansion: int, stride: int, kernel_size: int
) -> nn.Module:
    layers: list[nn.Module] = []
    hidden = inputs
    if expansion != 1:
        hidden = b.channels(f"{name}.hidden", inputs.base, ratio=expansion)
        layers += b.conv_norm(inputs, hidden, activation=nn.ReLU6)
    strided = len(layers)
    padding = 0 if stride == 2 else None
    layers += b.conv_norm(
        hidden, hidden, kernel_size, stride=stride, padding=padding, depthwise=True, activation=nn.ReLU6
    )
    layers += b.conv_norm(hidden, outputs)
    body = _sequence(layers, strided=strided, kernel_size=kernel_size, stride=stride)
    return Residual(body) if inputs is outputs else Chain(body)


def build(b: Builder) -> nn.Module:
    """The network."""
    stem_stride, *stage_strides = b.strides(2, *(stride for _, _, _, stride, _ in STAGES))
    channels = b.channels("stem", 32)
    image = b.fixed("image", b.spec.in_channels)
    padding = 0 if stem_stride == 2 else None
    stem = b.conv_norm(image, channels, 3, stride=stem_stride, padding=padding, activation=nn.ReLU6)
    layers: list[nn.Module] = [_sequence(stem, strided=0, kernel_size=3, stride=stem_stride)]
    for number, ((expansion, base, repetitions, _, kernel_size), stage_stride) in enumerate(
        zip(STAGES, stage_strides, strict=True), start=1
    ):
        stage = b.channels(f"stage{number}", base)
        for repetition in range(repetitions):
            # Blocks after the first of a stage keep shape and channels: inputs *is* outputs, so they are residual.
            stride = stage_stride if repetition == 0 else 1
            name = f"features.{len(layers)}"
            layers.append(_block(b, name, channels, stage, expansion=expansion, stride=stride, kernel_size=kernel_size))
            channels = stage
    tail = b.fixed("tail", TAIL_CHANNELS)
    layers.append(nn.Sequential(*b.conv_norm(channels, tail, activation=nn.ReLU6)))
    layers.append(nn.AdaptiveAvgPool2d(1))
    return Classifier(nn.Sequential(*layers), b.classifier(tail))


US_0 = Network(
    build=build,
    ladder=every_25(350),
    listed=False,
    norm_eps=1e-3,
    normalisation=("0.498", "0.502"),
    interpolation="bicubic",
)
