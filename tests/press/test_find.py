"""The finder on made-up artifacts: every layout and rule, equal constants, zeros, gaps, split groups, and lies."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest
from edgeslim.core.slicing import Cut
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslim.core.rebuild import LayerArrays, LayerFold, layer_arrays
from edgeslim.core.recipe import Layout, Part, Rule, cast
from edgeslim.press.find import find_constants

Float32 = np.typing.NDArray[np.float32]


def conv(
    out: int, into: int, kernel: int = 3, *, groups: int = 1, scale: Float32 | None = None, bias: Float32 | None = None
) -> LayerArrays:
    """A layer at full width with random weights, or exactly ``bias`` and ``scale``."""
    rng = np.random.default_rng(out * 1000 + into + kernel + groups)
    master = rng.standard_normal((out, into // groups, kernel, kernel)).astype(np.float32)
    shift = rng.standard_normal(out).astype(np.float32) if bias is None else bias
    cut = Cut(out_channels=out, in_channels=into, groups=groups, full_groups=groups)
    return layer_arrays(master, None, cut, LayerFold(scale=scale, shift=shift))


def stored(values: Float32, layout: str, rule: Rule = Rule.F32) -> bytes:
    """Bytes of an (O, I, H, W) array as an exporter would write them."""
    return cast(np.ascontiguousarray(values.transpose(Layout[layout].axes)), rule).tobytes()


def filler(length: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).integers(1, 255, length, np.uint8).tobytes()


def placed(pieces: Sequence[bytes], align: int = 16) -> bytes:
    """Pieces one after another, aligned, with text between."""
    content = b"file"
    for index, piece in enumerate(pieces):
        content += filler(5, index)
        content += b"\0" * (-len(content) % align) + piece
    return content + b"end"


@pytest.mark.parametrize("layout", [layout.name for layout in Layout])
@pytest.mark.parametrize("rule", [Rule.F32, Rule.F16])
def test_every_layout_and_rule_is_found(layout: str, rule: Rule) -> None:
    layer = conv(12, 7)
    content = placed([stored(layer.master, layout, rule), cast(layer.bias, rule).tobytes()])
    found = find_constants([("m", content)], [layer])
    weight, bias = found.segments
    assert (weight.part, weight.layout.name, weight.rule) == (Part.WEIGHT, layout, rule)
    assert (bias.part, bias.rule) == (Part.BIAS, rule)
    assert found.literal_bytes == 0
    assert found.explained_bytes == (layer.master.size + 12) * rule.item_bytes
    assert len(found.template) == len(content) - found.explained_bytes


def test_scales_are_applied_before_searching() -> None:
    scale = np.array([0.0, -0.0, 1e-9, -2.5, 1e-42, 3.0, 1.0, -1.0], np.float32)
    layer = conv(8, 4, scale=scale)
    content = placed([stored(layer.master * scale[:, None, None, None], "OHWI")])
    assert find_constants([("m", content)], [layer]).explained_bytes == layer.master.nbytes


def test_coreml_rounds_small_constants_in_its_own_way() -> None:
    bias = np.array([1e-9, -1e-9, 0.0, -0.0, 2.0**-25, 2.0**-149, -(2.0**-149), 1.0], np.float32)
    layer = conv(8, 64, bias=bias)
    half = np.array([2.0**-24, -(2.0**-24), 0.0, -0.0, 2.0**-24, 0.0, -0.0, 1.0], np.float16)
    content = placed([stored(layer.master, "OIHW", Rule.F16), half.tobytes()])
    found = find_constants([("m", content)], [layer])
    assert [segment.rule for segment in found.segments] == [Rule.F16, Rule.F16_COREML]
    assert found.literal_bytes == 0


def test_constants_at_odd_places_are_found_in_the_gaps() -> None:
    layer = conv(16, 8)
    content = b"x" * 7 + stored(layer.master, "OIHW") + b"yy" + layer.bias.tobytes() + b"z"
    found = find_constants([("m", content)], [layer])
    assert found.literal_bytes == 0
    assert found.template == b"x" * 7 + b"yy" + b"z"


def test_equal_constants_take_the_places_in_order() -> None:
    bias = np.arange(1, 17, dtype=np.float32)
    layers = [conv(16, 3, bias=bias), conv(16, 5, bias=bias)]
    twice = placed([bias.tobytes(), *(stored(layer.master, "OIHW") for layer in layers), bias.tobytes()])
    found = find_constants([("m", twice)], layers)
    assert [s.layer for s in found.segments if s.part is Part.BIAS] == [0, 1]
    assert found.literal_bytes == 0
    once = placed([stored(layer.master, "OIHW") for layer in layers] + [bias.tobytes()])
    assert find_constants([("m", once)], layers).literal_bytes == 0  # the exporter stored them once


def test_a_constant_that_stands_twice_is_explained_twice() -> None:
    layer = conv(16, 8)
    piece = stored(layer.master, "OHWI")
    found = find_constants([("m", placed([piece, layer.bias.tobytes(), piece]))], [layer])
    assert len(found.segments) == 3


def test_dead_layers_of_zeros_are_found() -> None:
    zeros = np.zeros(24, np.float32)
    layer = conv(24, 6, scale=zeros, bias=zeros)
    content = placed([stored(layer.master * zeros[:, None, None, None], "OIHW"), filler(100), zeros.tobytes()])
    found = find_constants([("m", content)], [layer])
    assert found.explained_bytes == layer.master.nbytes + zeros.nbytes
    assert found.literal_bytes == 0


def test_a_bias_of_zeros_that_was_left_out_is_not_literal() -> None:
    layer = conv(16, 8, bias=np.zeros(16, np.float32))
    found = find_constants([("m", placed([stored(layer.master, "OIHW")]))], [layer])
    assert (found.explained_bytes, found.literal_bytes) == (layer.master.nbytes, 0)


def test_a_grouped_convolution_may_be_split_into_its_groups() -> None:
    layer = conv(12, 9, groups=3)
    pieces = [stored(layer.master[4 * g : 4 * g + 4], "OHWI") for g in (2, 0, 1)]
    biases = [layer.bias[4 * g : 4 * g + 4].tobytes() for g in (2, 0, 1)]
    found = find_constants([("m", placed(pieces + biases))], [layer])
    assert found.literal_bytes == 0
    assert [(s.first_row, s.rows) for s in found.segments] == [(8, 4), (0, 4), (4, 4)] * 2


def test_what_is_not_there_stays_literal() -> None:
    layer, other = conv(16, 8), conv(16, 9)
    content = placed([stored(other.master, "OIHW"), layer.bias.tobytes()])
    found = find_constants([("m", content)], [layer])
    assert found.explained_bytes == layer.bias.nbytes
    assert found.literal_bytes == layer.master.nbytes


def test_a_constant_may_not_reach_into_the_next_file() -> None:
    layer = conv(16, 8)
    whole = placed([stored(layer.master, "OIHW"), layer.bias.tobytes()])
    half = len(whole) // 2
    found = find_constants([("a", whole[:half]), ("b", whole[half:])], [layer])
    assert [segment.part for segment in found.segments] == [Part.BIAS]
    assert [file.path for file in found.files] == ["a", "b"]
    assert found.files[1].sha256 == hashlib.sha256(whole[half:]).hexdigest()


def test_an_empty_file_and_no_constants() -> None:
    found = find_constants([("a", b""), ("b", b"text")], [])
    assert found.template == b"text"
    assert found.segments == ()


def test_large_constants_win_over_small_ones_inside_them() -> None:
    inner = np.arange(1, 9, dtype=np.float32)
    outer = conv(8, 8, 1, bias=inner)
    layer = layer_arrays(
        np.concatenate([inner.reshape(1, 8, 1, 1), outer.master[1:]]), None, outer.cut, LayerFold(shift=inner)
    )
    content = placed([stored(layer.master, "OIHW"), inner.tobytes()])
    found = find_constants([("m", content)], [layer])
    assert [segment.part for segment in found.segments] == [Part.WEIGHT, Part.BIAS]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_order_alignment_and_layout(data: st.DataObject) -> None:
    shapes = st.tuples(st.integers(1, 12), st.integers(1, 6), st.sampled_from([1, 3]))
    layers = [conv(o, i, k) for o, i, k in data.draw(st.lists(shapes, min_size=1, max_size=4))]
    rule = data.draw(st.sampled_from([Rule.F32, Rule.F16]))
    pieces = []
    for layer in layers:
        pieces.append(stored(layer.master, data.draw(st.sampled_from(Layout)).name, rule))
        pieces.append(cast(layer.bias, rule).tobytes())
    order = data.draw(st.permutations(pieces))
    content = placed(order, data.draw(st.sampled_from([1, 4, 64])))
    found = find_constants([("m", content)], layers)  # proves by itself that the file comes back
    assert found.explained_bytes + len(found.template) == len(content)
    if all(len(piece) >= 16 for piece in pieces):
        assert found.literal_bytes == 0
