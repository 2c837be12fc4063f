"""The numbers of constants: FORMAT.md §4 and §5 by hand, and random ones against a literal reading of the text."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from literal_constants import Literal, NotFiniteError
from random_masters import floats, random_array, random_cut, random_master, steps_of
from small_bundle import builder

from edgeslim.core import constants
from edgeslim.core.constants import (
    DEAD_BELOW,
    DEAD_SCALE,
    Constant,
    Fold,
    Kind,
    NetConstants,
    Quant,
    fold_numbers,
    has,
    joined_fold,
    joined_quant,
    of_arrays,
    quant_bytes,
    shape_of,
    split_fold,
    split_quant,
    values,
)
from edgeslim.core.cut import permutation
from edgeslim.core.manifest import Master, Part
from edgeslim.core.width import Width
from edgeslim.errors import FormatError

WEIGHT = Master(
    name="it", role="weight", dtype="f32", axes=((0,), (1,)), rows=0, groups=1, in_scale=False, scale=False,
    shift=False, bias=None, integers="none", correction=False, of=None, sha256=None, step_sha256=None,
)  # fmt: skip
TENSOR = replace(WEIGHT, name="bias", role="tensor")
F: Any = np.float32  # makes an array of a list, which its stub does not say


def net(
    array: Any, fold: Fold | None = None, *, step: Any = None, quant: Quant | None = None, bias: Any = None, **more: Any
) -> NetConstants:
    """A net of one weight at full size (and its own bias), with numbers as given."""
    array = np.asarray(array, {"i8": np.int8, "f16": np.float16}.get(more.get("dtype", "f32"), np.float32))
    fold = fold or Fold()
    there = {name: getattr(fold, name) is not None for name in ("in_scale", "scale", "shift")}
    master = replace(WEIGHT, **{**there, "bias": None if bias is None else "bias", **more})
    parts = [Part(name=f"p{i}", size=size, optional=False) for i, size in enumerate(array.shape)]
    arrays, masters, folds = {"it": array}, [master], [fold]
    if bias is not None:
        arrays["bias"] = np.asarray(bias)
        parts.append(Part(name="bias", size=len(bias), optional=False))
        masters.append(replace(TENSOR, axes=((len(parts) - 1,),), dtype="f16" if bias.dtype == np.float16 else "f32"))
        folds.append(Fold())
    quants = None if quant is None else [quant, *[None] * (len(masters) - 1)]
    steps = {} if step is None else {"it": np.asarray(step, np.float32)}
    return NetConstants.of(of_arrays(masters, arrays, steps), parts, [p.size for p in parts], folds, quants)


def got(made: NetConstants, kind: Kind) -> list[Any]:
    numbers: list[Any] = values(Constant(0, kind), made).tolist()
    return numbers


def q(scale: Any = None, *, t: float = 1.0, correction: Any = None) -> Quant:
    return Quant(
        input_scale=F([t]),
        scale=None if scale is None else F(scale),
        correction=None if correction is None else np.array(correction, np.int16),
    )


def bits(array: Any) -> list[int]:
    return np.asarray(array, np.float32).view(np.uint32).ravel().tolist()


# By hand


def test_scales_multiply_rows_and_columns_of_every_group() -> None:
    fold = Fold(scale=F([10, 100]), in_scale=F([1, 2, 3, 4]))
    assert got(net(np.ones((2, 2)), fold, groups=2), Kind.WEIGHT) == [[10, 20], [300, 400]]


def test_scales_of_a_transposed_convolution_run_the_other_way() -> None:
    """(inputs, outputs of a group): two groups of one input and two outputs each."""
    fold = Fold(scale=F([1, 2, 3, 4]), in_scale=F([10, 100]))
    assert got(net(np.ones((2, 2)), fold, groups=2, rows=1), Kind.WEIGHT) == [[10, 20], [300, 400]]


def test_the_first_product_is_rounded_before_the_second() -> None:
    weight, first, second = F(1 + 2**-23), F(1 + 2**-23), F(1 - 2**-24)
    made = net([[weight]], Fold(in_scale=first[None], scale=second[None]))
    assert bits(got(made, Kind.WEIGHT)) == bits((weight * first) * second)
    assert bits(got(made, Kind.WEIGHT)) != bits(F(np.float64(weight) * np.float64(first) * np.float64(second)))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2))
def test_one_rounding_per_product(numbers: list[float]) -> None:
    weight, scale = F(numbers)
    with np.errstate(over="ignore"):
        expected = F(np.float64(weight) * np.float64(scale))  # exact before: 48 bits fit into 53
    made = net([[weight]], Fold(scale=scale[None]))
    if np.isfinite(expected):
        assert bits(got(made, Kind.WEIGHT)) == bits(expected)
    else:
        with pytest.raises(FormatError, match="non-finite"):
            got(made, Kind.WEIGHT)


def test_a_factor_that_is_absent_is_no_product() -> None:
    """−0 times 1 would stay, but a signalling pattern or a subnormal could not be told: the bytes are the master's."""
    array = F([[-0.0, 2.0**-149, 1e-40]])
    assert np.shares_memory(values(Constant(0, Kind.WEIGHT), net(array)), array)


def test_halves_are_widened_before_the_product() -> None:
    made = net([[0.1]], Fold(scale=F([3])), dtype="f16")
    assert bits(got(made, Kind.WEIGHT)) == bits(F(np.float16(0.1)) * F(3))


def test_a_bias_is_the_shift_or_the_cut_of_its_master() -> None:
    assert got(net([[1]], Fold(shift=F([7]))), Kind.BIAS) == [7]
    assert got(net([[1]], bias=np.array([0.1], np.float16)), Kind.BIAS) == [F(np.float16(0.1))]


def test_integers_are_those_of_the_whole_master() -> None:
    """The largest of row 0 is not left at the narrow net, and still says how much an integer is worth."""
    made = net([[1, -2, 127]], integers="shared")
    narrow = replace(made, cuts=(replace(made.cuts[0], runs=(((0, 1),), ((0, 2),)), shape=(1, 2)),))
    assert got(narrow, Kind.INTEGERS) == [[1, -2]]
    assert got(narrow, Kind.WEIGHT_SCALE) == [1]


def test_quotients_are_rounded_to_even() -> None:
    made = net([[0.5, 1.5, 2.5, -0.5, -1.5, 127]], integers="shared")
    assert got(made, Kind.INTEGERS) == [[0, 2, 2, 0, -2, 127]]


def test_a_negative_scale_turns_the_integers_and_not_the_scale() -> None:
    made = net([[1, 127], [1, 127]], Fold(scale=F([-0.5, 0.5])), integers="shared")
    assert got(made, Kind.INTEGERS) == [[-1, -127], [1, 127]]
    assert got(made, Kind.WEIGHT_SCALE) == [0.5, 0.5]


@pytest.mark.parametrize("scale", [0.0, -0.0, 1e-9, -1e-9, 2.0**-21, 2.0**-149])
def test_a_dead_channel_has_no_integers(scale: float) -> None:
    made = net([[1, 127]], Fold(scale=F([scale])), integers="shared")
    assert got(made, Kind.INTEGERS) == [[0, 0]]
    assert got(made, Kind.WEIGHT_SCALE) == [DEAD_SCALE]


def test_a_channel_is_alive_from_the_smallest_scale_on() -> None:
    alive = net([[1, 127]], Fold(scale=F([DEAD_BELOW])), integers="shared")
    assert got(alive, Kind.WEIGHT_SCALE) == [2.0**-20]
    assert got(alive, Kind.INTEGERS) == [[1, 127]]
    below = net([[1, 127]], Fold(scale=np.nextafter(DEAD_BELOW, F(0))[None]), integers="shared")
    assert got(below, Kind.WEIGHT_SCALE) == [2.0**-8]


def test_a_channel_of_zeros_is_dead() -> None:
    made = net([[0, -0.0], [0, 127]], integers="shared")
    assert got(made, Kind.INTEGERS) == [[0, 0], [0, 127]]
    assert got(made, Kind.WEIGHT_SCALE) == [2.0**-8, 1]


def test_minus_zero_is_kept_in_float_products() -> None:
    made = net([[3, 127]], Fold(scale=F([-0.0])), dtype="i8", step=[1], integers="shared")
    assert got(made, Kind.INTEGERS) == [[0, 0]]
    assert bits(got(made, Kind.WEIGHT)) == bits([-0.0, -0.0])


def test_int8_masters_are_clamped_and_worth_their_step() -> None:
    made = net([[-128, -127, 5]], Fold(scale=F([-2])), dtype="i8", step=[0.25], integers="shared")
    assert got(made, Kind.INTEGERS) == [[127, 127, -5]]
    assert got(made, Kind.WEIGHT_SCALE) == [0.5]
    assert got(made, Kind.WEIGHT) == [[64, 63.5, -2.5]]


def test_integers_of_its_own_are_the_weight_over_the_scale() -> None:
    fold = Fold(in_scale=F([1, 10]), scale=F([-1]))
    made = net([[1, 1]], fold, integers="own", quant=q([0.5]))
    assert got(made, Kind.INTEGERS) == [[-2, -20]]
    assert got(made, Kind.WEIGHT_SCALE) == [0.5]


@pytest.mark.filterwarnings("error")
def test_a_quotient_beyond_float32_is_the_largest_integer() -> None:
    made = net([[3e38, -3e38]], integers="own", quant=q([2.0**-20]))
    assert got(made, Kind.INTEGERS) == [[127, -127]]


def test_the_int32_bias_is_a_product_with_the_rounded_reciprocal() -> None:
    """45.5 / 7 is 6.5, which goes to 6; 1/7 is rounded up, so that the product is above 6.5."""
    made = net([[127]], Fold(shift=F([45.5])), integers="shared", quant=q(t=7))
    assert got(made, Kind.BIAS_SCALE) == [7]
    assert got(made, Kind.BIAS_INTEGERS) == [7]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("bias", "scale", "correction", "expected"),
    [
        (2.5, 1, 0, 2),
        (-3.5, 1, 0, -4),
        (2.5, 1, -7, -5),
        (3e9, 1, 0, 2**31 - 1),
        (-3e9, 1, 0, -(2**31 - 1)),
        (2.0**31, 1, -1, 2**31 - 2),
        (2.0**31, 1, 5, 2**31 - 1),
        (-(2.0**31), 1, -5, -(2**31 - 1)),
        (3e38, 2.0**-20, 0, 2**31 - 1),  # the product is infinite
        (-3e38, 2.0**-20, 300, -(2**31 - 1) + 300),
    ],
)
def test_int32_biases_saturate(bias: float, scale: float, correction: int, expected: int) -> None:
    made = net([[1]], Fold(shift=F([bias])), integers="own", correction=True, quant=q([scale], correction=[correction]))
    assert got(made, Kind.BIAS_INTEGERS) == [expected]


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (net([[3e38]], Fold(scale=F([3e38]))), Kind.WEIGHT),
        (net([[3e38]], Fold(in_scale=F([-3e38]))), Kind.WEIGHT),
        (net([[3e38]], Fold(in_scale=F([3e38]), scale=F([0]))), Kind.WEIGHT),  # infinity times zero
        (net([[100]], dtype="i8", step=[3e38], integers="shared"), Kind.WEIGHT),
        (net([[3e38]], Fold(scale=F([3e38])), integers="shared"), Kind.WEIGHT_SCALE),
        (net([[3e38]], Fold(scale=F([3e38])), integers="shared"), Kind.INTEGERS),
        (net([[3e38]], Fold(scale=F([3e38])), integers="own", quant=q([1])), Kind.INTEGERS),
        (net([[127]], integers="own", quant=q([3e38], t=2)), Kind.BIAS_SCALE),
        (net([[3.4e38]], integers="own", quant=q([2.2e38])), Kind.DEQUANTISED_WEIGHT),  # 1.55 goes to 2
        (net([[float("nan")]], integers="shared"), Kind.INTEGERS),  # a damaged master
        (net([[float("inf")]], integers="shared"), Kind.WEIGHT_SCALE),
        (net([[float("nan")]], integers="own", quant=q([1])), Kind.INTEGERS),
    ],
)
@pytest.mark.filterwarnings("error")
def test_products_that_are_not_finite_are_refused(made: NetConstants, kind: Kind) -> None:
    with pytest.raises(FormatError, match="non-finite"):
        values(Constant(0, kind), made)


def test_what_float_operations_in_an_int8_file_hold() -> None:
    """127 · (0.1 · 3) is not (127 · 0.1) · 3; an int32 bias above 2^24 is rounded before the product."""
    fold = Fold(scale=F([3]), shift=F([2e7]))
    made = net([[1, 127]], fold, dtype="i8", step=[0.1], integers="shared", correction=True, quant=q(correction=[1]))
    assert bits(got(made, Kind.DEQUANTISED_WEIGHT)) == bits([F(0.1) * F(3), F(127) * (F(0.1) * F(3))])
    (integer,) = got(made, Kind.BIAS_INTEGERS)
    assert integer > 1 << 24
    assert integer % 2
    assert bits(got(made, Kind.DEQUANTISED_BIAS)) == bits(F(integer) * F(got(made, Kind.BIAS_SCALE)[0]))


@pytest.mark.parametrize("step", [-1.0, float("nan"), float("inf")])
def test_steps_are_finite_and_not_negative(step: float) -> None:
    with pytest.raises(FormatError, match="bad-quant"):
        values(Constant(0, Kind.WEIGHT), net([[1]], dtype="i8", step=[step], integers="shared"))


def test_which_constants_there_are() -> None:
    """Rows: what the master is. Columns: kinds without a quant, and with one."""
    floats_, w8 = {Kind.WEIGHT}, {Kind.WEIGHT, Kind.INTEGERS, Kind.WEIGHT_SCALE, Kind.DEQUANTISED_WEIGHT}
    int8 = w8 | {Kind.INPUT_SCALE, Kind.BIAS_SCALE}
    table = [
        (TENSOR, {Kind.VECTOR}, {Kind.VECTOR}),
        (replace(TENSOR, role="own"), {Kind.VECTOR}, {Kind.VECTOR}),
        (WEIGHT, floats_, floats_),
        (replace(WEIGHT, shift=True), floats_ | {Kind.BIAS}, floats_ | {Kind.BIAS}),
        (replace(WEIGHT, integers="shared"), w8, int8),
        (replace(WEIGHT, integers="own"), floats_, int8),
        (
            replace(WEIGHT, integers="shared", bias="b"),
            w8 | {Kind.BIAS},
            int8 | {Kind.BIAS, Kind.BIAS_INTEGERS, Kind.DEQUANTISED_BIAS},
        ),
    ]
    for master, without, with_quant in table:
        assert {kind for kind in Kind if has(master, kind, quantised=False)} == without
        assert {kind for kind in Kind if has(master, kind, quantised=True)} == with_quant


# Random ones


@settings(max_examples=300, deadline=None)
@given(data=st.data(), quantised=st.booleans())
def test_every_constant_is_that_of_the_text(data: st.DataObject, quantised: bool) -> None:
    master, parts = data.draw(random_master(integers=quantised))
    counts = data.draw(random_cut(master, parts))
    array = data.draw(random_array(master, parts))
    steps, step = {}, None
    if master.dtype == "i8":
        step = steps["it"] = np.abs(data.draw(floats(steps_of(master, parts))))
    word = Literal(master, parts, counts, array, Fold(), step)
    outputs, inputs = word.outputs(), word.inputs()

    def drawn(wanted: bool, count: int) -> np.ndarray[Any, Any] | None:
        return data.draw(floats(count)) if wanted else None

    word.fold = Fold(
        in_scale=drawn(master.in_scale, inputs),
        scale=drawn(master.scale, outputs),
        shift=drawn(master.shift, outputs),
    )
    masters, arrays, folds = [master], {"it": array}, [word.fold]
    if master.bias is not None:
        word.bias_numbers = data.draw(floats(outputs))
        own = Part(name="own", size=outputs, optional=False)
        parts, counts = [*parts, own], [*counts, outputs]
        word.parts, word.cut = parts, counts
        masters.append(replace(TENSOR, axes=((len(parts) - 1,),)))
        arrays["bias"] = word.bias_numbers
        folds.append(Fold())
    quants = None
    if quantised:
        word.quant = Quant(
            input_scale=data.draw(st.floats(2.0**-40, 2.0**40, width=32)) * np.ones(1, np.float32),
            scale=np.maximum(np.abs(data.draw(floats(outputs))), DEAD_BELOW) if master.integers == "own" else None,
            correction=np.array(
                data.draw(st.lists(st.integers(-32768, 32767), min_size=outputs, max_size=outputs))
            ).astype(np.int16)
            if master.correction
            else None,
        )
        quants = [word.quant, *[None] * (len(masters) - 1)]
    made = NetConstants.of(of_arrays(masters, arrays, steps), parts, counts, folds, quants)
    for constant in made.all():
        if constant.master != 0:
            continue
        try:
            expected = word.constant(constant.kind)
        except NotFiniteError:
            with pytest.raises(FormatError, match="non-finite"):
                values(constant, made)
            continue
        found = values(constant, made)
        assert found.shape == expected.shape == shape_of(made.cuts[0], constant.kind)
        assert found.dtype == expected.dtype
        assert found.tobytes() == expected.tobytes(), constant.kind
        order = permutation(data.draw(st.integers(0, (1, 1, 2, 6, 24)[found.ndim] - 1)), found.ndim)
        assert order is not None
        first = data.draw(st.integers(0, len(found) - 1))
        last = data.draw(st.integers(first + 1, len(found)))
        piece = values(constant, made, slice(first, last), order)
        assert piece.tobytes() == np.ascontiguousarray(expected[first:last].transpose(order)).tobytes()


# Folds and quants


@pytest.mark.parametrize("weights", ["f32", "f16", "i8"])
def test_folds_and_quants_come_back(weights: Any) -> None:
    made, _ = builder(weights=weights, int8=True, targets=())
    for name in ("0500", "1000"):
        net = made.constants(name)
        fold = joined_fold(net.folds)
        assert len(fold) == 4 * fold_numbers(net.cuts)
        assert joined_fold(split_fold(np.frombuffer(fold, "<f4"), net.cuts)) == fold
        assert net.quants is not None
        quant = joined_quant(net.quants)
        assert len(quant) == quant_bytes(net.cuts)
        assert joined_quant(split_quant(quant, net.cuts)) == quant


def test_a_fold_stands_in_the_order_of_the_text() -> None:
    """Per master in_scale, scale, shift; the numbers of ``own`` masters in between."""
    made, _ = builder((Width(500),), ())
    net = made.constants("0500")
    numbers = np.arange(fold_numbers(net.cuts), dtype=np.float32)
    expected, at = [], 0
    for cut, fold in zip(net.cuts, split_fold(numbers, net.cuts), strict=True):
        pieces = [fold.in_scale, fold.scale, fold.shift] if cut.master.role == "weight" else [fold.own]
        expected.append([piece for piece in pieces if piece is not None])
        for piece in expected[-1]:
            assert piece.ravel().tolist() == list(range(at, at + piece.size))
            at += piece.size
    assert at == len(numbers)
    assert [len(pieces) for pieces in expected] == [2, 2, 2, 2, 2, 1, 0, 0, 1]


def test_a_quant_has_all_corrections_after_all_scales() -> None:
    made, _ = builder((Width(500),), (), int8=True)
    net = made.constants("0500")
    assert net.quants is not None
    content = joined_quant(net.quants)
    stem, head = net.quants[0], net.quants[5]
    assert stem is not None
    assert head is not None
    assert stem.correction is not None
    assert head.scale is not None
    assert content.startswith(stem.input_scale.tobytes())
    assert content.endswith(head.input_scale.tobytes() + head.scale.tobytes() + stem.correction.tobytes())


@pytest.mark.parametrize("scale", [0.0, 2.0**-41, 2.0**41, float("nan"), float("inf"), -1.0])
def test_input_scales_outside_their_range_are_refused(scale: float) -> None:
    made = net([[1]], integers="shared", quant=q(t=scale))
    assert made.quants is not None
    with pytest.raises(FormatError, match="bad-quant"):
        split_quant(joined_quant(made.quants), made.cuts)


@pytest.mark.parametrize("scale", [0.0, 2.0**-21, float("nan"), float("inf"), -1.0])
def test_weight_scales_outside_their_range_are_refused(scale: float) -> None:
    made = net([[1]], integers="own", quant=q([scale]))
    assert made.quants is not None
    with pytest.raises(FormatError, match="bad-quant"):
        split_quant(joined_quant(made.quants), made.cuts)


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**40])
def test_the_ends_of_the_range_are_allowed(scale: float) -> None:
    made = net([[1]], integers="own", quant=q([2.0**-20], t=scale))
    assert made.quants is not None
    assert split_quant(joined_quant(made.quants), made.cuts)


def test_every_kind_is_in_the_table_of_the_text() -> None:
    """``constants.Kind`` counts as FORMAT.md §5 does."""
    text = (Path(constants.__file__).parent / "FORMAT.md").read_text()
    rows = re.findall(r"^\| ([0-9]) \| ([a-z0-9 ]+?)(?:: .*)? \| (?:float|integer)", text, re.MULTILINE)
    names = {Kind.BIAS_INTEGERS: "int32 bias"}
    expected = [(str(int(kind)), names.get(kind, kind.name.lower().replace("_", " "))) for kind in Kind]
    assert rows == expected
