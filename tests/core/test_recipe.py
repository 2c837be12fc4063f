"""Recipes: their binary form, and the bytes that segments stand for."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_bundle import builder

from edgeslim.core import recipe
from edgeslim.core.constants import Constant, Kind, NetConstants, has, shape_of, values
from edgeslim.core.cut import MasterCut, permutation
from edgeslim.core.recipe import (
    HASH_BYTES,
    Rule,
    Segment,
    content_bytes,
    decode_recipe,
    encode_recipe,
    rules_for,
    segment_bytes,
    segment_content,
    segment_pieces,
    stored,
)
from edgeslim.core.width import Width
from edgeslim.errors import FormatError

MADE = builder((Width(500),), (), int8=True)[0]
NET = MADE.constants("0500")
INT8_MASTERS = builder((Width(500),), (), weights="i8", int8=True)[0].constants("0500")


@st.composite
def segments(draw: st.DrawFn, net: NetConstants = NET) -> Segment:
    """Any segment of a constant of ``net``, at offset 0."""
    constant = draw(st.sampled_from(net.all()))
    cut = net.cuts[constant.master]
    shape = shape_of(cut, constant.kind)
    rows = draw(st.integers(0, shape[0]))
    return Segment(
        offset=0,
        master=constant.master,
        kind=constant.kind,
        layout=draw(st.integers(0, math.factorial(len(shape)) - 1)),
        rule=draw(st.sampled_from(sorted(rules_for(cut, constant.kind)))),
        hashed=draw(st.booleans()),
        first_row=draw(st.integers(0, shape[0] - rows)) if rows else 0,
        rows=rows,
    )


@st.composite
def recipes(draw: st.DrawFn) -> tuple[list[Segment], int]:
    """Ascending segments over ``NET`` and the bytes of the file they are in."""
    position, found = 0, []
    for segment in draw(st.lists(segments(), max_size=8)):
        found.append(replace(segment, offset=position + draw(st.integers(0, 300))))
        position = found[-1].offset + segment_bytes(segment, NET.cuts)
    return found, position


def decoded(content: bytes, sizes: list[int], net: NetConstants = NET) -> tuple[Segment, ...]:
    return decode_recipe(content, net.cuts, sizes, quantised=net.quants is not None)


def encoded(found: list[Segment] | tuple[Segment, ...], cuts: tuple[MasterCut, ...] = NET.cuts) -> bytes:
    return encode_recipe(found, [segment_bytes(segment, cuts) for segment in found])


# The binary form


@given(recipes())
def test_a_recipe_comes_back(case: tuple[list[Segment], int]) -> None:
    found, size = case
    content = encoded(found)
    assert list(decoded(content, [size])) == found
    if found:
        with pytest.raises(FormatError, match="segment-out-of-file"):
            decoded(content, [size - 1])


@given(st.binary(max_size=60))
def test_any_bytes_are_a_recipe_or_refused(content: bytes) -> None:
    try:
        found = decoded(content, [10_000, 500])
    except FormatError:
        return
    assert encoded(found) == content  # one form only


@given(st.lists(st.integers(0, 1100), min_size=1, max_size=24).map(lambda n: bytes([1, *(x % 128 for x in n)])))
def test_small_numbers_are_a_recipe_or_refused(content: bytes) -> None:
    """As above, but most get past the first checks."""
    try:
        found = decoded(content, [10_000, 500])
    except FormatError:
        return
    assert encoded(found) == content


def test_segments_touch_file_borders_but_do_not_cross_them() -> None:
    bias = Segment(offset=0, master=0, kind=Kind.BIAS)  # four channels are left of the stem
    assert segment_bytes(bias, NET.cuts) == 16
    assert decoded(encoded([bias]), [16]) == (bias,)
    both = encoded([bias, replace(bias, offset=16)])
    for sizes in ([32], [16, 16], [16, 0, 16], [0, 16, 16], [16, 0, 0, 16, 0]):
        assert len(decoded(both, sizes)) == 2
    for sizes in ([20, 12], [16], [16, 0], [16, 15], [15, 17]):
        with pytest.raises(FormatError, match="segment-out-of-file"):
            decoded(both, sizes)


def test_only_what_the_net_has_can_be_named() -> None:
    """Every kind of every master at a net with and without a quant, in every rule."""
    for quantised in (False, True):
        for index, cut in enumerate(NET.cuts):
            for kind in Kind:
                for rule in Rule:
                    content = encode_recipe([Segment(offset=0, master=index, kind=kind, rule=rule)], [0])
                    wanted = has(cut.master, kind, quantised=quantised) and rule in rules_for(cut, kind)
                    if wanted:
                        assert decode_recipe(content, NET.cuts, [4000], quantised=quantised)
                        continue
                    with pytest.raises(FormatError, match="bad-reference"):
                        decode_recipe(content, NET.cuts, [4000], quantised=quantised)


# The bytes


@settings(max_examples=60, deadline=None)
@given(data=st.data(), piece=st.sampled_from([1, 64, 1 << 18]))
def test_pieces_are_the_numbers_permuted_and_stored(data: st.DataObject, piece: int) -> None:
    net = data.draw(st.sampled_from([NET, INT8_MASTERS]))
    segment = data.draw(segments(net))
    numbers = values(Constant(segment.master, segment.kind), net)
    if segment.rows:
        numbers = numbers[segment.first_row : segment.first_row + segment.rows]
    order = permutation(segment.layout, numbers.ndim)
    assert order is not None
    expected = stored(numbers.transpose(order), segment.rule).tobytes()
    assert len(expected) == content_bytes(segment, net.cuts)
    if segment.hashed:
        expected = hashlib.sha256(expected).hexdigest().encode()
        assert len(expected) == HASH_BYTES
    usual = recipe.PIECE_BYTES
    recipe.PIECE_BYTES = piece
    try:
        pieces = [bytes(p) for p in segment_pieces(segment, net)]
    finally:
        recipe.PIECE_BYTES = usual
    assert b"".join(pieces) == expected == segment_content(segment, net)
    assert len(expected) == segment_bytes(segment, net.cuts)
    if piece == 1 and not segment.hashed and order[0] == 0:
        assert len(pieces) == len(numbers)  # row by row


@pytest.mark.parametrize(
    ("value", "half", "coreml"),
    [
        (1.0, 1.0, 1.0),
        (2.0**-24, 2.0**-24, 2.0**-24),
        (2.0**-25, 0.0, 2.0**-24),  # a tie goes to even: 0
        (2.0**-25 * 1.0001, 2.0**-24, 2.0**-24),
        (2.0**-24 * 1.5, 2.0**-23, 2.0**-23),  # a tie between subnormals goes to even: up
        (2.0**-24 * 2.5, 2.0**-23, 2.0**-23),  # and down
        (-(2.0**-30), -0.0, -(2.0**-24)),
        (2.0**-149, 0.0, 0.0),  # numpy's isclose counts it as 0 in float32
        (2.0**-148, 0.0, 2.0**-24),
        (-0.0, -0.0, -0.0),
        (2.0**-23, 2.0**-23, 2.0**-23),
        (1 + 2.0**-11, 1.0, 1.0),  # ties of normal numbers
        (1 + 3 * 2.0**-11, 1 + 2.0**-9, 1 + 2.0**-9),
        (65504.0, 65504.0, 65504.0),
        (65519.996, 65504.0, 65504.0),
        (65520.0, np.inf, np.inf),
        (-70000.0, -np.inf, -np.inf),
    ],
)
def test_dtype_rules(value: float, half: float, coreml: float) -> None:
    numbers = np.array([value], np.float32)
    for rule, expected in ((Rule.F16, half), (Rule.F16_COREML, coreml)):
        assert stored(numbers, rule).tobytes() == np.array([expected], np.float16).tobytes()


def test_coreml_rule_is_what_coremltools_does() -> None:
    quantization = pytest.importorskip("coremltools.converters.mil.mil.passes.defs.quantization")
    rng = np.random.default_rng(0)
    exponents = rng.integers(-149, 3, 399)
    numbers = (rng.uniform(-2, 2, 399) * 2.0**exponents).astype(np.float32)

    class Var:
        """What ``_check_underflow_to_zero`` looks at."""

        def __init__(self, val: Any) -> None:
            self._sym_val = type("Value", (), {"val": val})()

        @property
        def val(self) -> Any:
            return self._sym_val.val

    halved = Var(numbers.astype(np.float16))
    quantization.FP16ComputePrecision()._check_underflow_to_zero(halved, Var(numbers))
    assert halved.val.tobytes() == stored(numbers, Rule.F16_COREML).tobytes()
    assert halved.val.tobytes() != stored(numbers, Rule.F16).tobytes()
