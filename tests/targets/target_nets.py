"""Small nets with everything the published ones have, and what their artifacts say."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgeslim.core.width import Width, net_id
from edgeslim.deploy.fold import fold
from edgeslim.models.registry import create
from edgeslim.models.sliced import SlicedModel
from edgeslim.models.static import batch_norms
from edgeslim.targets.base import Metadata

SIZE, CLASSES = 32, 5
LABELS = ("ape", "bee", "cat", "dog and cat", "élan")
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def sliced(name: str, permille: int, *, size: int = SIZE) -> SlicedModel:
    """A folded net whose BatchNorms look as if trained; the classifier's bias is not zero."""
    torch.manual_seed(0)
    model = create(name, num_classes=CLASSES, input_size=size)
    twin: Any = model.static(Width(permille))
    norm: Any
    with torch.no_grad():
        for norm in batch_norms(twin).values():
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(std=0.2)
            norm.running_mean.normal_(std=0.1)
            norm.running_var.uniform_(0.5, 1.5)
            norm.num_batches_tracked.fill_(1)
        for module in twin.classifier.modules():
            if isinstance(module, torch.nn.Linear):
                module.bias.normal_()
    return fold(twin.eval())


def metadata(width: Width, *, labels: tuple[str, ...] = LABELS) -> Metadata:
    return Metadata(
        model="test_net",
        net=net_id(width.permille),
        version="7",
        mean=MEAN,
        std=STD,
        labels=labels,
        author="Ann Author",
        licence="CC0-1.0",
        description="A net for tests, ünïcode",
    )


def pixels(seed: int = 0, *, size: int = SIZE) -> NDArray[np.uint8]:
    """uint8 [1, H, W, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (1, size, size, 3), dtype=np.uint8)


def normalised(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 [1, 3, H, W], by the definition in ``Metadata``."""
    scaled = (image / 255 - np.array(MEAN)) / np.array(STD)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), dtype=np.float32)


def sqnr_db(reference: NDArray[np.float64], output: NDArray[np.float32]) -> float:
    """Infinity where they are equal."""
    with np.errstate(divide="ignore"):
        return float(10 * np.log10((reference**2).sum() / ((reference - output) ** 2).sum()))


def logits_of(net: SlicedModel, image: NDArray[np.float32]) -> NDArray[np.float64]:
    with torch.inference_mode():
        return np.asarray(net(torch.from_numpy(image)), np.float64)
