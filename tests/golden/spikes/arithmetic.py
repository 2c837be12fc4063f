"""The numbers of a net's constants, from masters, cuts and folds; numpy alone, every step rounded to float32.

int8: ``qscale`` belongs to the master, a net only multiplies it (INT8 rules), so the integers of a narrow net are those
of the full one, cut, with the sign of ``scale``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from described import Array, Constant, Float32, Fold, Master, Net, Spike

TINY_SCALE = np.float32(2.0**-20)  # a row whose weights are all below 127 times this is dead: int8 runtimes refuse less
DEAD_SCALE = np.float32(2.0**-8)
F32 = np.float32


def cut(values: Array, master: Master, spike: Spike, net: Net) -> Array:
    """The first n of every part of every axis."""
    chosen = []
    for axis in master.axes:
        parts, kept = spike.axes[axis], net.cuts[axis]
        starts = np.cumsum([0, *parts[:-1]])
        chosen.append(np.concatenate([np.arange(s, s + n) for s, n in zip(starts, kept, strict=True)]))
    assert values.shape == tuple(sum(spike.axes[axis]) for axis in master.axes)
    return np.ascontiguousarray(values[np.ix_(*chosen)])


def along(vector: Float32, axis: int, rank: int) -> Float32:
    """``vector`` shaped to multiply ``axis`` of an array of ``rank`` axes."""
    return vector.reshape([-1 if i == axis else 1 for i in range(rank)])


def weight(master: Master, spike: Spike, net: Net) -> Float32:
    """``(M · in_scale) · scale``; an input scale belongs to a group's columns. Ungrouped where ``rows_axis`` is 1."""
    values, fold = cut(master.values, master, spike, net), net.folds[master.name]
    if fold.in_scale is not None:
        columns_axis = 1 - master.rows_axis
        if master.groups == 1:
            values = values * along(fold.in_scale, columns_axis, values.ndim)
        else:
            by_group = fold.in_scale.reshape(-1, values.shape[1])
            values = values * np.repeat(by_group, len(values) // len(by_group), 0)[(..., *[None] * (values.ndim - 2))]
    return values if fold.scale is None else values * along(fold.scale, master.rows_axis, values.ndim)


def bias(master: Master, spike: Spike, net: Net) -> Float32 | None:
    """The net's shift, or the weight's own bias, cut."""
    fold = net.folds[master.name]
    own = next((m for m in spike.masters if m.role == "own" and m.name == master.name), None)
    if fold.shift is not None:
        return fold.shift
    return None if own is None else cut(own.values, own, spike, net)


def qscale(master: Master) -> Float32:
    """float32(max|M[o]| / 127) per full-width row."""
    others = tuple(axis for axis in range(master.values.ndim) if axis != master.rows_axis)
    return np.abs(master.values).max(axis=others) / F32(127)


def integers(master: Master) -> npt.NDArray[np.int8]:
    """clamp(round to even(float32(M / qscale)), −127, 127); rows of zeros stay zero."""
    scale = along(qscale(master), master.rows_axis, master.values.ndim)
    quotient = np.divide(master.values, scale, out=np.zeros_like(master.values), where=scale > 0)
    return np.clip(np.rint(quotient), -127, 127).astype(np.int8)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantised:
    """A weight's int8 form at one net. ``bias_*`` are None without an input scale (int8 weights alone) or bias."""

    integers: npt.NDArray[np.int8]
    weight_scale: Float32
    bias_scale: Float32 | None
    bias_integers: npt.NDArray[np.int32] | None
    exact_bias: Float32 | None  # what exporters are handed: both roundings of theirs give ``bias_integers``


def quantised(master: Master, spike: Spike, net: Net) -> Quantised:
    fold, axis, rank = net.folds[master.name], master.rows_axis, master.values.ndim
    assert fold.in_scale is None, "an input scale differs per column and net: integers are not those of the master"
    row_axis = Master(name="", role="weight", values=qscale(master), axes=(master.axes[axis],))
    scales = cut(row_axis.values, row_axis, spike, net)
    q = cut(integers(master), master, spike, net)
    if fold.scale is not None:
        scales = scales * np.abs(fold.scale)
        q = np.where(along(np.signbit(fold.scale), axis, rank), -q, q)
    dead = scales < TINY_SCALE
    scales = np.where(dead, DEAD_SCALE, scales)
    q = np.where(along(dead, axis, rank), np.int8(0), q)
    values = bias(master, spike, net)
    if fold.input_scale is None or values is None:
        return Quantised(integers=q, weight_scale=scales, bias_scale=None, bias_integers=None, exact_bias=None)
    bias_scale = scales * fold.input_scale
    rounded = np.rint(values * (F32(1) / bias_scale))
    # 2^31 is a float32, 2^31 − 1 is not: clamp in float64
    bias_integers = np.clip(rounded.astype(np.float64), -(2.0**31), 2.0**31 - 1).astype(np.int32)
    return Quantised(
        integers=q,
        weight_scale=scales,
        bias_scale=bias_scale,
        bias_integers=bias_integers,
        exact_bias=bias_integers.astype(np.float32) * bias_scale,
    )


def constants(spike: Spike, net: Net, precision: str) -> list[Constant]:
    """Every constant of ``net`` that an artifact of this precision (fp32, fp16, w8, int8) should hold."""
    found = []
    for master in spike.masters:
        if master.role == "tensor":
            found.append(Constant(kind="tensor", master=master.name, values=cut(master.values, master, spike, net)))
        elif master.role == "weight":
            values: dict[str, Array | None] = {"weight": None, "bias": bias(master, spike, net)}
            if precision in ("fp32", "fp16"):
                values["weight"] = weight(master, spike, net)
            else:
                q = quantised(master, spike, net)
                values |= {"integers": q.integers, "weight_scale": q.weight_scale}
            if precision == "int8":
                values |= {"bias": None, "bias_scale": q.bias_scale, "bias_integers": q.bias_integers}
                values["input_scale"] = np.array([net.folds[master.name].input_scale])
            found += [Constant(kind=k, master=master.name, values=v) for k, v in values.items() if v is not None]
    return found


def in_place_of(constant: Constant, spike: Spike, net: Net) -> Constant | None:
    """What a float operation inside an int8 file holds: the weight or bias that its integers stand for."""
    master = next(m for m in spike.masters if m.role == "weight" and m.name == constant.master)
    q = quantised(master, spike, net)
    if constant.kind == "bias_integers" and q.exact_bias is not None:
        return Constant(kind="bias_dequantised", master=master.name, values=q.exact_bias)
    if constant.kind == "integers":
        values = q.integers.astype(F32) * along(q.weight_scale, master.rows_axis, q.integers.ndim)
        return Constant(kind="weight_dequantised", master=master.name, values=values)
    return None


def fold(**vectors: Float32 | None) -> Fold:
    """A fold of float32 vectors."""
    return Fold(**{key: None if value is None else np.asarray(value, F32) for key, value in vectors.items()})
