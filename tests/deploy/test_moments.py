"""Moments: merged in any way, they are those of all samples."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgeslim.deploy.calibration.moments import Moments


def direct(activation: Tensor) -> tuple[Tensor, Tensor]:
    rows = activation.double().movedim(1, -1).reshape(-1, activation.shape[1])
    return rows.mean(0), rows.var(0, correction=0)


def check(found: Moments, activation: Tensor, *, scale: float = 1e-6) -> None:
    """Mean within ``scale`` standard deviations, variance within ``scale`` of itself."""
    mean, variance = direct(activation)
    assert found.count == activation.numel() // activation.shape[1]
    assert ((found.mean - mean).abs() <= scale * variance.sqrt() + 1e-12).all()
    assert ((found.variance - variance).abs() <= scale * variance + 1e-12).all()


@pytest.mark.parametrize("shape", [(5, 3, 7, 9), (2, 8, 32, 32), (1, 4, 1, 1), (100, 6), (3, 5, 11), (64, 1, 1, 1)])
def test_of_any_shape(shape: tuple[int, ...]) -> None:
    activation = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 3 + 0.5
    check(Moments.of(activation), activation)


def test_memory_format_does_not_matter() -> None:
    activation = torch.randn(4, 6, 10, 10)
    plain, last = Moments.of(activation), Moments.of(activation.contiguous(memory_format=torch.channels_last))
    assert torch.equal(plain.mean, last.mean)
    assert torch.equal(plain.m2, last.m2)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(0, 2**31))
@settings(deadline=None, max_examples=50)
def test_pieces_of_any_size_in_any_order(sizes: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    pieces = [torch.randn(size, 3, 5, 5, generator=generator) * (1 + i) for i, size in enumerate(sizes)]
    total = Moments.empty(3)
    for index in torch.randperm(len(pieces), generator=generator).tolist():
        total = total.merge(Moments.of(pieces[index]))
    check(total, torch.cat(pieces))


@pytest.mark.parametrize(("mean", "tolerance"), [(1.0, 1e-6), (100.0, 1e-5), (1000.0, 1e-4)])
def test_mean_far_above_the_deviation(mean: float, tolerance: float) -> None:
    """Σx² − (Σx)²/n in float32 would have no correct digit at 1000; ten pieces, merged."""
    activation = torch.randn(200, 4, 16, 16, generator=torch.Generator().manual_seed(3)) + mean
    total = Moments.empty(4)
    for piece in activation.split(20):
        total = total.merge(Moments.of(piece))
    check(total, activation, scale=tolerance)


def test_dead_channels_have_variance_zero() -> None:
    activation = torch.randn(8, 3, 6, 6)
    activation[:, 1] = 0.0
    activation[:, 2] = 1.25
    found = Moments.of(activation)
    assert found.variance[1:].tolist() == [0.0, 0.0]
    assert found.mean[1:].tolist() == [0.0, 1.25]


def test_nothing_merged_with_something() -> None:
    some = Moments.of(torch.randn(4, 2, 3, 3))
    assert Moments.empty(2).merge(some) is some
    assert some.merge(Moments.empty(2)) is some
    assert Moments.empty(2).variance.tolist() == [0.0, 0.0]


def test_not_a_number_is_not_lost() -> None:
    activation = torch.randn(4, 2, 3, 3)
    activation[2, 1, 0, 0] = float("nan")
    found = Moments.empty(2).merge(Moments.of(activation)).merge(Moments.of(torch.randn(4, 2, 3, 3)))
    assert found.mean.isnan().tolist() == [False, True]
