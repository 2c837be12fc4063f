"""A labelled set of images, prepared as one contract says.

    ImageSet ─ pixels: uint8 Tensor (small sets, in memory) or ImageFiles (large sets, decoded by workers)
        ├─ batches(n)  normalised float32 (B, C, H, W), channels_last, always in the same order
        ├─ first/spread subsets that stay the same from run to run
        └─ data_sha256 content hash of images and labels

Files are resized, cropped and normalised by ``core.pixels``, as everywhere else: what is evaluated is what runs. The
result never depends on the worker count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from edgeslim.core.pixels import ImageContract, Pixels, prepare, value_table
from edgeslim.data.files import FileReader, ImageFiles
from edgeslim.errors import DataError
from edgeslim.host.decoding import decode

IN_MEMORY_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """Images of one split.

    ``pixels``: uint8 (N, C, H, W), prepared for ``contract``, or the files to decode; ``original``: the same images
    before they were prepared; ``labels``: int64 (N,); ``flips``: whether a mirrored image is still an image of its
    class.
    """

    name: str
    split: str
    pixels: Tensor | ImageFiles
    original: Tensor | ImageFiles
    labels: Tensor
    classes: tuple[str, ...]
    contract: ImageContract
    flips: bool
    workers: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def input_size(self) -> int:
        return self.contract.height

    @property
    def original_size(self) -> int:
        """Pixels of the shorter side before the images were prepared; of files, that of one in the middle."""
        return probe(self.original) if isinstance(self.original, ImageFiles) else min(self.original.shape[2:])

    @property
    def in_channels(self) -> int:
        return self.contract.channels

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
        return self if count >= total else self.select(_spread(total, count))

    def held_out(self, count: int) -> tuple[ImageSet, ImageSet]:
        """All but ``count`` images evenly spread over the set, and these.

        Raises:
            DataError: ``count`` is below 1, or leaves nothing.
        """
        if not 1 <= count < len(self):
            raise DataError(f"cannot hold out {count} of {len(self)} images: at least 1, and one must be left")
        held = _spread(len(self), count)
        rest = sorted(set(range(len(self))) - set(held))
        return self.select(rest), self.select(held)

    def select(self, positions: list[int]) -> ImageSet:
        """Only these images, in this order."""
        same = self.original is self.pixels
        pixels = _at(self.pixels, positions)
        original = pixels if same else _at(self.original, positions)
        return replace(self, pixels=pixels, original=original, labels=self.labels[positions])

    def with_pixels(self, pixels: Tensor) -> ImageSet:
        """The same labels with other pixels, uint8 (N, C, H, W)."""
        return replace(self, pixels=pixels)

    def prepared_as(self, contract: ImageContract) -> ImageSet:
        """The same images as a net wants them; those in memory are prepared again only where it asks for other bytes.

        Raises:
            ImageError: an image is too large to prepare.
        """
        same_bytes = _unscaled(contract) == _unscaled(self.contract)
        if same_bytes or isinstance(self.original, ImageFiles):
            return replace(self, contract=contract, pixels=self.pixels if same_bytes else self.original)
        return replace(self, contract=contract, pixels=prepared(self.original, contract))

    def decoded(self) -> ImageSet:
        """The same set with every image decoded, once, into memory."""
        if isinstance(self.pixels, Tensor):
            return self
        blocks = [block for block, _ in self._decoded_batches(256)]
        return replace(self, pixels=torch.cat(blocks))

    def batches(self, batch_size: int, device: torch.device | str = "cpu") -> Iterator[tuple[Tensor, Tensor]]:
        """All images in order: normalised float32 (B, C, H, W) in channels_last, labels int64 (B,)."""
        for pixels, labels in self._decoded_batches(batch_size):
            yield self.normalise(pixels.to(device)), labels.to(device)

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 (B, C, H, W) → float32 in channels_last: what ``core.pixels.net_input`` makes of the same bytes."""
        table = torch.from_numpy(value_table(self.contract).copy()).to(pixels.device)
        values = torch.empty(pixels.shape, device=pixels.device, memory_format=torch.channels_last)
        for channel in range(pixels.shape[1]):
            values[:, channel] = table[channel][pixels[:, channel].int()]
        return values

    def _decoded_batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        if isinstance(self.pixels, Tensor):
            for start in range(0, len(self), batch_size):
                yield self.pixels[start : start + batch_size], self.labels[start : start + batch_size]
            return
        yield from DataLoader(
            _EvaluationFiles(self.pixels, self.contract),
            batch_size=batch_size,
            num_workers=self.workers,
        )


def _unscaled(contract: ImageContract) -> ImageContract:
    return replace(contract, mean=("0",) * contract.channels, std=("1",) * contract.channels)


def prepared(images: Tensor, contract: ImageContract) -> Tensor:
    """uint8 (N, C, H, W) of any size, as ``contract`` says.

    Raises:
        ImageError: they are too large.
    """
    pixels = [prepare(image.permute(1, 2, 0).numpy(), contract) for image in images]
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()


def _at(images: Tensor | ImageFiles, positions: list[int]) -> Tensor | ImageFiles:
    return images.select(positions) if isinstance(images, ImageFiles) else images[positions]


def _spread(total: int, count: int) -> list[int]:
    return [(2 * i + 1) * total // (2 * count) for i in range(count)]


def probe(files: ImageFiles) -> int:
    """Shorter side in pixels of an image in the middle of the set."""
    name = files.names[len(files) // 2]
    pixels = decode(files.reader().read(name), name, 3)
    return min(len(pixels), len(pixels[0]))


def as_tensor(pixels: Pixels) -> Tensor:
    """uint8 (H, W, C) → (C, H, W), over the same bytes."""
    return torch.from_numpy(pixels).permute(2, 0, 1)


class _EvaluationFiles(Dataset[tuple[Tensor, int]]):
    """Decodes file i and prepares it."""

    def __init__(self, files: ImageFiles, contract: ImageContract) -> None:
        self._files, self._contract = files, contract
        self._reader: FileReader | None = None  # opened by the process that reads

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        self._reader = self._reader or self._files.reader()
        name = self._files.names[i]
        image = decode(self._reader.read(name), name, self._contract.channels)
        return as_tensor(prepare(image, self._contract)), self._files.labels[i]
