"""Recipes, folds and the numbers they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from edgeslim.core.slicing import Cut, folded_weight
from hypothesis import given, settings
from hypothesis import strategies as st
from small_bundle import builder, cuts, folds, masters

from edgeslim.core import rebuild
from edgeslim.core.rebuild import LayerFold, joined_fold, layer_arrays, segment_pieces, segment_values, split_fold
from edgeslim.core.recipe import (
    Constant,
    Layout,
    Part,
    Rule,
    Segment,
    cast,
    decode_recipe,
    encode_recipe,
    segment_bytes,
)
from edgeslim.core.width import Width
from edgeslim.errors import FormatError

CONSTANTS = [
    Constant(cut=Cut(out_channels=4, in_channels=3), kernel=(3, 3), has_bias=True),
    Constant(cut=Cut(out_channels=6, in_channels=6, groups=3, full_groups=3), kernel=(1, 1), has_bias=False),
]


@st.composite
def recipes(draw: st.DrawFn) -> tuple[list[Segment], int]:
    """Ascending segments over ``CONSTANTS`` and the bytes of the file they are in."""
    position, segments = 0, []
    for _ in range(draw(st.integers(0, 8))):
        layer = draw(st.integers(0, 1))
        rows = draw(st.integers(0, 4))
        segment = Segment(
            offset=position + draw(st.integers(0, 300)),
            layer=layer,
            part=draw(st.sampled_from(Part)) if layer == 0 else Part.WEIGHT,
            layout=draw(st.sampled_from(Layout)),
            rule=draw(st.sampled_from(Rule)),
            first_row=draw(st.integers(0, 4 - rows)) if rows else 0,
            rows=rows,
        )
        segments.append(segment)
        position = segment.offset + segment_bytes(segment, CONSTANTS)
    return segments, position


@given(recipes())
def test_a_recipe_comes_back(case: tuple[list[Segment], int]) -> None:
    segments, size = case
    content = encode_recipe(segments, [segment_bytes(segment, CONSTANTS) for segment in segments])
    assert list(decode_recipe(content, CONSTANTS, [size])) == segments
    if segments:
        with pytest.raises(FormatError, match="segment-out-of-file"):
            decode_recipe(content, CONSTANTS, [size - 1])


@given(st.binary(max_size=60))
def test_any_bytes_are_a_recipe_or_refused(content: bytes) -> None:
    try:
        segments = decode_recipe(content, CONSTANTS, [10_000, 500])
    except FormatError:
        return
    assert encode_recipe(segments, [segment_bytes(s, CONSTANTS) for s in segments]) == content  # one form only


def test_segments_touch_file_borders_but_do_not_cross_them() -> None:
    bias = Segment(offset=0, layer=0, part=Part.BIAS)
    content = encode_recipe([bias], [16])
    assert decode_recipe(content, CONSTANTS, [16]) == (bias,)
    later = Segment(offset=16, layer=0, part=Part.BIAS)
    both = encode_recipe([bias, later], [16, 16])
    assert len(decode_recipe(both, CONSTANTS, [16, 0, 16])) == 2
    with pytest.raises(FormatError, match="segment-out-of-file"):
        decode_recipe(both, CONSTANTS, [20, 12])


def test_values_are_the_folded_weights_in_every_layout() -> None:
    made, _ = builder(targets=())
    for width in (Width(500), Width(1000)):
        for source, cut, fold, layer in zip(masters(), cuts(width), folds(width), made.layers(width), strict=True):
            expected = folded_weight(source.weight, cut, scale=fold.scale, in_scale=fold.in_scale)
            expected = expected.reshape(expected.shape + (1,) * (4 - expected.ndim))
            for layout in Layout:
                values = segment_values(Segment(offset=0, layer=0, part=Part.WEIGHT, layout=layout), layer)
                wanted = np.ascontiguousarray(expected.transpose(layout.axes))
                assert values.shape == wanted.shape
                assert values.tobytes() == wanted.tobytes()


@settings(max_examples=30, deadline=None)
@given(
    out=st.integers(1, 40),
    layout=st.sampled_from(Layout),
    rule=st.sampled_from(Rule),
    piece=st.sampled_from([1, 64, 1 << 18]),
)
def test_pieces_are_the_whole(out: int, layout: Layout, rule: Rule, piece: int) -> None:
    rng = np.random.default_rng(out)
    master = rng.standard_normal((40, 5, 3, 3)).astype(np.float32)
    fold = LayerFold(scale=rng.standard_normal(out).astype(np.float32))
    layer = layer_arrays(master, None, Cut(out_channels=out, in_channels=4), fold)
    segment = Segment(offset=0, layer=0, part=Part.WEIGHT, layout=layout, rule=rule)
    usual = rebuild.PIECE_BYTES
    rebuild.PIECE_BYTES = piece
    try:
        pieces = b"".join(p.tobytes() for p in segment_pieces(segment, layer))
    finally:
        rebuild.PIECE_BYTES = usual
    assert pieces == segment_values(segment, layer).tobytes()


def test_masters_that_need_nothing_are_not_copied() -> None:
    master = np.ones((8, 4), np.float32)
    layer = layer_arrays(master, None, Cut(out_channels=6, in_channels=4), LayerFold())
    assert np.shares_memory(segment_values(Segment(offset=0, layer=0, part=Part.WEIGHT), layer), master)


@pytest.mark.parametrize(
    ("value", "half", "coreml"),
    [
        (1.0, 1.0, 1.0),
        (2.0**-24, 2.0**-24, 2.0**-24),
        (2.0**-25, 0.0, 2.0**-24),  # a tie goes to even: 0
        (2.0**-25 * 1.0001, 2.0**-24, 2.0**-24),
        (-(2.0**-30), -0.0, -(2.0**-24)),
        (2.0**-149, 0.0, 0.0),  # numpy's isclose counts it as 0 in float32
        (2.0**-148, 0.0, 2.0**-24),
        (-0.0, -0.0, -0.0),
        (2.0**-23, 2.0**-23, 2.0**-23),
        (70000.0, np.inf, np.inf),
    ],
)
def test_dtype_rules(value: float, half: float, coreml: float) -> None:
    values = np.array([value], np.float32)
    for rule, expected in ((Rule.F16, half), (Rule.F16_COREML, coreml)):
        assert cast(values, rule).tobytes() == np.array([expected], np.float16).tobytes()


def test_coreml_rule_is_what_coremltools_does() -> None:
    quantization = pytest.importorskip("coremltools.converters.mil.mil.passes.defs.quantization")
    rng = np.random.default_rng(0)
    exponents = rng.integers(-149, 3, 399)
    values = (rng.uniform(-2, 2, 399) * 2.0**exponents).astype(np.float32)

    class Var:
        """What ``_check_underflow_to_zero`` looks at."""

        def __init__(self, val: np.ndarray) -> None:
            self._sym_val = type("Value", (), {"val": val})()

        @property
        def val(self) -> np.ndarray:
            return self._sym_val.val

    halved = Var(values.astype(np.float16))
    quantization.FP16ComputePrecision()._check_underflow_to_zero(halved, Var(values))
    assert halved.val.tobytes() == cast(values, Rule.F16_COREML).tobytes()
    assert halved.val.tobytes() != cast(values, Rule.F16).tobytes()


def test_folds_come_back() -> None:
    for width in (Width(500), Width(1000)):
        content = joined_fold(folds(width))
        wants = [
            (fold.in_scale is not None, fold.scale is not None, fold.shift is not None, cut)
            for fold, cut in zip(folds(width), cuts(width), strict=True)
        ]
        again = split_fold(np.frombuffer(content, "<f4"), wants)
        assert joined_fold(again) == content
