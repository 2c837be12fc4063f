"""Random masters, cuts and numbers for hypothesis: every kind of layer, and the floats that go wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from edgeslim.core.manifest import Integers, Master, MasterDtype, Part, full_outputs

AWKWARD = (
    0.0, -0.0, 2.0**-149, -(2.0**-149), 1e-40, 2.0**-126, 2.0**-25, 1e-9, -1e-9, 2.0**-20, 2.0**-21, 1.0, -1.0, 0.5,
    1.5, 127.0, -127.5, 65504.0, 65520.0, 1e19, 2.0**31, -(2.0**31), 3e38, -3e38,
)  # fmt: skip


def floats(count: int, *, awkward: bool = True) -> st.SearchStrategy[np.ndarray]:
    """(count,) finite float32."""
    plain = st.floats(-4, 4, width=32)
    return st.lists(st.sampled_from(AWKWARD) | plain if awkward else plain, min_size=count, max_size=count).map(
        lambda numbers: np.array(numbers, np.float32)
    )


@st.composite
def random_master(draw: st.DrawFn, *, integers: bool = False) -> tuple[Master, list[Part]]:
    """A weight of up to four axes, several parts along each, grouped and transposed as it comes."""
    parts = [
        Part(name=f"p{index}", size=draw(st.integers(1, 3)), optional=draw(st.booleans()))
        for index in range(draw(st.integers(1, 4)))
    ]
    some = st.lists(st.integers(0, len(parts) - 1), min_size=1, max_size=3).map(tuple)
    one = st.integers(0, len(parts) - 1).map(lambda index: (index,))
    axes = (draw(some), draw(some), *draw(st.lists(one, max_size=2)))
    rows = sum(parts[index].size for index in axes[0])
    groups = draw(st.sampled_from([g for g in range(1, rows + 1) if rows % g == 0]))
    dtype: MasterDtype = draw(st.sampled_from(["f32", "f16", "i8"] if integers else ["f32", "f16"]))
    shift = draw(st.booleans())
    bias = None if shift or not draw(st.booleans()) else "bias"
    kind: Integers = draw(st.sampled_from(["shared", "own"])) if integers else "none"
    return Master(
        name="it",
        role="weight",
        dtype=dtype,
        axes=axes,
        rows=draw(st.integers(0, 1)),
        groups=groups,
        in_scale=dtype != "i8" and draw(st.booleans()),
        scale=draw(st.booleans()),
        shift=shift,
        bias=bias,
        integers="shared" if dtype == "i8" else kind,
        correction=integers and (shift or bias is not None) and draw(st.booleans()),
        of=None,
        sha256=None,
        step_sha256=None,
    ), parts


@st.composite
def random_cut(draw: st.DrawFn, master: Master, parts: Sequence[Part]) -> list[int]:
    """How many of every part, so that something is left of every axis."""
    counts = [draw(st.integers(0 if part.optional else 1, part.size)) for part in parts]
    for axis in master.axes:
        if not any(counts[index] for index in axis):
            counts[axis[0]] = 1
    return counts


@st.composite
def random_array(draw: st.DrawFn, master: Master, parts: Sequence[Part]) -> np.ndarray:
    """A full-size array in the master's type: awkward numbers, rows of zeros, or plain ones."""
    shape = [sum(parts[index].size for index in axis) for axis in master.axes]
    count = math.prod(shape)
    if master.dtype == "i8":
        numbers = draw(st.lists(st.integers(-128, 127), min_size=count, max_size=count))
        return np.array(numbers, np.int8).reshape(shape)
    awkward = draw(st.sampled_from([True, False, False]))
    array = draw(floats(count, awkward=awkward)).reshape(shape)
    with np.errstate(over="ignore"):
        return np.nan_to_num(array.astype(np.float16)) if master.dtype == "f16" else array


def steps_of(master: Master, parts: Sequence[Part]) -> int:
    """How many steps an int8 master has."""
    return full_outputs(master, parts)
