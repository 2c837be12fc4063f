"""Cutting weights out of masters: every kind of layer by hand, and all cuts that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from edgeslim.core.slicing import Cut, folded_weight, sliced_weight
from hypothesis import given
from hypothesis import strategies as st

from edgeslim.errors import InternalError


def master(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_an_ordinary_convolution_keeps_the_first_rows_and_columns() -> None:
    assert sliced_weight(master(3, 2, 1, 1), Cut(out_channels=2, in_channels=1)).ravel().tolist() == [0, 2]


def test_a_depthwise_convolution_keeps_the_first_channels() -> None:
    cut = Cut(out_channels=2, in_channels=2, groups=2, full_groups=4)
    assert np.array_equal(sliced_weight(master(4, 1, 3, 3), cut), master(4, 1, 3, 3)[:2])


def test_a_grouped_convolution_keeps_rows_and_columns_of_every_group() -> None:
    """Two groups of 2 x 2; one row and one column of each: elements 0 and 4."""
    cut = Cut(out_channels=2, in_channels=2, groups=2, full_groups=2)
    assert sliced_weight(master(4, 2, 1, 1), cut).ravel().tolist() == [0, 4]


def test_a_linear_layer_is_a_matrix() -> None:
    assert sliced_weight(master(2, 3), Cut(out_channels=2, in_channels=2)).tolist() == [[0, 1], [3, 4]]


def test_slices_are_copies_in_c_order() -> None:
    full = master(4, 4)
    part = sliced_weight(full, Cut(out_channels=4, in_channels=4))
    part[:] = 0
    assert full[0, 1] == 1
    assert sliced_weight(np.asfortranarray(full), Cut(out_channels=2, in_channels=2)).flags.c_contiguous


def test_scales_multiply_rows_and_columns_of_every_group() -> None:
    cut = Cut(out_channels=2, in_channels=4, groups=2, full_groups=2)
    scale, in_scale = np.float32([10, 100]), np.float32([1, 2, 3, 4])
    got = folded_weight(np.ones((2, 2, 1, 1), np.float32), cut, scale=scale, in_scale=in_scale)
    assert got.reshape(2, 2).tolist() == [[10, 20], [300, 400]]


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2))
def test_one_rounding_per_product(values: list[float]) -> None:
    weight, scale = np.float32(values)
    with np.errstate(over="ignore"):
        expected = np.float64(weight) * np.float64(scale)  # exact: 48 bits fit into 53
        got = folded_weight(
            np.full((1, 1, 1, 1), weight, np.float32), Cut(out_channels=1, in_channels=1), scale=np.float32([scale])
        )
        assert got.ravel().view(np.uint32)[0] == np.float32([expected]).view(np.uint32)[0]


@pytest.mark.parametrize(
    "cut",
    [
        Cut(out_channels=5, in_channels=2),
        Cut(out_channels=2, in_channels=5),
        Cut(out_channels=0, in_channels=2),
        Cut(out_channels=2, in_channels=0),
        Cut(out_channels=2, in_channels=2, groups=0),
        Cut(out_channels=2, in_channels=2, groups=2),  # more groups than the master has
        Cut(out_channels=3, in_channels=2, groups=2, full_groups=2),  # rows do not divide
        Cut(out_channels=3, in_channels=3, groups=3, full_groups=3),  # the master's rows do not divide
        Cut(out_channels=-1, in_channels=2),
    ],
)
def test_cuts_that_do_not_fit(cut: Cut) -> None:
    with pytest.raises(InternalError, match="cannot cut"):
        sliced_weight(master(4, 4, 1, 1), cut)


def test_only_float32_scales_of_the_right_length_fold() -> None:
    cut = Cut(out_channels=2, in_channels=2)
    with pytest.raises(InternalError, match="float32"):
        folded_weight(master(2, 2), cut, scale=np.float32([1.0]))
    with pytest.raises(InternalError, match="float32"):
        folded_weight(master(2, 2), cut, scale=np.float64([1.0, 2.0]))  # type: ignore[arg-type]
    with pytest.raises(InternalError, match="float32"):
        folded_weight(master(2, 2).astype(np.float16), cut)  # type: ignore[arg-type]
