"""The only place that makes a constant's numbers (FORMAT.md §4 and §5): finder, rebuilder, packer and verify call it.

    masters ─ cut ─► C ─ · in_scale ─ · scale ─► weight        shift or cut ─► bias, vector
                     └─ / step, rounded ─ · sign ─► integers   step · |scale| ─► weight scale
                                                               · input scale ─► bias scale, int32 bias
    integers · weight scale, int32 bias · bias scale ─► dequantised: what float operations in an int8 file hold

Every step is one float32 operation rounded to nearest even, subnormal results kept: no fused multiply-add, no flush to
zero. So the bits are the same in every language. A product that is not finite is refused: infinity times zero is a NaN
whose bits depend on the processor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeslim.core.cut import MasterCut, cut_array, master_cut
from edgeslim.core.manifest import Master, Part
from edgeslim.errors import FormatError, HostError

Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]

LARGEST = 127  # of an int8 weight: symmetric, so that a sign can be turned without overflow
DEAD_BELOW = np.float32(2.0**-20)
DEAD_SCALE = np.float32(2.0**-8)
MIN_INPUT_SCALE, MAX_INPUT_SCALE = np.float32(2.0**-40), np.float32(2.0**40)
MAX_INT32 = (1 << 31) - 1


class Kind(IntEnum):
    """Which constant of a master."""

    WEIGHT = 0
    BIAS = 1
    VECTOR = 2
    INTEGERS = 3
    WEIGHT_SCALE = 4
    INPUT_SCALE = 5
    BIAS_SCALE = 6
    BIAS_INTEGERS = 7
    DEQUANTISED_WEIGHT = 8
    DEQUANTISED_BIAS = 9


INTEGER_KINDS = frozenset({Kind.INTEGERS, Kind.BIAS_INTEGERS})
WHOLE_KINDS = frozenset({Kind.WEIGHT, Kind.VECTOR, Kind.INTEGERS, Kind.DEQUANTISED_WEIGHT})
"""Those of the shape of the cut; all others have one axis."""


@dataclass(frozen=True, slots=True)
class Constant:
    """One constant of a net: ``kind`` of the master at ``master`` in the manifest's order."""

    master: int
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fold:
    """What a net brings to one master: ``in_scale`` (inputs,), ``scale`` (outputs,), ``shift`` (outputs,); or, of an
    ``own`` master, all its numbers (the shape of its cut). None where absent; float32."""

    in_scale: Float32 | None = None
    scale: Float32 | None = None
    shift: Float32 | None = None
    own: Float32 | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quant:
    """What an int8 net brings to one weight: ``input_scale`` (1,), ``scale`` (outputs,) where ``integers`` is ``own``,
    ``correction`` int16 (outputs,)."""

    input_scale: Float32
    scale: Float32 | None = None
    correction: npt.NDArray[np.int16] | None = None


class MasterArrays:
    """The full-size arrays of a bundle, shared by all nets that are cut from them.

    Args:
        array: gives the array of a master by its name, in the master's own type.
        step: gives the steps of an int8 master.
    """

    def __init__(self, masters: Sequence[Master], array: Callable[[str], Array], step: Callable[[str], Array]) -> None:
        self.masters = tuple(masters)
        self._array = array
        self._step = step
        self._steps: dict[str, Float32] = {}
        self.index = {master.name: index for index, master in enumerate(masters)}

    def tensor(self, master: Master) -> Array:
        """The full-size array of ``master``."""
        return self._array(master.of or master.name)

    def steps(self, master: Master) -> Float32:
        """How much one integer is worth in every output channel of the whole master.

        Raises:
            FormatError: ``bad-quant``: a step that is not finite, or below 0.
        """
        known = self._steps.get(master.name)
        if known is None:
            known = self._steps[master.name] = self._read_steps(master)
        return known

    def _read_steps(self, master: Master) -> Float32:
        if master.dtype == "i8":
            steps = np.asarray(self._step(master.of or master.name), np.float32)
            if not np.isfinite(steps).all() or (steps < 0).any():
                raise FormatError("bad-quant", f"{master.name!r} has a step that is not finite, or below 0")
            return steps
        array = np.asarray(self.tensor(master), np.float32)
        if master.rows == 1:  # outputs of all groups, group after group
            by_group = array.reshape(master.groups, -1, *array.shape[1:])
            largest = np.abs(by_group).max(axis=(1, *range(3, by_group.ndim))).reshape(-1)
        else:
            largest = np.abs(array).reshape(array.shape[0], -1).max(axis=1)
        _check_finite(largest, master)
        found: Float32 = largest.astype(np.float32) / np.float32(LARGEST)
        return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetConstants:
    """Everything that the constants of one net are made from. ``folds`` and ``quants`` go with the masters.

    ``quants`` is None for a net without int8 numbers; an entry is None for a master that has none.
    """

    arrays: MasterArrays
    cuts: tuple[MasterCut, ...]
    folds: tuple[Fold, ...]
    quants: tuple[Quant | None, ...] | None = None
    _memo: dict[tuple[int, str], Array] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        arrays: MasterArrays,
        parts: Sequence[Part],
        cut: Sequence[int],
        folds: Sequence[Fold],
        quants: Sequence[Quant | None] | None = None,
    ) -> NetConstants:
        """The constants of the net with ``cut`` (one number per part)."""
        return cls(
            arrays=arrays,
            cuts=tuple(master_cut(master, parts, cut) for master in arrays.masters),
            folds=tuple(folds),
            quants=None if quants is None else tuple(quants),
        )

    def all(self) -> tuple[Constant, ...]:
        """Every constant that this net has."""
        return tuple(
            Constant(index, kind)
            for index in range(len(self.cuts))
            for kind in Kind
            if has(self.cuts[index].master, kind, quantised=self.quants is not None)
        )


def has(master: Master, kind: Kind, *, quantised: bool) -> bool:
    """Whether ``master`` has a constant of this kind in a net with (``quantised``) or without a quant."""
    if kind is Kind.VECTOR:
        return master.role != "weight"
    if master.role != "weight":
        return False
    biased = master.shift or master.bias is not None
    if kind is Kind.WEIGHT:
        return True
    if kind is Kind.BIAS:
        return biased
    if kind in (Kind.INTEGERS, Kind.WEIGHT_SCALE, Kind.DEQUANTISED_WEIGHT):
        return master.integers == "shared" or (master.integers == "own" and quantised)
    return master.integers != "none" and quantised and (biased or kind in (Kind.INPUT_SCALE, Kind.BIAS_SCALE))


def shape_of(cut: MasterCut, kind: Kind) -> tuple[int, ...]:
    """The shape of a constant."""
    if kind in WHOLE_KINDS:
        return cut.shape
    return (1,) if kind is Kind.INPUT_SCALE else (cut.outputs,)


def is_integer(master: Master, kind: Kind) -> bool:
    """Whether a constant is stored as integers (``i8`` or ``i32``)."""
    return kind in INTEGER_KINDS or (kind is Kind.VECTOR and master.dtype in ("i8", "i32"))


def values(
    constant: Constant, net: NetConstants, rows: slice | None = None, order: Sequence[int] | None = None
) -> Array:
    """The numbers of ``constant``: float32, or int8 and int32 where it is one of integers.

    Args:
        rows: which positions of its axis 0, from start to stop; None takes all.
        order: the axes from the slowest to the fastest; None takes them as they are.

    Returns:
        The shape of the constant, its axes in ``order``. A view of the master where nothing has to be done.

    Raises:
        FormatError: ``non-finite``: a product is not finite. ``bad-quant``: damaged steps.
    """
    cut = net.cuts[constant.master]
    shape = shape_of(cut, constant.kind)
    rows = slice(0, shape[0]) if rows is None else rows
    axes = tuple(range(len(shape))) if order is None else tuple(order)
    if constant.kind in (Kind.WEIGHT, Kind.VECTOR):
        return _weight(net, constant.master, rows, axes)
    if constant.kind is Kind.INTEGERS:
        return _integers(net, constant.master, rows).transpose(axes)
    if constant.kind is Kind.DEQUANTISED_WEIGHT:
        return _dequantised(net, constant.master, rows).transpose(axes)
    return _per_channel(net, constant)[rows]


def _along(vector: Float32, cut: MasterCut, axis: int, rows: slice) -> Float32:
    """A per-channel vector, to be multiplied with ``rows`` of the cut: along axis 0, or group by group along 1."""
    tail = (1,) * (len(cut.shape) - 2)
    if axis == 0:
        return vector[rows].reshape(-1, 1, *tail)
    if cut.group is None:
        return vector.reshape(1, -1, *tail)
    return vector.reshape(cut.groups_kept, cut.shape[1])[cut.group[rows]].reshape(-1, cut.shape[1], *tail)


def _weight(net: NetConstants, index: int, rows: slice, axes: tuple[int, ...]) -> Array:
    cut, fold = net.cuts[index], net.folds[index]
    master = cut.master
    if master.role == "own":
        assert fold.own is not None
        return fold.own.reshape(cut.shape)[rows].transpose(axes)
    part = cut_array(net.arrays.tensor(master), cut, rows).transpose(axes)
    if master.role == "tensor":
        return part if master.dtype in ("i8", "i32") else part.astype(np.float32, copy=False)
    factors = [
        _along(vector, cut, axis, rows).transpose(axes)
        for vector, axis in ((fold.in_scale, 1 - master.rows), (fold.scale, master.rows))
        if vector is not None
    ]
    if master.dtype == "i8":
        steps = net.arrays.steps(master)[cut.output_positions]
        factors.insert(0, _along(steps, cut, master.rows, rows).transpose(axes))
    product = part.astype(np.float32, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        for factor in factors:
            target = product if product is not part else np.empty(part.shape, np.float32)
            product = np.multiply(product, factor, out=target)
    if factors:
        _check_finite(product, master)
    return product


def _check_finite(product: Float32, master: Master) -> None:
    if product.size and not (np.isfinite(product.max()) and np.isfinite(product.min())):
        raise FormatError("non-finite", f"a number of {master.name!r} is not finite")


def _scales(net: NetConstants, index: int) -> tuple[Float32, npt.NDArray[np.bool_]]:
    """The weight scale of every output channel, and which channels are dead."""
    cut, fold = net.cuts[index], net.folds[index]
    if cut.master.integers == "own":
        assert net.quants is not None
        quant = net.quants[index]
        assert quant is not None
        assert quant.scale is not None
        return quant.scale, np.zeros(cut.outputs, np.bool_)
    scales = net.arrays.steps(cut.master)[cut.output_positions]
    if fold.scale is not None:
        with np.errstate(over="ignore"):
            scales = scales * np.abs(fold.scale)
        _check_finite(scales, cut.master)
    dead = scales < DEAD_BELOW
    return np.where(dead, DEAD_SCALE, scales), dead


def _integers(net: NetConstants, index: int, rows: slice) -> Array:
    cut, fold = net.cuts[index], net.folds[index]
    master = cut.master
    scales, dead = _scales(net, index)
    if master.integers == "own":
        floats = _weight(net, index, rows, tuple(range(len(cut.shape))))
        _check_finite(floats, master)
        units = scales
    else:
        part = cut_array(net.arrays.tensor(master), cut, rows)
        units = net.arrays.steps(master)[cut.output_positions]
        floats = part.astype(np.float32, copy=False)
    if master.dtype == "i8":
        integers = np.clip(floats, -LARGEST, LARGEST)
    else:
        divisors = _along(np.where(units == 0, np.float32(1), units), cut, master.rows, rows)
        with np.errstate(over="ignore"):  # an infinite quotient is clamped like any other
            integers = np.clip(np.rint(floats / divisors), -LARGEST, LARGEST)
    signs = np.ones(cut.outputs, np.float32)
    if master.integers == "shared" and fold.scale is not None:
        signs[fold.scale < 0] = -1
    signs[dead] = 0
    return (integers * _along(signs, cut, master.rows, rows)).astype(np.int8)


def _dequantised(net: NetConstants, index: int, rows: slice) -> Float32:
    cut = net.cuts[index]
    with np.errstate(over="ignore"):
        product: Float32 = _integers(net, index, rows).astype(np.float32) * _along(
            _scales(net, index)[0], cut, cut.master.rows, rows
        )
    _check_finite(product, cut.master)
    return product


def _per_channel(net: NetConstants, constant: Constant) -> Array:
    """The one-axis constants of a weight, whole."""
    index, kind = constant.master, constant.kind
    known = net._memo.get((index, kind.name))
    if known is None:
        known = net._memo[index, kind.name] = _one_axis(net, index, kind)
    return known


def _one_axis(net: NetConstants, index: int, kind: Kind) -> Array:
    cut = net.cuts[index]
    if kind is Kind.BIAS:
        return _bias(net, index)
    if kind is Kind.WEIGHT_SCALE:
        return _scales(net, index)[0]
    assert net.quants is not None
    quant = net.quants[index]
    assert quant is not None
    if kind is Kind.INPUT_SCALE:
        return quant.input_scale
    if kind is Kind.DEQUANTISED_BIAS:
        integers = _per_channel(net, Constant(index, Kind.BIAS_INTEGERS))
        with np.errstate(over="ignore"):
            product: Float32 = integers.astype(np.float32) * _per_channel(net, Constant(index, Kind.BIAS_SCALE))
        _check_finite(product, cut.master)
        return product
    with np.errstate(over="ignore"):
        bias_scale: Float32 = _scales(net, index)[0] * quant.input_scale
    _check_finite(bias_scale, cut.master)
    if kind is Kind.BIAS_SCALE:
        return bias_scale
    bias = _bias(net, index)
    _check_finite(bias, cut.master)
    with np.errstate(over="ignore"):
        exact = (bias * (np.float32(1) / bias_scale)).astype(np.float64)
    rounded = np.rint(np.clip(exact, -(2.0**31), 2.0**31)).astype(np.int64)
    integers = np.clip(rounded, -MAX_INT32, MAX_INT32)
    if quant.correction is not None:
        integers = np.clip(integers + quant.correction, -MAX_INT32, MAX_INT32)
    return integers.astype(np.int32)


def _bias(net: NetConstants, index: int) -> Float32:
    master, fold = net.cuts[index].master, net.folds[index]
    if fold.shift is not None:
        return fold.shift
    assert master.bias is not None
    own = net.arrays.index[master.bias]
    bias = values(Constant(own, Kind.VECTOR), net)
    if bias.shape != (net.cuts[index].outputs,):
        raise FormatError("bad-cut", f"the bias of {master.name!r} has {bias.size} numbers at this net")
    return np.asarray(bias, np.float32)


def split_fold(numbers: Float32, cuts: Sequence[MasterCut]) -> tuple[Fold, ...]:
    """The content of a net's fold, master after master."""
    position = 0

    def take(wanted: bool, count: int) -> Float32 | None:
        nonlocal position
        if not wanted:
            return None
        position += count
        return numbers[position - count : position]

    folds = []
    for cut in cuts:
        master = cut.master
        own = take(master.role == "own", int(np.prod(cut.shape)))
        folds.append(
            Fold(
                in_scale=take(master.in_scale, cut.inputs) if master.role == "weight" else None,
                scale=take(master.scale, cut.outputs) if master.role == "weight" else None,
                shift=take(master.shift, cut.outputs) if master.role == "weight" else None,
                own=None if own is None else own.reshape(cut.shape),
            )
        )
    return tuple(folds)


def fold_numbers(cuts: Sequence[MasterCut]) -> int:
    """How many float32 numbers a net's fold holds."""
    total = 0
    for cut in cuts:
        if cut.master.role == "own":
            total += int(np.prod(cut.shape))
        elif cut.master.role == "weight":
            total += cut.master.in_scale * cut.inputs + (cut.master.scale + cut.master.shift) * cut.outputs
    return total


def quant_bytes(cuts: Sequence[MasterCut]) -> int:
    """Bytes of a net's quant."""
    total = 0
    for cut in cuts:
        if cut.master.integers != "none":
            total += 4 + (4 * cut.outputs if cut.master.integers == "own" else 0)
            total += 2 * cut.outputs * cut.master.correction
    return total


def split_quant(content: bytes, cuts: Sequence[MasterCut]) -> tuple[Quant | None, ...]:
    """The content of a net's quant.

    Raises:
        FormatError: ``bad-quant``: a scale that is not allowed.
    """
    position = 0

    def take(dtype: str, count: int) -> Array:
        nonlocal position
        array = np.frombuffer(content, dtype, count, position)
        position += array.nbytes
        return array

    scales: list[tuple[Float32, Float32 | None] | None] = []
    for cut in cuts:
        if cut.master.integers == "none":
            scales.append(None)
            continue
        input_scale = take("<f4", 1)
        own = take("<f4", cut.outputs) if cut.master.integers == "own" else None
        if not (MIN_INPUT_SCALE <= input_scale[0] <= MAX_INPUT_SCALE):
            raise FormatError("bad-quant", f"{cut.master.name!r} has an input scale of {input_scale[0]}")
        if own is not None and not ((own >= DEAD_BELOW).all() and np.isfinite(own).all()):
            raise FormatError("bad-quant", f"{cut.master.name!r} has a weight scale below 2^-20, or not finite")
        scales.append((input_scale, own))
    return tuple(
        None
        if pair is None
        else Quant(
            input_scale=pair[0],
            scale=pair[1],
            correction=take("<i2", cut.outputs) if cut.master.correction else None,
        )
        for pair, cut in zip(scales, cuts, strict=True)
    )


def joined_fold(folds: Sequence[Fold]) -> bytes:
    """The inverse of ``split_fold``, as little-endian float32 bytes."""
    parts = [part for f in folds for part in (f.own, f.in_scale, f.scale, f.shift) if part is not None]
    return b"".join(np.ascontiguousarray(part, "<f4").tobytes() for part in parts)


def joined_quant(quants: Sequence[Quant | None]) -> bytes:
    """The inverse of ``split_quant``."""
    there = [quant for quant in quants if quant is not None]
    scales = [part for q in there for part in (q.input_scale, q.scale) if part is not None]
    corrections = [q.correction for q in there if q.correction is not None]
    return b"".join(
        [np.ascontiguousarray(part, "<f4").tobytes() for part in scales]
        + [np.ascontiguousarray(part, "<i2").tobytes() for part in corrections]
    )


def check_arithmetic() -> None:
    """Some libraries make a thread flush subnormal numbers to zero; then the products are not those of the format.

    Raises:
        HostError: this thread does.
    """
    small = np.array([2.0**-140], np.float32)
    if (small * np.float32(0.5)).view(np.uint32)[0] != 1 << 8:
        raise HostError(
            "this thread flushes subnormal floats to zero, so weights cannot be rebuilt exactly",
            hint="call torch.set_flush_denormal(False), or rebuild before loading what sets it",
        )


def of_arrays(masters: Sequence[Master], arrays: Mapping[str, Array], steps: Mapping[str, Array]) -> MasterArrays:
    """Masters that are in memory."""
    return MasterArrays(masters, arrays.__getitem__, steps.__getitem__)
