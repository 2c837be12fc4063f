"""A labelled set of images with one fixed evaluation transform.

    ImageSet ─ pixels: uint8 Tensor (small sets, in memory) or ImageFiles (large sets, decoded by workers)
        ├─ batches(n)  normalised float32 (B, C, S, S), channels_last, always in the same order
        ├─ first/spread subsets that stay the same from run to run
        └─ data_sha256 content hash of images and labels

Evaluation transform of files: an image whose shorter side is above S is resized to 8/7·S (256 for 224) and
centre-cropped; others are resized to S and centre-cropped. The result never depends on the worker count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from edgeslim.data.files import FileReader, ImageFiles
from edgeslim.errors import DataError

IN_MEMORY_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """Images of one split.

    ``pixels``: uint8 (N, C, S, S), or the files to decode; ``original``: the same images before they were brought
    to this size, for the hash; ``labels``: int64 (N,); ``mean`` and ``std``: per channel, of values in [0, 1];
    ``flips``: whether a mirrored image is still an image of its class.
    """

    name: str
    split: str
    pixels: Tensor | ImageFiles
    original: Tensor | ImageFiles
    labels: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_size: int
    in_channels: int
    flips: bool
    workers: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @cached_property
    def data_sha256(self) -> str:
        """Hash of the content, in order, whatever the input size: of the files' bytes, or else of the uint8 pixels."""
        if isinstance(self.original, ImageFiles):
            return self.original.sha256()
        total = hashlib.sha256("\0".join(self.classes).encode())
        total.update(str(tuple(self.original.shape)).encode())
        total.update(self.original.contiguous().numpy().tobytes())
        total.update(self.labels.numpy().tobytes())
        return total.hexdigest()

    @property
    def known_sha256(self) -> str | None:
        """``data_sha256`` of a set in memory; None where all of it, perhaps ImageNet, would have to be read again."""
        return self.data_sha256 if isinstance(self.pixels, Tensor) else None

    def subset(self, count: int) -> ImageSet:
        """``count`` images evenly spread over the set (all of them when there are no more): the same every time.

        Raises:
            DataError: ``count`` is below 1.
        """
        if count < 1:
            raise DataError(f"cannot take {count} images: at least 1")
        total = len(self)
        return self if count >= total else self.select([(2 * i + 1) * total // (2 * count) for i in range(count)])

    def select(self, positions: list[int]) -> ImageSet:
        """Only these images, in this order."""
        same = self.original is self.pixels
        pixels = _at(self.pixels, positions)
        original = pixels if same else _at(self.original, positions)
        return replace(self, pixels=pixels, original=original, labels=self.labels[positions])

    def with_pixels(self, pixels: Tensor) -> ImageSet:
        """The same labels with other pixels, uint8 (N, C, S, S)."""
        return replace(self, pixels=pixels)

    def normalised_as(self, mean: Sequence[float], std: Sequence[float]) -> ImageSet:
        """The same images with the normalisation a model was trained with."""
        return replace(self, mean=tuple(mean), std=tuple(std))

    def decoded(self) -> ImageSet:
        """The same set with every image decoded, once, into memory."""
        if isinstance(self.pixels, Tensor):
            return self
        blocks = [block for block, _ in self._decoded_batches(256)]
        return replace(self, pixels=torch.cat(blocks))

    def batches(self, batch_size: int, device: torch.device | str = "cpu") -> Iterator[tuple[Tensor, Tensor]]:
        """All images in order: normalised float32 (B, C, S, S) in channels_last, labels int64 (B,)."""
        for pixels, labels in self._decoded_batches(batch_size):
            yield self.normalise(pixels.to(device)), labels.to(device)

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 (B, C, S, S) → ``(pixels / 255 - mean) / std``, float32, channels_last."""
        scale = pixels.new_tensor([1 / (255 * s) for s in self.std], dtype=torch.float32).view(1, -1, 1, 1)
        shift = pixels.new_tensor([-m / s for m, s in zip(self.mean, self.std, strict=True)], dtype=torch.float32).view(
            1, -1, 1, 1
        )
        values = pixels.to(torch.float32, memory_format=torch.channels_last)
        return values.mul_(scale).add_(shift)

    def _decoded_batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        if isinstance(self.pixels, Tensor):
            for start in range(0, len(self), batch_size):
                yield self.pixels[start : start + batch_size], self.labels[start : start + batch_size]
            return
        yield from DataLoader(
            _EvaluationFiles(self.pixels, self.input_size, self.in_channels),
            batch_size=batch_size,
            num_workers=self.workers,
        )


def _at(images: Tensor | ImageFiles, positions: list[int]) -> Tensor | ImageFiles:
    return images.select(positions) if isinstance(images, ImageFiles) else images[positions]


def decode(data: bytes, name: str, channels: int) -> Tensor:
    """Encoded image → uint8 (channels, H, W).

    Raises:
        DataError: not an image this build can decode.
    """
    from torchvision.io import ImageReadMode, decode_image

    mode = ImageReadMode.RGB if channels == 3 else ImageReadMode.GRAY
    try:
        image: Tensor = decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode)
    except (RuntimeError, ValueError) as error:
        raise DataError(f"cannot decode {name}: {str(error).splitlines()[0]}") from error
    return image


def fit(image: Tensor, size: int) -> Tensor:
    """The evaluation transform of one uint8 (C, H, W) image, to (C, size, size)."""
    from torchvision.transforms.v2 import functional as vision

    shorter = min(image.shape[-2:])
    resized = round(size * 8 / 7) if shorter > size else size
    if shorter != resized:
        image = vision.resize(image, [resized], antialias=True)
    cropped: Tensor = vision.center_crop(image, [size, size])
    return cropped


class _EvaluationFiles(Dataset[tuple[Tensor, int]]):
    """Decodes file i and applies the evaluation transform."""

    def __init__(self, files: ImageFiles, size: int, channels: int) -> None:
        self._files, self._size, self._channels = files, size, channels
        self._reader: FileReader | None = None  # opened by the process that reads

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        self._reader = self._reader or self._files.reader()
        name = self._files.names[i]
        return fit(decode(self._reader.read(name), name, self._channels), self._size), self._files.labels[i]
