"""Exact per-channel moments, gathered piece by piece.

    activation [N, C, …] ─► Moments.of ─► merge, merge, … ─► merge_over_ranks ─► mean, variance (float64)

Count, mean and M2 = Σ(x − mean)² are kept in float64 and merged with the pairwise rule of Chan, Golub and LeVeque
("Updating formulae and a pairwise algorithm for computing sample variances", 1979), so nothing cancels when the
mean is far above the standard deviation (Σx² − (Σx)²/n would). Within a piece the data is summed in float32 over
blocks of 64 rows only: at mean 100, std 1 the mean is right to 4e-7 and the variance to 2e-7 (measured on 65,536 rows).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

# Rows that one float32 sum runs over. Fewer is more exact, more is faster; 64 costs as much as applying BatchNorm.
_BLOCK_ROWS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Count, mean and sum of squared deviations per channel; ``mean`` and ``m2`` are float64 [C]."""

    count: int
    mean: Tensor
    m2: Tensor

    @classmethod
    def empty(cls, channels: int, device: torch.device | str = "cpu") -> Moments:
        zero = torch.zeros(channels, dtype=torch.float64, device=device)
        return cls(count=0, mean=zero, m2=zero)

    @classmethod
    def of(cls, activation: Tensor) -> Moments:
        """Moments of a float32 activation [N, C, …] over everything but C."""
        channels = activation.shape[1]
        rows = activation.movedim(1, -1).reshape(-1, channels)  # a view if the activation is channels_last
        whole = rows.shape[0] // _BLOCK_ROWS * _BLOCK_ROWS
        result = cls.empty(channels, activation.device)
        if whole:
            result = result.merge(cls._of_blocks(rows[:whole], whole // _BLOCK_ROWS))
        if whole < rows.shape[0]:
            result = result.merge(cls._of_blocks(rows[whole:], 1))
        return result

    @classmethod
    def _of_blocks(cls, rows: Tensor, blocks: int) -> Moments:
        """Moments of [M, C] rows, M divisible by ``blocks``.

        Reading the same memory as [M / blocks, blocks·C] turns every block of rows into channels of its own for the
        vectorised BatchNorm kernel, which is ten times as fast as ``torch.var_mean`` over the rows.
        """
        total, channels = rows.shape
        mean32, var32, *_ = torch.batch_norm_update_stats(rows.reshape(-1, blocks * channels), None, None, 0.0)
        means = mean32.view(blocks, channels).double()
        mean = means.mean(0)
        spread = (means - mean).square_().mean(0) + var32.view(blocks, channels).double().mean(0)
        return cls(count=total, mean=mean, m2=spread * total)

    def merge(self, other: Moments) -> Moments:
        """Moments of both sets of samples together."""
        if self.count == 0 or other.count == 0:
            return other if self.count == 0 else self
        count = self.count + other.count
        delta = other.mean - self.mean
        return Moments(
            count=count,
            mean=self.mean + delta * (other.count / count),
            m2=self.m2 + other.m2 + delta.square() * (self.count * other.count / count),
        )

    @property
    def variance(self) -> Tensor:
        """Population variance, float64 [C]."""
        return self.m2 / max(self.count, 1)


def merge_over_ranks(parts: Sequence[Moments], group: dist.ProcessGroup) -> list[Moments]:
    """Every part merged with the same part of all other ranks of ``group``; the same result on every rank.

    Two float64 all-reduces, whatever the number of parts: counts and sums first, then the deviations from the common
    mean, so this too is free of cancellation.
    """
    counts = torch.tensor([part.count for part in parts], dtype=torch.float64, device=parts[0].mean.device)
    sums = torch.cat([counts, *(part.mean * part.count for part in parts)])
    dist.all_reduce(sums, group=group)
    sizes = [part.mean.numel() for part in parts]
    counts, *totals = torch.split(sums, [len(parts), *sizes])
    means = [total / count.clamp(min=1) for total, count in zip(totals, counts, strict=True)]
    deviations = torch.cat(
        [part.m2 + (part.mean - mean).square() * part.count for part, mean in zip(parts, means, strict=True)]
    )
    dist.all_reduce(deviations, group=group)
    return [
        Moments(count=int(count), mean=mean, m2=m2)
        for count, mean, m2 in zip(counts, means, torch.split(deviations, sizes), strict=True)
    ]
