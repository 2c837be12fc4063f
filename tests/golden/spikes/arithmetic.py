"""The numbers of a net's constants, from masters, cuts and folds; numpy alone, every step rounded to float32.

Written apart from edgeslim's own arithmetic, so that each checks the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from described import Array, Constant, Float32, Fold, Master, Net, Spike

F32 = np.float32
TINY_SCALE = F32(2.0**-20)  # a channel whose scale is below is dead
DEAD_SCALE = F32(2.0**-8)
NO_FOLD = Fold()


def positions(spike: Spike, net: Net, axis: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """The master's positions that are left along an axis: the first n of every part."""
    found: list[int] = []
    start = 0
    for part in axis:
        found += range(start, start + net.cut[part])
        start += spike.parts[part].size
    return np.array(found)


def cut(values: Array, master: Master, spike: Spike, net: Net) -> Array:
    return np.ascontiguousarray(values[np.ix_(*(positions(spike, net, axis) for axis in master.axes))])


def along(vector: Array, axis: int, rank: int) -> Array:
    """``vector`` shaped to multiply ``axis`` of an array of ``rank`` axes."""
    return vector.reshape([-1 if i == axis else 1 for i in range(rank)])


def of_group(vector: Array, master: Master, spike: Spike, net: Net) -> Array:
    """A vector over axis 1 of all groups, group after group, shaped to multiply the cut."""
    rows = positions(spike, net, master.axes[0])
    full = sum(spike.parts[part].size for part in master.axes[0])
    _, group = np.unique(rows // (full // master.groups), return_inverse=True)
    columns = vector.reshape(group.max() + 1, -1)[group]
    return columns.reshape(*columns.shape, *[1] * (len(master.axes) - 2))


def channels(vector: Array, axis: int, master: Master, spike: Spike, net: Net) -> Array:
    if axis == 1 and master.groups > 1:
        return of_group(vector, master, spike, net)
    return along(vector, axis, len(master.axes))


def weight(master: Master, spike: Spike, net: Net) -> Float32:
    """``(C · in_scale) · scale``."""
    assert master.values is not None
    values, fold = cut(master.values, master, spike, net), net.folds.get(master.name, NO_FOLD)
    for vector, axis in ((fold.in_scale, 1 - master.rows), (fold.scale, master.rows)):
        if vector is not None:
            values = values * channels(vector, axis, master, spike, net)
    return values


def vector(master: Master, spike: Spike, net: Net) -> Float32:
    """A tensor master cut, or what the net brings itself."""
    if master.values is not None:
        return cut(master.values, master, spike, net)
    own = net.folds[master.name].own
    assert own is not None
    return own


def bias(master: Master, spike: Spike, net: Net) -> Float32 | None:
    shift = net.folds.get(master.name, NO_FOLD).shift
    if shift is not None or master.bias is None:
        return shift
    return vector(next(m for m in spike.masters if m.name == master.bias), spike, net)


def step(master: Master) -> Float32:
    """float32(max|M| / 127) per output channel of the whole master."""
    assert master.values is not None
    if master.rows == 0:
        return np.asarray(np.abs(master.values).reshape(len(master.values), -1).max(1) / F32(127), F32)
    by_group = np.abs(master.values).reshape(master.groups, -1, *master.values.shape[1:])
    return np.asarray(by_group.max(axis=(1, *range(3, by_group.ndim))).reshape(-1) / F32(127), F32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantised:
    """A weight's int8 form at one net. ``bias_*`` are None without an input scale (int8 weights alone) or bias."""

    integers: npt.NDArray[np.int8]
    weight_scale: Float32
    dequantised: Float32
    bias_scale: Float32 | None = None
    bias_integers: npt.NDArray[np.int32] | None = None
    bias_dequantised: Float32 | None = None  # what exporters are handed: both roundings of theirs give the integers


def quantised(master: Master, spike: Spike, net: Net) -> Quantised:
    """The integers of a narrow net are those of the full one, cut, with the sign of ``scale``."""
    fold = net.folds.get(master.name, NO_FOLD)
    assert fold.in_scale is None, "an input scale differs per column and net: integers are not those of the master"
    assert master.rows == 0 or master.groups == 1
    assert master.values is not None
    axis, rank = master.rows, len(master.axes)
    steps = step(master)
    divisor = along(np.where(steps == 0, F32(1), steps), axis, rank)
    whole = np.clip(np.rint(master.values / divisor), -127, 127).astype(np.int8)
    q = cut(whole, master, spike, net)
    scales = steps[positions(spike, net, master.axes[axis])]
    if fold.scale is not None:
        scales = scales * np.abs(fold.scale)
        q = np.where(along(fold.scale < 0, axis, rank), -q, q)
    dead = scales < TINY_SCALE
    scales = np.where(dead, DEAD_SCALE, scales)
    q = np.where(along(dead, axis, rank), np.int8(0), q)
    product = q.astype(F32) * along(scales, axis, rank)
    values = bias(master, spike, net)
    if fold.input_scale is None:
        return Quantised(integers=q, weight_scale=scales, dequantised=product)
    bias_scale = scales * fold.input_scale
    if values is None:
        return Quantised(integers=q, weight_scale=scales, dequantised=product, bias_scale=bias_scale)
    # 2^31 is a float32, 2^31 − 1 is not: clamp in float64
    rounded = np.rint(values * (F32(1) / bias_scale)).astype(np.float64)
    bias_integers = np.clip(rounded, 1 - 2.0**31, 2.0**31 - 1).astype(np.int32)
    return Quantised(
        integers=q,
        weight_scale=scales,
        dequantised=product,
        bias_scale=bias_scale,
        bias_integers=bias_integers,
        bias_dequantised=bias_integers.astype(F32) * bias_scale,
    )


def constants(spike: Spike, net: Net, precision: str, *, int32_bias: bool) -> list[Constant]:
    """Every constant of ``net`` that an artifact of this precision (fp32, fp16, w8, int8) should hold.

    ``int32_bias``: whether the runtime's int8 layers have one. Constants that are all zero are left out: zeros stand
    anywhere.
    """
    found: list[tuple[str, str, Array | None]] = []
    biases = {master.bias for master in spike.masters}
    for master in spike.masters:
        if master.role != "weight":
            if master.name not in biases:
                found.append(("vector", master.name, vector(master, spike, net)))
            continue
        if precision in ("fp32", "fp16"):
            found.append(("weight", master.name, weight(master, spike, net)))
        else:
            q = quantised(master, spike, net)
            found += [("integers", master.name, q.integers), ("weight_scale", master.name, q.weight_scale)]
        if precision == "int8":
            found += [("input_scale", master.name, net.folds[master.name].input_scale)]
        if precision == "int8" and int32_bias:
            found += [("bias_integers", master.name, q.bias_integers)]
            found += [("bias_scale", master.name, q.bias_scale if q.bias_integers is not None else None)]
        else:
            found += [("bias", master.name, bias(master, spike, net))]
    return [Constant(kind=k, master=m, values=v) for k, m, v in found if v is not None and np.any(v)]


def in_place_of(constant: Constant, spike: Spike, net: Net) -> Constant | None:
    """What a float operation inside an int8 file holds: the weight or bias that its integers stand for."""
    master = next(m for m in spike.masters if m.name == constant.master)
    q = quantised(master, spike, net)
    if constant.kind == "bias_integers" and q.bias_dequantised is not None:
        return Constant(kind="bias_dequantised", master=master.name, values=q.bias_dequantised)
    if constant.kind == "integers":
        return Constant(kind="weight_dequantised", master=master.name, values=q.dequantised)
    return None


def fold(**vectors: Array | None) -> Fold:
    """A fold of float32 vectors."""
    return Fold(**{key: None if value is None else np.asarray(value, F32) for key, value in vectors.items()})
