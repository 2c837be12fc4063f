"""Exact per-channel moments, gathered piece by piece.

    activation [N, C, …] ─► Gathering.add, add, … ─► total: Moments ─► merge_over_ranks ─► mean, variance (float64)

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
_KEPT_NUMBERS = 1 << 20


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
        gathering = Gathering(activation.shape[1], activation.device)
        gathering.add(activation)
        return gathering.total()

    @classmethod
    def of_blocks(cls, rows: int, means: Tensor, variances: Tensor) -> Moments:
        """Moments of blocks of ``rows`` rows each, from float32 means and population variances [blocks, C]."""
        means = means.double()
        mean = means.mean(0)
        spread = (means - mean).square_().mean(0) + variances.double().mean(0)
        count = rows * means.shape[0]
        return cls(count=count, mean=mean, m2=spread * count)

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


class Gathering:
    """Moments of activations that come one after another.

    Blocks' float32 statistics are kept until there are some megabytes of them: merging in float64 takes a dozen short
    operations, which would cost as much as the statistics themselves if every piece were merged at once.
    """

    def __init__(self, channels: int, device: torch.device | str = "cpu") -> None:
        self._channels = channels
        self._total = Moments.empty(channels, device)
        self._blocks: dict[int, list[tuple[Tensor, Tensor]]] = {}  # rows of a block → (means, variances) [blocks, C]
        self._kept = 0

    def add(self, activation: Tensor) -> None:
        """Another float32 activation [N, C, …]."""
        rows = activation.movedim(1, -1).reshape(-1, self._channels)  # a view if the activation is channels_last
        whole = rows.shape[0] // _BLOCK_ROWS
        if whole:
            self._add(rows[: whole * _BLOCK_ROWS], whole)
        if whole * _BLOCK_ROWS < rows.shape[0]:
            self._add(rows[whole * _BLOCK_ROWS :], 1)
        if self._kept >= _KEPT_NUMBERS:
            self._settle()

    def _add(self, rows: Tensor, blocks: int) -> None:
        """Statistics of [M, C] rows in ``blocks`` equal blocks.

        Reading the same memory as [M / blocks, blocks·C] turns every block of rows into channels of its own for the
        vectorised BatchNorm kernel, which is ten times as fast as ``torch.var_mean`` over the rows.
        """
        each, wide = rows.shape[0] // blocks, blocks * self._channels
        mean, variance, *_ = torch.batch_norm_update_stats(rows.reshape(each, wide), None, None, 0.0)
        shape = (blocks, self._channels)
        self._blocks.setdefault(each, []).append((mean.view(shape), variance.view(shape)))
        self._kept += 2 * wide

    def _settle(self) -> None:
        for rows, parts in self._blocks.items():
            means, variances = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
            self._total = self._total.merge(Moments.of_blocks(rows, means, variances))
        self._blocks.clear()
        self._kept = 0

    def total(self) -> Moments:
        """Moments of everything so far."""
        self._settle()
        return self._total


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
