"""Cutting masters: every kind of layer by hand, and random ones against the text of FORMAT.md §4."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from literal_constants import Literal
from random_masters import random_cut, random_master

from edgeslim.core.constants import Fold
from edgeslim.core.cut import MasterCut, cut_array, layout_of, master_cut, permutation
from edgeslim.core.manifest import Master, Part
from edgeslim.errors import FormatError


def master(*axes: tuple[int, ...], **more: Any) -> Master:
    """A weight; axes are indices into the parts of the test."""
    plain = {"rows": 0, "groups": 1, "in_scale": False, "scale": False, "shift": False, "bias": None}
    more = {**plain, "integers": "none", "correction": False, "of": None, "sha256": None, "step_sha256": None, **more}
    return Master(name="it", role="weight", dtype="f32", axes=axes, **more)


def parts(*sizes: int) -> list[Part]:
    return [Part(name=f"p{index}", size=size, optional=True) for index, size in enumerate(sizes)]


def taken(cut: MasterCut) -> list[int]:
    """A master of 0, 1, 2, … cut: which numbers are left, row-major."""
    array = np.arange(math.prod(cut.full)).reshape(cut.full)
    return cut_array(array, cut, slice(0, cut.shape[0])).ravel().tolist()


def test_an_ordinary_convolution_keeps_the_first_rows_and_columns() -> None:
    cut = master_cut(master((0,), (1,)), parts(3, 2), (2, 1))
    assert (taken(cut), cut.outputs, cut.inputs) == ([0, 2], 2, 1)


def test_a_depthwise_convolution_keeps_the_first_channels() -> None:
    cut = master_cut(master((0,), (1,), groups=4), parts(4, 1), (2, 1))
    assert (taken(cut), cut.outputs, cut.inputs, cut.groups_kept) == ([0, 1], 2, 2, 2)


def test_a_depthwise_convolution_with_a_multiplier_keeps_pairs_of_rows() -> None:
    """Three inputs with two outputs each; two inputs are left."""
    cut = master_cut(master((0, 0, 0), (1,), groups=3), parts(2, 1), (2, 1))
    assert (cut.outputs, cut.inputs, cut.groups_kept) == (6, 3, 3)
    cut = master_cut(master((0, 0, 1), (2,), groups=3), parts(2, 2, 1), (2, 0, 1))
    assert (taken(cut), cut.outputs, cut.inputs, cut.groups_kept) == ([0, 1, 2, 3], 4, 2, 2)


def test_a_grouped_convolution_keeps_rows_and_columns_of_every_group() -> None:
    """Two groups of 2 x 2; one row and one column of each: elements 0 and 4."""
    cut = master_cut(master((0, 0), (1,), groups=2), parts(2, 2), (1, 1))
    assert (taken(cut), cut.outputs, cut.inputs) == ([0, 4], 2, 2)


def test_groups_that_keep_no_row_are_not_counted() -> None:
    """Three groups of two rows; of the middle one nothing is left, and the columns are those of two groups."""
    cut = master_cut(master((0, 1, 2), (3,), groups=3), parts(2, 2, 2, 5), (2, 0, 1, 3))
    assert cut.positions(0).tolist() == [0, 1, 4]
    assert cut.group is not None
    assert cut.group.tolist() == [0, 0, 1]
    assert (cut.outputs, cut.inputs, cut.groups_kept) == (3, 6, 2)


def test_a_transposed_convolution_has_its_outputs_along_axis_1() -> None:
    cut = master_cut(master((0,), (1,), rows=1), parts(3, 4), (2, 3))
    assert (cut.outputs, cut.inputs) == (3, 2)
    assert cut.output_positions.tolist() == [0, 1, 2]


def test_a_grouped_transposed_convolution_has_outputs_in_every_group() -> None:
    """Two groups of four output channels, three of each left: channels 0 to 2 and 4 to 6 of the master."""
    cut = master_cut(master((0, 0), (1,), rows=1, groups=2), parts(3, 4), (2, 3))
    assert (cut.outputs, cut.inputs) == (6, 4)
    assert cut.output_positions.tolist() == [0, 1, 2, 4, 5, 6]


def test_a_concatenation_keeps_the_columns_trained_for_each_input() -> None:
    cut = master_cut(master((0,), (1, 2)), parts(1, 3, 2), (1, 2, 1))
    assert taken(cut) == [0, 1, 3]


def test_fused_rows_keep_the_first_of_every_part() -> None:
    """q, k and v of two heads; the second head goes."""
    cut = master_cut(master((0, 1, 0, 1, 0, 1), (2,)), parts(2, 2, 1), (2, 0, 1))
    assert taken(cut) == [0, 1, 4, 5, 8, 9]


def test_nothing_left_of_an_axis_is_refused() -> None:
    with pytest.raises(FormatError, match="bad-cut"):
        master_cut(master((0,), (1,)), parts(3, 2), (0, 1))


def test_whole_parts_that_touch_are_one_stretch_and_a_view() -> None:
    cut = master_cut(master((0, 1), (2,)), parts(3, 2, 4), (3, 1, 4))
    array = np.zeros(cut.full, np.float32)
    assert cut.runs == (((0, 4),), ((0, 4),))
    assert np.shares_memory(cut_array(array, cut, slice(0, 4)), array)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_cut_is_that_of_the_text(data: st.DataObject) -> None:
    info, some = data.draw(random_master())
    counts = data.draw(random_cut(info, some))
    array = np.arange(math.prod(sum(some[p].size for p in axis) for axis in info.axes))
    array = array.reshape([sum(some[p].size for p in axis) for axis in info.axes])
    cut = master_cut(info, some, counts)
    word = Literal(info, some, counts, array, Fold())
    assert cut.shape == word.shape()
    assert (cut.outputs, cut.inputs) == (word.outputs(), word.inputs())
    assert [array[place] for _, place in word.places()] == taken(cut)
    by_output = {word.output(index): word.output_in_master(place) for index, place in word.places()}
    assert cut.output_positions.tolist() == [by_output[channel] for channel in range(cut.outputs)]
    first = data.draw(st.integers(0, cut.shape[0] - 1))
    last = data.draw(st.integers(first + 1, cut.shape[0]))
    whole = cut_array(array, cut, slice(0, cut.shape[0]))
    assert np.array_equal(cut_array(array, cut, slice(first, last)), whole[first:last])


@pytest.mark.parametrize("axes", range(1, 7))
def test_layouts_count_permutations_in_ascending_order(axes: int) -> None:
    listed = list(itertools.permutations(range(axes)))
    assert [permutation(layout, axes) for layout in range(len(listed))] == listed
    assert permutation(len(listed), axes) is None
    assert [layout_of(order) for order in listed] == list(range(len(listed)))


def test_layouts_that_the_format_page_names() -> None:
    names = {0: "OIHW", 3: "OHWI", 6: "IOHW", 9: "IHWO", 16: "HWOI", 17: "HWIO"}
    for layout, name in names.items():
        order = permutation(layout, 4)
        assert order is not None
        assert "".join("OIHW"[axis] for axis in order) == name
