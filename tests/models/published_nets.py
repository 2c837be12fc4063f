"""The six published slimmable networks in plain torch, written from the papers, in the published files' own layout.

    net = PublishedNet("us_mobilenet_v2", classes=10)
    net.save(path)                  what the published training code leaves: keys, sizes, counters
    net(x, index)                   what it computes at the width of that index: (N, 3, H, W) → (N, classes)

Apart from edgeslim's own networks on purpose: nothing here is imported from it, and every layer is a functional call
on the file's tensors. "MobileNets" (2017), "MobileNetV2" (2018), "Deep Residual Learning" (2015), "ShuffleNet" (2017),
"Slimmable Neural Networks" (ICLR 2019), "Universally Slimmable Networks" (ICCV 2019).

One description per network is both its keys and its function: a tensor that is not there yet is made when it is first
needed. Widths run from the widest down, so that weights are made at their full size; statistics are those of the batch
that runs, shaken, so that every width has signals as in a trained net.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

LADDERS = {
    "us_mobilenet_v1": [permille / 1000 for permille in range(250, 1001, 25)],
    "us_mobilenet_v2": [permille / 1000 for permille in range(350, 1001, 25)],
    "s_mobilenet_v1": [0.25, 0.5, 0.75, 1.0],
    "s_mobilenet_v2": [0.35, 0.5, 0.75, 1.0],
    "s_resnet50": [0.25, 0.5, 0.75, 1.0],
    "s_shufflenet": [0.5, 1.0, 2.0],
}
EPS = 1e-5


def divisible(value: float) -> int:
    """The MobileNets' rounding to a multiple of 8 that loses no more than a tenth; 1 is the least."""
    rounded = max(1, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


class PublishedNet:
    """Tensors under the published keys (without the wrapper's ``module.``), and the function of every width."""

    def __init__(
        self, name: str, *, classes: int = 1000, in_channels: int = 3, widths: list[float] | None = None, seed: int = 0
    ) -> None:
        self.name = name
        self.private = name.startswith("s_")
        self.widths = widths or LADDERS[name]
        self.tensors: dict[str, Tensor] = {}
        self._classes = classes
        self._network = NETWORKS[name.partition("_")[2]]
        self._random = torch.Generator().manual_seed(seed)
        example = torch.randn(4, in_channels, 64, 64, generator=self._random)
        for index in sorted(range(len(self.widths)), key=lambda index: -self.widths[index]):
            self(example, index)

    def __call__(self, x: Tensor, index: int) -> Tensor:
        """The logits at the width of this index."""
        self._index, self.width = index, self.widths[index]
        features = self._network(self, x).mean((2, 3))
        weight = self._get("classifier.0.weight", lambda: self._normal(self._classes, features.shape[1]) / 10)
        bias = self._get("classifier.0.bias", lambda: self._normal(self._classes))
        return F.linear(features, weight[:, : features.shape[1]].to(x.dtype), bias.to(x.dtype))

    def state_dict(self, prefix: str = "module.") -> dict[str, Tensor]:
        return {f"{prefix}{key}": tensor for key, tensor in self.tensors.items()}

    def save(self, path: Path, *, wrap: bool = True) -> None:
        torch.save({"model": self.state_dict()} if wrap else self.state_dict(), path)

    # -- what the networks are written with --------------------------------------------------------------------------

    def conv(
        self, name: str, x: Tensor, outputs: int, size: int = 1, *, stride: int = 1, depthwise: bool = False
    ) -> Tensor:
        """The first rows and columns; no bias."""
        columns = 1 if depthwise else x.shape[1]
        lean = 1.0 if depthwise else 0.1  # sums that do not all but vanish keep float32's rounding small
        weight = self._get(f"{name}.weight", lambda: self._normal(outputs, columns, size, size) / 2 + lean)
        used = weight[:outputs, :columns].to(x.dtype)
        return F.conv2d(x, used, stride=stride, padding=size // 2, groups=x.shape[1] if depthwise else 1)

    def norm(self, name: str, x: Tensor, *, plain: bool = False) -> Tensor:
        """Gamma and beta: shared by all widths, or one pair each; mean and variance always of their own, but for a
        ``plain`` BatchNorm."""
        channels = x.shape[1]
        own = "" if plain else f"bn.{self._index}."
        affine = own if self.private else ""
        gamma = self._get(f"{name}.{affine}weight", lambda: 1 + 0.2 * self._normal(channels))[:channels]
        beta = self._get(f"{name}.{affine}bias", lambda: 0.2 * self._normal(channels))[:channels]
        power = (x.square().mean((0, 2, 3)) + x.square().mean()) / 2  # no channel is amplified out of proportion
        mean = self._get(f"{name}.{own}running_mean", lambda: power.sqrt() * 0.2 * self._normal(channels))
        var = self._get(f"{name}.{own}running_var", lambda: power * self._uniform(channels))
        # The universally slimmable BatchNorm calls the functional form, so nobody ever counts.
        counter = 0 if not self.private and not plain else 312_500
        self._get(f"{name}.{own}num_batches_tracked", lambda: torch.tensor(counter))
        scale = gamma.to(x.dtype) / (var.to(x.dtype) + EPS).sqrt()
        shift = beta.to(x.dtype) - mean.to(x.dtype) * scale
        return x * scale[:, None, None] + shift[:, None, None]

    def _get(self, key: str, make: Callable[[], Tensor]) -> Tensor:
        if key not in self.tensors:
            self.tensors[key] = make()
        return self.tensors[key]

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self._random)

    def _uniform(self, *shape: int) -> Tensor:
        return 0.8 + 0.4 * torch.rand(*shape, generator=self._random)


# -- the networks ------------------------------------------------------------------------------------------------------


def mobilenet_v1(net: PublishedNet, x: Tensor) -> Tensor:
    x = net.norm("features.0.1", net.conv("features.0.0", x, divisible(32 * net.width), 3, stride=2)).relu()
    block = 0
    for channels, repetitions, first in ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2)):
        for repetition in range(repetitions):
            block += 1
            body = f"features.{block}.body"
            stride = first if repetition == 0 else 1
            x = net.conv(f"{body}.0", x, x.shape[1], 3, stride=stride, depthwise=True)
            x = net.norm(f"{body}.1", x).relu()
            x = net.norm(f"{body}.4", net.conv(f"{body}.3", x, divisible(channels * net.width))).relu()
    return x


def mobilenet_v2(net: PublishedNet, x: Tensor) -> Tensor:
    def relu6(y: Tensor) -> Tensor:
        return y.clamp(0, 6)

    x = relu6(net.norm("features.0.1", net.conv("features.0.0", x, divisible(32 * net.width), 3, stride=2)))
    block = 0
    settings = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    for expansion, channels, repetitions, first in settings:
        for repetition in range(repetitions):
            block += 1
            body, y, place = f"features.{block}.body", x, 0
            stride, outputs = (first if repetition == 0 else 1), divisible(channels * net.width)
            if expansion != 1:
                y = relu6(net.norm(f"{body}.1", net.conv(f"{body}.0", y, expansion * x.shape[1])))
                place = 3
            y = net.conv(f"{body}.{place}", y, y.shape[1], 3, stride=stride, depthwise=True)
            y = relu6(net.norm(f"{body}.{place + 1}", y))
            y = net.norm(f"{body}.{place + 4}", net.conv(f"{body}.{place + 3}", y, outputs))
            x = x + y if repetition else y
    return relu6(net.norm("features.18.1", net.conv("features.18.0", x, 1280), plain=True))


def resnet50(net: PublishedNet, x: Tensor) -> Tensor:
    x = net.norm("features.0.1", net.conv("features.0.0", x, int(64 * net.width), 7, stride=2)).relu()
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    block = 0
    for channels, repetitions, first in ((256, 3, 1), (512, 4, 2), (1024, 6, 2), (2048, 3, 2)):
        for repetition in range(repetitions):
            block += 1
            body, shortcut = f"features.{block}.body", f"features.{block}.shortcut"
            stride, outputs = (first if repetition == 0 else 1), int(channels * net.width)
            y = net.norm(f"{body}.1", net.conv(f"{body}.0", x, outputs // 4)).relu()
            y = net.norm(f"{body}.4", net.conv(f"{body}.3", y, outputs // 4, 3, stride=stride)).relu()
            y = net.norm(f"{body}.7", net.conv(f"{body}.6", y, outputs))
            if repetition == 0:
                x = net.norm(f"{shortcut}.1", net.conv(f"{shortcut}.0", x, outputs, stride=stride))
            x = (x + y).relu()
    return x


def shufflenet(net: PublishedNet, x: Tensor) -> Tensor:
    """Three groups, every group a convolution of its own: ``a_0``, ``a_1``, ``a_2``."""

    def grouped(name: str, inputs: list[Tensor], outputs: int, size: int = 1, stride: int = 1) -> Tensor:
        convolved = [
            net.norm(f"{name}_{g}.1", net.conv(f"{name}_{g}.0", part, outputs // 3, size, stride=stride))
            for g, part in enumerate(inputs)
        ]
        return torch.cat(convolved, 1)

    x = F.max_pool2d(grouped("head", [x] * 3, int(24 * net.width), 3, 2).relu(), 3, stride=2)
    unit = 0
    for channels, repetitions in ((240, 4), (480, 8), (960, 4)):
        for repetition in range(repetitions):
            outputs, halves, name = int(channels * net.width), repetition == 0, f"features.{unit}"
            parts = [x] * 3 if unit == 0 else list(x.chunk(3, 1))
            y = grouped(f"{name}.a", parts, outputs // 4).relu()
            y = y.reshape(len(y), 3, -1, *y.shape[2:]).transpose(1, 2).flatten(1, 2)
            y = net.conv(f"{name}.b.1", y, y.shape[1], 3, stride=2 if halves else 1, depthwise=True)
            y = net.norm(f"{name}.b.2", y)
            y = grouped(f"{name}.c", list(y.chunk(3, 1)), outputs - x.shape[1] if halves else outputs)
            x = torch.cat([y, F.avg_pool2d(x, 3, stride=2, padding=1)], 1).relu() if halves else (x + y).relu()
            unit += 1
    return x


NETWORKS: dict[str, Callable[[PublishedNet, Tensor], Tensor]] = {
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "resnet50": resnet50,
    "shufflenet": shufflenet,
}
