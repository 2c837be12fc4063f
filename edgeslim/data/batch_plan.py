"""Which images a step sees.

    (seed, epoch) ─► one permutation of the set ─► batches of equal size ─► each rank takes its contiguous share

A last, smaller batch is left out, so that every step weighs the same; the next epoch's order brings those images.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from edgeslim.data import rng
from edgeslim.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """``images`` in the set, ``batch_size`` over all ranks, this process's ``rank`` of ``ranks``.

    Raises:
        UsageError: a batch that does not divide among the ranks, or is too small for BatchNorm.
    """

    images: int
    batch_size: int
    seed: int
    rank: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % self.ranks:
            raise UsageError(f"a batch of {self.batch_size} images does not divide among {self.ranks} processes")
        if self.size // self.ranks < 2:
            raise UsageError("a batch needs at least two images per process", hint="--batch-size 64")

    @property
    def size(self) -> int:
        """Images per step over all ranks; fewer than ``batch_size`` when the set is smaller."""
        return min(self.batch_size, self.images // self.ranks * self.ranks)

    @property
    def steps_per_epoch(self) -> int:
        return self.images // self.size

    def share(self) -> slice:
        """This rank's part of a step's batch."""
        part = self.size // self.ranks
        return slice(self.rank * part, (self.rank + 1) * part)

    def batch(self, step: int) -> Tensor:
        """Positions in the set of step ``step`` over all ranks, int64 (size,)."""
        epoch, place = divmod(step, self.steps_per_epoch)
        return self.order(epoch)[place * self.size : (place + 1) * self.size]

    def order(self, epoch: int) -> Tensor:
        """The permutation of ``epoch``, int64 (images,)."""
        return _permutation(self.images, self.seed, epoch)


@functools.lru_cache(maxsize=2)
def _permutation(images: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(images, generator=rng.generator(seed, "order", epoch))
