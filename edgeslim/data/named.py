"""Data sets by name.

    digits          the 1,797 real 8 px scans bundled with scikit-learn; nothing to download
    cifar10, cifar100, fashion_mnist      through torchvision.datasets; downloaded only when asked to
    imagenet        folders of the data root: train/<wnid>/, val/<wnid>/
    folder:PATH     train/<class>/, test/<class>/ (or val/) in a folder or a .zip

Other packages bring more (``data.REGISTRY``). torchvision is imported where it is needed: it takes longer than torch
itself, and digits never need it.

Small sets are held in memory as uint8; large ones are decoded by workers. Split ``calib`` is a fixed part of
the training images in evaluation dress, as BatchNorm statistics are taken ("Universally Slimmable Networks",
ICCV 2019, §3.3).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from platformdirs import user_cache_path
from torch import Tensor

from edgeslim.core.canonical_json import decimal_text
from edgeslim.core.pixels import IMAGENET_MEAN, IMAGENET_STD, ImageContract
from edgeslim.data import REGISTRY, Wanted
from edgeslim.data.files import index_files
from edgeslim.data.images import IN_MEMORY_BYTES, ImageSet, prepared, probe
from edgeslim.errors import DataError, MissingExtraError
from edgeslim.registry import OWN

SPLITS = ("train", "calib", "test")
CALIB_IMAGES = 512  # within 0.15 points of 8,192 on ImageNet


def load_data(
    name: str,
    split: str,
    *,
    input_size: int | None = None,
    in_channels: int = 3,
    images: int | None = None,
    root: Path | None = None,
    download: bool = False,
    workers: int = 0,
) -> ImageSet:
    """Load one split of a data set.

    Args:
        name: one of ``data.REGISTRY``, or ``folder:PATH``.
        split: ``train``, ``calib`` or ``test``.
        input_size: pixels per side of the model's input; None: the set's own.
        in_channels: 1 or 3; gray scans are repeated, colours are turned gray.
        images: at most so many, evenly spread; None: all (``calib``: 512).
        root: folder that holds downloaded sets; None: the user's cache.
        download: fetch what is missing; without it a missing set is an error.
        workers: processes that decode large sets.

    Raises:
        DataError: unknown name or split, missing or damaged files.
    """
    if split not in SPLITS:
        raise DataError(f"no split {split!r}: expected one of {', '.join(SPLITS)}")
    if in_channels not in (1, 3):
        raise DataError(f"images have 1 or 3 channels, not {in_channels}")
    if input_size is not None and input_size < 8:
        raise DataError(f"an input size of {input_size} px is too small: at least 8")
    if images is not None and images < 1:
        raise DataError(f"cannot take {images} images: at least 1")
    kind, _, rest = name.partition(":")
    load = REGISTRY.get(kind)
    origin = REGISTRY.entry(kind).origin
    if rest and origin == OWN and kind != "folder":
        raise DataError(f"no data set {name!r}: {kind} takes nothing after its name", hint=f"--data {kind}")
    wanted = Wanted(
        split=split,
        rest=rest,
        input_size=input_size,
        in_channels=in_channels,
        images=CALIB_IMAGES if images is None and split == "calib" else images,
        root=root or user_cache_path("edgeslim") / "data",
        download=download,
        workers=workers,
    )
    found: object = load(wanted)
    if not isinstance(found, ImageSet):
        raise DataError(
            f"the data set {name!r} of {origin.distribution} gave a {type(found).__name__}, expected an ImageSet",
            hint=f"update or uninstall {origin.distribution}",
        )
    return found


def digits(wanted: Wanted) -> ImageSet:
    """scikit-learn's scans."""
    pixels, labels, classes = _digits(wanted.split)
    return in_memory(
        wanted, "digits", pixels, labels, classes, input_size=8, mean=("0.306",), std=("0.319",), flips=False
    )


def cifar10(wanted: Wanted) -> ImageSet:
    """Photos of 32 px."""
    mean, std = ("0.4914", "0.4822", "0.4465"), ("0.247", "0.2435", "0.2616")
    return in_memory(wanted, "cifar10", *_torchvision_set("cifar10", "CIFAR10", wanted), mean=mean, std=std)


def cifar100(wanted: Wanted) -> ImageSet:
    """Photos of 32 px."""
    mean, std = ("0.5071", "0.4866", "0.4409"), ("0.2673", "0.2564", "0.2762")
    return in_memory(wanted, "cifar100", *_torchvision_set("cifar100", "CIFAR100", wanted), mean=mean, std=std)


def fashion_mnist(wanted: Wanted) -> ImageSet:
    """Gray pictures of clothes, enlarged from 28 to 32 px."""
    found = _torchvision_set("fashion_mnist", "FashionMNIST", wanted)
    return in_memory(wanted, "fashion_mnist", *found, mean=("0.286",), std=("0.353",))


def imagenet(wanted: Wanted) -> ImageSet:
    """Below the data root."""
    return _from_files(wanted, "imagenet", wanted.root / "imagenet", wanted.input_size or 224)


def folder(wanted: Wanted) -> ImageSet:
    """One's own images."""
    path = Path(wanted.rest).expanduser()
    return _from_files(wanted, f"folder:{path.name}", path, wanted.input_size or _native_size(path, wanted.split))


def in_memory(
    wanted: Wanted,
    name: str,
    pixels: Tensor,
    labels: Tensor,
    classes: tuple[str, ...],
    *,
    input_size: int = 32,
    mean: tuple[str, ...],
    std: tuple[str, ...],
    flips: bool = True,
) -> ImageSet:
    """A set that fits into memory, subset and brought to the wanted size and channels.

    Args:
        pixels: uint8 (N, C, H, W) with C of 1 or 3; all of the split.
        labels: int64 (N,), positions in ``classes``.
        input_size: pixels per side where nobody asks for others.
        mean, std: of the training images per channel, values in [0, 1], as decimal text.
        flips: whether a mirrored image is still an image of its class.
    """
    size, channels = wanted.input_size or input_size, wanted.in_channels
    found = ImageSet(
        name=name,
        split=wanted.split,
        pixels=pixels,
        original=pixels,
        labels=labels,
        classes=classes,
        contract=_contract(mean, std, channels, size, crop="1"),
        flips=flips,
    )
    if wanted.images is not None:
        found = found.subset(wanted.images)
    assert isinstance(found.original, Tensor)
    if found.original.shape[1:] == (channels, size, size):
        return found
    return found.with_pixels(prepared(found.original, found.contract))


def _contract(mean: tuple[str, ...], std: tuple[str, ...], channels: int, size: int, crop: str) -> ImageContract:
    return ImageContract(
        channels=channels,
        height=size,
        width=size,
        order="rgb" if channels == 3 else "gray",
        mean=_per_channel(mean, channels),
        std=_per_channel(std, channels),
        crop=crop,
    )


def _per_channel(values: tuple[str, ...], channels: int) -> tuple[str, ...]:
    if len(values) == channels:
        return values
    return values * 3 if channels == 3 else (decimal_text(sum(map(float, values)) / len(values)),)


def _digits(split: str) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """uint8 (N, 1, 8, 8). A fixed quarter (450) is the test set, chosen by a hash of the index so that it stays
    the same with every version of every library."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise MissingExtraError("sklearn", "train") from error
    scans: Any = load_digits()
    order = sorted(range(len(scans.target)), key=lambda i: hashlib.sha256(f"digit {i}".encode()).digest())
    chosen = order[:450] if split == "test" else order[450:]
    values = torch.from_numpy(scans.images).mul(255 / 16).round().to(torch.uint8)  # the scans count 0…16
    labels = torch.from_numpy(scans.target).to(torch.int64)
    return values[chosen].unsqueeze(1), labels[chosen], tuple(str(digit) for digit in range(10))


def _torchvision_set(name: str, kind: str, wanted: Wanted) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    from torchvision import datasets

    root, download = wanted.root, wanted.download
    try:
        found: Any = getattr(datasets, kind)(root, train=wanted.split != "test", download=download)
    except (RuntimeError, OSError) as error:
        hint = "check the network, or put the files there yourself" if download else "--download fetches it"
        raise DataError(f"{name} is not complete below {root}: {error}", hint=hint) from error
    pixels = torch.as_tensor(found.data)
    pixels = pixels.unsqueeze(1) if pixels.dim() == 3 else pixels.permute(0, 3, 1, 2).contiguous()
    return pixels, torch.as_tensor(found.targets, dtype=torch.int64), tuple(found.classes)


def _from_files(wanted: Wanted, name: str, path: Path, size: int) -> ImageSet:
    """Files stay encoded where training has to crop from larger images, or where they are too many for memory."""
    split, channels = wanted.split, wanted.in_channels
    try:
        files = index_files(path, split)
    except DataError as error:
        if name != "imagenet":
            raise
        hint = "--data-root ROOT with ROOT/imagenet/train/<wnid>/ and ROOT/imagenet/val/<wnid>/"
        raise DataError(f"no ImageNet here: {error.message}", hint=hint) from error
    larger = probe(files) > size  # 256 px for 224; images of the net's own size are not enlarged first
    found = ImageSet(
        name=name,
        split=split,
        pixels=files,
        original=files,
        labels=torch.tensor(files.labels, dtype=torch.int64),
        classes=_readable(files.classes) if name == "imagenet" else files.classes,
        contract=_contract(IMAGENET_MEAN, IMAGENET_STD, channels, size, crop="0.875" if larger else "1"),
        flips=True,
        workers=wanted.workers,
    )
    if wanted.images is not None:
        found = found.subset(wanted.images)
    fits = len(found) * channels * size * size <= IN_MEMORY_BYTES
    return found.decoded() if fits and not (split == "train" and larger) else found


def _native_size(path: Path, split: str) -> int:
    """Small images keep their size, others are brought to 224 px."""
    side = probe(index_files(path, split))
    return side if side <= 64 else 224


def _readable(wnids: tuple[str, ...]) -> tuple[str, ...]:
    """ImageNet's names for its thousand sorted WordNet ids."""
    from torchvision.models import ResNet50_Weights

    categories = tuple(ResNet50_Weights.IMAGENET1K_V2.meta["categories"])
    return categories if len(wnids) == len(categories) else wnids
