"""Small nets with the layers that slimmable nets are exported with, and what goes into them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeslim.targets.base import Metadata

SIZE, CLASSES = 32, 5
NET = "0250"
LABELS = ("ape", "bee", "cat", "dog and cat", "élan")
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


class SmallNet(nn.Module):
    """Stem, depthwise, pointwise with a skip, pooling, linear: a MobileNet in small, batch norms folded."""

    def __init__(self, *, channels: int = 24) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)
        self.tail = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
        self.classifier = nn.Linear(2 * channels, CLASSES)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=(2 / module.weight[0].numel()) ** 0.5)
                if module.bias is not None:
                    nn.init.normal_(module.bias, std=0.2)

    def features(self, image: Tensor) -> Tensor:
        x = nn.functional.relu6(self.stem(image))
        x = x + self.pointwise(nn.functional.relu6(self.depthwise(x)))
        return nn.functional.relu6(self.tail(x))

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(image).mean((2, 3)))
        return logits


class TwoHeads(SmallNet):
    """Two outputs of one shape, so that only their names tell them apart, and one that is an image."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Linear(48, CLASSES)
        self.map = nn.Conv2d(48, 2, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        x = self.features(image)
        pooled = x.mean((2, 3))
        return self.value(pooled), self.classifier(pooled), self.map(x)


class TwoInputs(nn.Module):
    """Two inputs of one shape that count differently."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.goal = nn.Linear(32, 64), nn.Linear(32, 64)
        self.policy = nn.Linear(64, 32)

    def forward(self, seen: Tensor, goal: Tensor) -> Tensor:
        result: Tensor = self.policy(torch.relu(self.seen(seen) + self.goal(goal)))
        return result


class Unexportable(nn.Module):
    """Depends on the values of its input, which no exporter can take."""

    def forward(self, x: Tensor) -> Tensor:
        print("a word on standard output")
        return x.mean((2, 3)) if float(x.sum()) > 1 else x.mean((2, 3)) + 1


def seeded(make: type[nn.Module]) -> nn.Module:
    """A net with the same random weights every time, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().eval()


def metadata(*, labels: tuple[str, ...] = LABELS) -> Metadata:
    return Metadata(
        model="test_net",
        net=NET,
        version="7",
        mean=MEAN,
        std=STD,
        labels=labels,
        author="Ann Author",
        licence="CC0-1.0",
        description="A net for tests, ünïcode",
    )


def pixels(seed: int = 0) -> NDArray[np.uint8]:
    """uint8 [1, H, W, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (1, SIZE, SIZE, 3), dtype=np.uint8)


def normalised(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 [1, 3, H, W], by the definition in ``Metadata``."""
    scaled = (image / 255 - np.array(MEAN)) / np.array(STD)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), dtype=np.float32)


def answers(net: nn.Module, *inputs: NDArray[np.float32]) -> tuple[NDArray[np.float64], ...]:
    """What PyTorch says, in float64."""
    with torch.inference_mode():
        made = net(*map(torch.from_numpy, inputs))
    results = made if isinstance(made, tuple) else (made,)
    return tuple(result.numpy().astype(np.float64) for result in results)


def sqnr_db(reference: NDArray[np.float64], output: NDArray[np.float32]) -> float:
    """Signal to quantisation noise ratio; 300 for equal numbers."""
    noise = float(((reference - output) ** 2).sum())
    return 300.0 if noise == 0 else float(10 * np.log10((reference**2).sum() / noise))
