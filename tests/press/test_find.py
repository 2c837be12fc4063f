"""The finder on made-up artifacts: every layout and rule, equal constants, zeros, gaps, split groups, and lies."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslim.core.constants import Fold, Kind, NetConstants, Quant, values
from edgeslim.core.cut import permutation
from edgeslim.core.manifest import Part
from edgeslim.core.recipe import Rule, stored
from edgeslim.press.build import MasterSet, MasterSource, PackedArtifact
from edgeslim.press.find import find_constants

Float32 = np.typing.NDArray[np.float32]
LAYOUTS = {"OIHW": 0, "OHWI": 3, "IOHW": 6, "IHWO": 9, "HWOI": 16, "HWIO": 17}


@dataclass(frozen=True)
class Layer:
    """A weight at full size, with its shift."""

    source: MasterSource
    fold: Fold
    quant: Quant | None = None

    @property
    def master(self) -> Float32:
        assert self.source.array is not None
        return self.source.array

    @property
    def bias(self) -> Float32:
        assert self.fold.shift is not None
        return self.fold.shift


def conv(
    out: int,
    into: int,
    kernel: int = 3,
    *,
    groups: int = 1,
    scale: Float32 | None = None,
    bias: Float32 | None = None,
    array: Float32 | None = None,
    **more: Any,
) -> Layer:
    """A layer with random weights and shift, or exactly ``array``, ``bias`` and ``scale``. Transposed: ``rows=1``."""
    rng = np.random.default_rng(out * 1000 + into + kernel + groups)
    shape = (into, out // groups) if more.get("rows") == 1 else (out, into // groups)
    if array is None:
        array = rng.standard_normal((*shape, kernel, kernel)).astype(np.float32)
    shift = rng.standard_normal(out).astype(np.float32) if bias is None else bias
    axes = tuple((Part(name=f"size{size}", size=size, optional=False),) for size in array.shape)
    source = MasterSource(name="", axes=axes, array=array, groups=groups, scale=scale is not None, shift=True, **more)
    return Layer(source, Fold(scale=scale, shift=shift))


def net(layers: Sequence[Layer]) -> NetConstants:
    """All layers at full size."""
    masters = MasterSet([replace(layer.source, name=f"l{index}") for index, layer in enumerate(layers)])
    quants = [layer.quant for layer in layers]
    return masters.constants(masters.cut({}), [layer.fold for layer in layers], quants if any(quants) else None)


def find(files: Sequence[tuple[str, bytes]], layers: Sequence[Layer]) -> PackedArtifact:
    return find_constants(files, net(layers))


def of(found: PackedArtifact, kind: Kind) -> list[Any]:
    return [segment for segment in found.segments if segment.kind is kind]


def as_stored(numbers: Float32, layout: str, rule: Rule = Rule.F32) -> bytes:
    """Bytes of an (O, I, H, W) array as an exporter would write them."""
    order = permutation(LAYOUTS[layout], 4)
    assert order is not None
    return stored(numbers.transpose(order), rule).tobytes()


def filler(length: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).integers(1, 255, length, np.uint8).tobytes()


def placed(pieces: Sequence[bytes], align: int = 16) -> bytes:
    """Pieces one after another, aligned, with text between."""
    content = b"file"
    for index, piece in enumerate(pieces):
        content += filler(5, index)
        content += b"\0" * (-len(content) % align) + piece
    return content + b"end"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rule", [Rule.F32, Rule.F16])
def test_every_layout_and_rule_is_found(layout: str, rule: Rule) -> None:
    layer = conv(12, 7)
    content = placed([as_stored(layer.master, layout, rule), stored(layer.bias, rule).tobytes()])
    found = find([("m", content)], [layer])
    weight, bias = found.segments
    assert (weight.kind, weight.layout, weight.rule) == (Kind.WEIGHT, LAYOUTS[layout], rule)
    assert (bias.kind, bias.rule) == (Kind.BIAS, rule)
    assert found.literal_bytes == 0
    assert found.explained_bytes == (layer.master.size + 12) * rule.item_bytes
    assert len(found.template) == len(content) - found.explained_bytes


def test_scales_are_applied_before_searching() -> None:
    scale = np.array([0.0, -0.0, 1e-9, -2.5, 1e-42, 3.0, 1.0, -1.0], np.float32)
    layer = conv(8, 4, scale=scale)
    content = placed([as_stored(layer.master * scale[:, None, None, None], "OHWI")])
    assert find([("m", content)], [layer]).explained_bytes == layer.master.nbytes


def test_coreml_rounds_small_constants_in_its_own_way() -> None:
    bias = np.array([1e-9, -1e-9, 0.0, -0.0, 2.0**-25, 2.0**-149, -(2.0**-149), 1.0], np.float32)
    layer = conv(8, 64, bias=bias)
    half = np.array([2.0**-24, -(2.0**-24), 0.0, -0.0, 2.0**-24, 0.0, -0.0, 1.0], np.float16)
    content = placed([as_stored(layer.master, "OIHW", Rule.F16), half.tobytes()])
    found = find([("m", content)], [layer])
    assert [segment.rule for segment in found.segments] == [Rule.F16, Rule.F16_COREML]
    assert found.literal_bytes == 0


def test_constants_at_odd_places_are_found_in_the_gaps() -> None:
    layer = conv(16, 8)
    content = b"x" * 7 + as_stored(layer.master, "OIHW") + b"yy" + layer.bias.tobytes() + b"z"
    found = find([("m", content)], [layer])
    assert found.literal_bytes == 0
    assert found.template == b"x" * 7 + b"yy" + b"z"


def test_equal_constants_take_the_places_in_order() -> None:
    bias = np.arange(1, 17, dtype=np.float32)
    layers = [conv(16, 3, bias=bias), conv(16, 5, bias=bias)]
    twice = placed([bias.tobytes(), *(as_stored(layer.master, "OIHW") for layer in layers), bias.tobytes()])
    found = find([("m", twice)], layers)
    assert [s.master for s in of(found, Kind.BIAS)] == [0, 1]
    assert found.literal_bytes == 0
    once = placed([as_stored(layer.master, "OIHW") for layer in layers] + [bias.tobytes()])
    assert find([("m", once)], layers).literal_bytes == 0  # the exporter stored them once


def test_a_constant_that_stands_twice_is_explained_twice() -> None:
    layer = conv(16, 8)
    piece = as_stored(layer.master, "OHWI")
    found = find([("m", placed([piece, layer.bias.tobytes(), piece]))], [layer])
    assert len(found.segments) == 3


def test_zeros_stand_anywhere_and_stay_in_the_template() -> None:
    zeros = np.zeros(24, np.float32)
    layer = conv(24, 6, scale=zeros, bias=zeros)
    content = placed([as_stored(np.zeros_like(layer.master), "OIHW"), filler(100), zeros.tobytes()])
    found = find([("m", content)], [layer])
    assert (found.explained_bytes, found.literal_bytes, found.template) == (0, 0, content)


def test_a_bias_of_zeros_that_was_left_out_is_not_literal() -> None:
    layer = conv(16, 8, bias=np.zeros(16, np.float32))
    found = find([("m", placed([as_stored(layer.master, "OIHW")]))], [layer])
    assert (found.explained_bytes, found.literal_bytes) == (layer.master.nbytes, 0)


def test_a_grouped_convolution_may_be_split_into_its_groups() -> None:
    layer = conv(12, 9, groups=3)
    pieces = [as_stored(layer.master[4 * g : 4 * g + 4], "OHWI") for g in (2, 0, 1)]
    biases = [layer.bias[4 * g : 4 * g + 4].tobytes() for g in (2, 0, 1)]
    found = find([("m", placed(pieces + biases))], [layer])
    assert found.literal_bytes == 0
    assert [(s.first_row, s.rows) for s in found.segments] == [(8, 4), (0, 4), (4, 4)] * 2


def test_what_is_not_there_stays_literal() -> None:
    layer, other = conv(16, 8), conv(16, 9)
    content = placed([as_stored(other.master, "OIHW"), layer.bias.tobytes()])
    found = find([("m", content)], [layer])
    assert found.explained_bytes == layer.bias.nbytes
    assert found.literal_bytes == layer.master.nbytes


def test_a_constant_may_not_reach_into_the_next_file() -> None:
    layer = conv(16, 8)
    whole = placed([as_stored(layer.master, "OIHW"), layer.bias.tobytes()])
    half = len(whole) // 2
    found = find([("a", whole[:half]), ("b", whole[half:])], [layer])
    assert [segment.kind for segment in found.segments] == [Kind.BIAS]
    assert [file.path for file in found.files] == ["a", "b"]
    assert found.files[1].sha256 == hashlib.sha256(whole[half:]).hexdigest()


def test_an_empty_file_and_no_constants() -> None:
    found = find([("a", b""), ("b", b"text")], [])
    assert found.template == b"text"
    assert found.segments == ()


def test_large_constants_win_over_small_ones_inside_them() -> None:
    inner = np.arange(1, 9, dtype=np.float32)
    random = conv(8, 8, 1).master
    layer = conv(8, 8, 1, bias=inner, array=np.concatenate([inner.reshape(1, 8, 1, 1), random[1:]]))
    content = placed([as_stored(layer.master, "OIHW"), inner.tobytes()])
    found = find([("m", content)], [layer])
    assert [segment.kind for segment in found.segments] == [Kind.WEIGHT, Kind.BIAS]


def test_a_grouped_transposed_convolution_may_be_split_into_its_groups() -> None:
    """(I, O of a group, H, W): every group as (O, H, W, I), and its biases."""
    layer = conv(12, 8, 2, groups=2, rows=1)
    assert layer.master.shape == (8, 6, 2, 2)
    pieces = [as_stored(layer.master[4 * g : 4 * g + 4], "IHWO") for g in (1, 0)]
    biases = [layer.bias[6 * g : 6 * g + 6].tobytes() for g in (1, 0)]
    found = find([("m", placed(pieces + biases))], [layer])
    assert found.literal_bytes == 0
    assert [(s.first_row, s.rows) for s in found.segments] == [(4, 4), (0, 4), (6, 6), (0, 6)]


# Integers


def int8(**more: Any) -> tuple[Layer, dict[Kind, bytes]]:
    """A quantised layer, and every constant of it as stored in float32, int8 or int32."""
    layer = replace(
        conv(16, 8, scale=np.linspace(-1, 2, 16, dtype=np.float32), integers="shared", **more),
        quant=Quant(input_scale=np.array([0.02], np.float32)),
    )
    made = net([layer])
    return layer, {constant.kind: values(constant, made).tobytes() for constant in made.all()}


def test_integers_and_their_scales_are_found() -> None:
    layer, whole = int8()
    kinds = (Kind.INTEGERS, Kind.WEIGHT_SCALE, Kind.BIAS_SCALE, Kind.BIAS_INTEGERS)
    found = find([("m", placed([whole[kind] for kind in kinds]))], [layer])
    assert [segment.kind for segment in found.segments] == list(kinds)
    assert (found.explained_bytes, found.literal_bytes) == (sum(len(whole[kind]) for kind in kinds), 0)


def test_what_an_int8_file_keeps_in_float_is_found() -> None:
    layer, whole = int8()
    kinds = (Kind.DEQUANTISED_WEIGHT, Kind.DEQUANTISED_BIAS)
    found = find([("m", placed([whole[kind] for kind in kinds]))], [layer])
    assert [segment.kind for segment in found.segments] == list(kinds)
    assert found.literal_bytes == 0


def test_int8_weights_alone_have_no_int32_bias() -> None:
    layer, whole = int8()
    found = find([("m", placed([whole[k] for k in (Kind.INTEGERS, Kind.WEIGHT_SCALE, Kind.BIAS)]))], [layer])
    assert found.literal_bytes == 0


@pytest.mark.parametrize(
    ("left", "literal"),
    [
        ((Kind.INTEGERS, Kind.WEIGHT_SCALE, Kind.BIAS_INTEGERS), 0),  # not every file stores the bias scale
        ((Kind.INTEGERS, Kind.BIAS), 16),  # the weight scale
        ((Kind.WEIGHT_SCALE, Kind.BIAS_INTEGERS, Kind.BIAS_SCALE), 16 * 8 * 9),  # the integers
        ((Kind.INTEGERS, Kind.WEIGHT_SCALE), 16),  # some bias
    ],
)
def test_what_is_missing_is_counted_once(left: tuple[Kind, ...], literal: int) -> None:
    layer, whole = int8()
    found = find([("m", placed([whole[kind] for kind in left]))], [layer])
    items = [segment.rule.item_bytes for segment in found.segments]
    assert found.literal_bytes == literal * max(set(items), key=items.count)


def test_one_int32_bias_rounded_otherwise_costs_few_rows() -> None:
    layer, whole = int8()
    bias = np.frombuffer(whole[Kind.BIAS_INTEGERS], "<i4").copy()
    bias[5] += 1
    found = find([("m", placed([whole[Kind.INTEGERS], whole[Kind.WEIGHT_SCALE], bias.tobytes()]))], [layer])
    rows = {r for s in of(found, Kind.BIAS_INTEGERS) for r in range(s.first_row, s.first_row + s.rows)}
    assert rows == set(range(16)) - {4, 5, 6, 7}
    assert found.literal_bytes > 0


def test_names_are_hashes_of_what_stands_there() -> None:
    layer, whole = int8()
    names = [hashlib.sha256(whole[kind]).hexdigest().encode() for kind in (Kind.INTEGERS, Kind.WEIGHT_SCALE)]
    others = [hashlib.sha256(whole[Kind.WEIGHT]).hexdigest().encode()]  # of nothing that stands in the file
    content = placed([whole[Kind.INTEGERS], whole[Kind.WEIGHT_SCALE], *names, *names, *others])
    found = find([("m", content)], [layer])
    hashed = [segment.kind for segment in found.segments if segment.hashed]
    assert hashed == [Kind.INTEGERS, Kind.WEIGHT_SCALE] * 2
    assert found.explained_bytes == len(whole[Kind.INTEGERS]) + len(whole[Kind.WEIGHT_SCALE])
    assert others[0] in found.template
    assert not any(name in found.template for name in names)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_order_alignment_and_layout(data: st.DataObject) -> None:
    shapes = st.tuples(st.integers(1, 12), st.integers(1, 6), st.sampled_from([1, 3]))
    layers = [conv(o, i, k) for o, i, k in data.draw(st.lists(shapes, min_size=1, max_size=4))]
    rule = data.draw(st.sampled_from([Rule.F32, Rule.F16]))
    pieces = []
    for layer in layers:
        pieces.append(as_stored(layer.master, data.draw(st.sampled_from(sorted(LAYOUTS))), rule))
        pieces.append(stored(layer.bias, rule).tobytes())
    order = data.draw(st.permutations(pieces))
    content = placed(order, data.draw(st.sampled_from([1, 4, 64])))
    found = find([("m", content)], layers)  # proves by itself that the file comes back
    assert found.explained_bytes + len(found.template) == len(content)
    if all(len(piece) >= 16 for piece in pieces):
        assert found.literal_bytes == 0
