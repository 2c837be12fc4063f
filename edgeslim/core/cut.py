"""Cutting a net's constants out of the full-size masters: the first n of every part (FORMAT.md §4).

axis of a master    parts [16, 8]      ┌────────────────┬────────┐
cut [10, 4]         positions left     └0…9┘             └16…19┘     n = 0 … 13

ordinary convolution, linear    1 group          rows and columns are cut
depthwise                       as many groups as rows; every row stays with its own input
grouped                         the same part once per group along axis 0: rows and columns of every group are cut
concatenation                   two parts along axis 1: the columns trained for each input
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from edgeslim.core.manifest import Master, Part, full_shape
from edgeslim.errors import FormatError

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class MasterCut:
    """Which positions of ``master`` one net uses.

    ``runs`` are, per axis, (first, last) of the stretches that are left, ascending; ``shape`` is that of what is
    left, ``full`` that of the whole master. ``groups_kept`` counts the groups with a row left.
    """

    master: Master
    runs: tuple[tuple[tuple[int, int], ...], ...]
    shape: tuple[int, ...]
    full: tuple[int, ...]
    groups_kept: int

    @property
    def outputs(self) -> int:
        """Output channels of a weight."""
        return self._along(self.master.rows)

    @property
    def inputs(self) -> int:
        """Input channels of a weight."""
        return self._along(1 - self.master.rows)

    def _along(self, axis: int) -> int:
        return self.shape[0] if axis == 0 else self.groups_kept * self.shape[1]

    def positions(self, axis: int) -> Indices:
        """The master's position of every position that is left along ``axis``."""
        return np.concatenate([np.arange(first, last) for first, last in self.runs[axis]])

    @cached_property
    def group(self) -> Indices | None:
        """The group of every row that is left, counted among those kept; None where there is only one group."""
        if self.master.groups == 1:
            return None
        names, group = np.unique(self.positions(0) // (self.full[0] // self.master.groups), return_inverse=True)
        assert len(names) == self.groups_kept
        return group

    @cached_property
    def output_positions(self) -> Indices:
        """The output channel of the whole master that every output channel of the cut comes from."""
        rows = self.positions(0)
        if self.master.rows == 0:
            return rows
        kept = np.unique(rows // (self.full[0] // self.master.groups))
        return (kept[:, None] * self.full[1] + self.positions(1)).reshape(-1)


def master_cut(master: Master, parts: Sequence[Part], cut: Sequence[int]) -> MasterCut:
    """The positions of ``master`` at ``cut`` (one number per part). Allocates nothing of the master's size.

    Raises:
        FormatError: ``bad-cut``: nothing is left along an axis.
    """
    runs = tuple(_runs(axis, parts, cut) for axis in master.axes)
    shape = tuple(sum(last - first for first, last in stretches) for stretches in runs)
    if min(shape) == 0:
        raise FormatError("bad-cut", f"nothing is left of an axis of {master.name!r}")
    full = full_shape(master, parts)
    kept = 1 if master.groups == 1 else _groups(runs[0], full[0] // master.groups)
    return MasterCut(master=master, runs=runs, shape=shape, full=full, groups_kept=kept)


def _groups(runs: Sequence[tuple[int, int]], size: int) -> int:
    """How many groups of ``size`` rows the stretches touch."""
    count, last_group = 0, -1
    for first, last in runs:
        low, high = max(first // size, last_group + 1), (last - 1) // size
        count += max(high - low + 1, 0)
        last_group = max(high, last_group)
    return count


def _runs(axis: Sequence[int], parts: Sequence[Part], cut: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Stretches that are left along one axis; neighbours that touch are one."""
    runs: list[tuple[int, int]] = []
    start = 0
    for index in axis:
        end = start + cut[index]
        if end > start:
            if runs and runs[-1][1] == start:
                runs[-1] = runs[-1][0], end
            else:
                runs.append((start, end))
        start += parts[index].size
    return tuple(runs)


def cut_array(array: npt.NDArray[np.generic], cut: MasterCut, rows: slice) -> npt.NDArray[np.generic]:
    """``array`` (a master) cut, of axis 0 only ``rows`` of what is left; a view where one stretch per axis is left."""
    array = _taken(array, 0, _part_of(cut.runs[0], rows))
    for axis in range(1, array.ndim):
        array = _taken(array, axis, cut.runs[axis])
    return array


def _part_of(runs: tuple[tuple[int, int], ...], rows: slice) -> tuple[tuple[int, int], ...]:
    """The stretches that hold the positions ``rows`` of what is left."""
    found = []
    position = 0
    for first, last in runs:
        begin, end = max(rows.start - position, 0), min(rows.stop - position, last - first)
        if begin < end:
            found.append((first + begin, first + end))
        position += last - first
    return tuple(found)


def _taken(array: npt.NDArray[np.generic], axis: int, runs: tuple[tuple[int, int], ...]) -> npt.NDArray[np.generic]:
    before = (slice(None),) * axis
    pieces = [array[(*before, slice(first, last))] for first, last in runs]
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=axis)


def permutation(layout: int, axes: int) -> tuple[int, ...] | None:
    """The order of axes that ``layout`` means: its place among all permutations, ascending; None beyond the last."""
    if layout >= math.factorial(axes):
        return None
    left = list(range(axes))
    order = []
    for remaining in range(axes, 0, -1):
        index, layout = divmod(layout, math.factorial(remaining - 1))
        order.append(left.pop(index))
    return tuple(order)


def layout_of(order: Sequence[int]) -> int:
    """The number of a permutation, the inverse of ``permutation``."""
    return list(itertools.permutations(range(len(order)))).index(tuple(order))
