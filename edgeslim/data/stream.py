"""Training batches, from any step on.

    in memory:  uint8 set on the device ─► index ─► Augment ─► normalise
    files:      workers decode ─► random resized crop, flip (torchvision transforms v2) ─► normalise

Both draw by (seed, step), so a resumed run goes on with the very batch it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from edgeslim.data import rng
from edgeslim.data.augment import Augment
from edgeslim.data.batch_plan import BatchPlan
from edgeslim.data.files import FileReader, ImageFiles
from edgeslim.data.images import ImageSet, as_tensor
from edgeslim.host.decoding import decode


def batches(
    data: ImageSet, plan: BatchPlan, augment: Augment, steps: range, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """For every step of ``steps``: this rank's normalised float32 (B, C, S, S) in channels_last, labels int64 (B,)."""
    if isinstance(data.pixels, Tensor):
        return _from_memory(data, data.pixels, plan, augment, steps, device)
    return _from_files(data, data.pixels, plan, augment, steps, device)


def _from_memory(
    data: ImageSet, pixels: Tensor, plan: BatchPlan, augment: Augment, steps: range, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    pixels, labels, share = pixels.to(device), data.labels.to(device), plan.share()
    for step in steps:
        chosen = plan.batch(step)[share].to(device)
        draw = augment.draw(plan.size, rng.generator(plan.seed, "augment", step)).share(share)
        yield data.normalise(augment.apply(pixels[chosen], draw)), labels[chosen]


def _from_files(
    data: ImageSet, files: ImageFiles, plan: BatchPlan, augment: Augment, steps: range, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    loader = DataLoader(
        _TrainingFiles(files, data.input_size, data.in_channels, augment),
        batch_sampler=_Positions(plan, steps),
        num_workers=data.workers,
        pin_memory=device.type == "cuda",
    )
    for pixels, labels in loader:
        yield data.normalise(pixels.to(device, non_blocking=True)), labels.to(device, non_blocking=True)


class _Positions:
    """For every step, the (position, seed of its crop) of each image of this rank."""

    def __init__(self, plan: BatchPlan, steps: range) -> None:
        self._plan, self._steps = plan, steps

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        share = self._plan.share()
        for step in self._steps:
            seeds = torch.randint(
                0, 1 << 62, (self._plan.size,), generator=rng.generator(self._plan.seed, "augment", step)
            )
            yield list(zip(self._plan.batch(step)[share].tolist(), seeds[share].tolist(), strict=True))


class _TrainingFiles(Dataset[tuple[Tensor, int]]):
    """Decodes one file and crops it at random, as is usual for mobile nets (area 0.25 to 1)."""

    def __init__(self, files: ImageFiles, size: int, channels: int, augment: Augment) -> None:
        from torchvision.transforms import v2

        self._files, self._channels = files, channels
        jitter = [v2.ColorJitter(augment.jitter, augment.jitter)] if augment.jitter else []
        flip = [v2.RandomHorizontalFlip()] if augment.flip else []
        self._transform = v2.Compose([v2.RandomResizedCrop(size, scale=(0.25, 1.0), antialias=True), *flip, *jitter])
        self._reader: FileReader | None = None  # opened by the process that reads

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        position, seed = key
        self._reader = self._reader or self._files.reader()
        name = self._files.names[position]
        image = as_tensor(decode(self._reader.read(name), name, self._channels))
        with torch.random.fork_rng(devices=[]):  # transforms draw from the global generator
            torch.manual_seed(seed)
            cropped: Tensor = self._transform(image)
        return cropped, self._files.labels[position]
