"""FORMAT.md §4 and §5 word for word: one number at a time, nothing shared with the package but the manifest's types.

Every operation is one numpy float32 scalar's; rounding to the nearest integer is Python's, on exact values.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from edgeslim.core.constants import Fold, Kind, Quant
from edgeslim.core.manifest import Master, Part

F = np.float32
Array = np.ndarray[Any, Any]
Given = TypeVar("Given")


class NotFiniteError(Exception):
    """A product that the format refuses."""


def given(value: Given | None) -> Given:
    """What this kind of constant needs is there."""
    assert value is not None
    return value


def finite(number: F) -> F:
    if not math.isfinite(number):
        raise NotFiniteError
    return number


def nearest_integer(number: F, limit: int) -> int:
    """Ties to even, clamped to ±limit; Python's ``round`` of a float is exact."""
    if math.isinf(number):
        return limit if number > 0 else -limit
    return max(-limit, min(limit, round(float(number))))


@dataclass
class Literal:
    """One master at one net."""

    master: Master
    parts: Sequence[Part]
    cut: Sequence[int]
    array: Array | None
    fold: Fold
    step: Array | None = None
    quant: Quant | None = None
    bias_numbers: Array | None = None  # of the master that ``bias`` names, at this net

    # Where

    def left(self, axis: int) -> list[int]:
        """N for every n."""
        found, start = [], 0
        for part in self.master.axes[axis]:
            for position in range(self.parts[part].size):
                if position < self.cut[part]:
                    found.append(start + position)
            start += self.parts[part].size
        return found

    def full(self, axis: int) -> int:
        return sum(self.parts[part].size for part in self.master.axes[axis])

    def shape(self) -> tuple[int, ...]:
        return tuple(len(self.left(axis)) for axis in range(len(self.master.axes)))

    def places(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """(n₀, n₁, …) and (N₀, N₁, …) of every element."""
        lefts = [self.left(axis) for axis in range(len(self.master.axes))]
        return [
            (index, tuple(left[n] for left, n in zip(lefts, index, strict=True)))
            for index in itertools.product(*(range(len(left)) for left in lefts))
        ]

    def group(self, row: int) -> int:
        """g(n₀)."""
        size = self.full(0) // self.master.groups
        kept = sorted({position // size for position in self.left(0)})
        return kept.index(self.left(0)[row] // size)

    def along(self, axis: int, index: tuple[int, ...]) -> int:
        """Which channel of ``axis`` an element of the cut belongs to."""
        return index[0] if axis == 0 else self.group(index[0]) * self.shape()[1] + index[1]

    def output(self, index: tuple[int, ...]) -> int:
        return self.along(self.master.rows, index)

    def input(self, index: tuple[int, ...]) -> int:
        return self.along(1 - self.master.rows, index)

    def output_in_master(self, place: tuple[int, ...]) -> int:
        size = self.full(0) // self.master.groups
        return place[0] if self.master.rows == 0 else place[0] // size * self.full(1) + place[1]

    def outputs(self) -> int:
        return 1 + max(self.output(index) for index, _ in self.places())

    def inputs(self) -> int:
        return 1 + max(self.input(index) for index, _ in self.places())

    # Float constants

    def weight(self) -> Array:
        out = np.zeros(self.shape(), F)
        for index, place in self.places():
            number = F(given(self.array)[place])
            if self.master.dtype == "i8":
                number = finite(number * given(self.step)[self.output_in_master(place)])
            if self.fold.in_scale is not None:
                number = finite(number * self.fold.in_scale[self.input(index)])
            if self.fold.scale is not None:
                number = finite(number * self.fold.scale[self.output(index)])
            out[index] = number
        return out

    def vector(self) -> Array:
        if self.master.role == "own":
            return np.array(self.fold.own, F).reshape(self.shape())
        out = np.zeros(self.shape(), {"i8": np.int8, "i32": np.int32}.get(self.master.dtype, F))
        for index, place in self.places():
            out[index] = given(self.array)[place]
        return out

    def bias(self) -> Array:
        return self.fold.shift if self.fold.shift is not None else given(self.bias_numbers).astype(F)

    # Integer constants

    def steps(self) -> dict[int, F]:
        """By output channel of the whole master."""
        if self.master.dtype == "i8":
            return dict(enumerate(given(self.step)))
        largest: dict[int, F] = {}
        for place in itertools.product(*(range(length) for length in given(self.array).shape)):
            channel = self.output_in_master(place)
            largest[channel] = max(largest.get(channel, F(0)), abs(F(given(self.array)[place])))
        return {channel: number / F(127) for channel, number in largest.items()}

    def scales(self) -> tuple[list[F], list[bool]]:
        """s, and which channels are dead."""
        if self.master.integers == "own":
            return list(given(given(self.quant).scale)), [False] * self.outputs()
        steps, found = self.steps(), {}
        for index, place in self.places():
            step = F(steps[self.output_in_master(place)])
            channel = self.output(index)
            found[channel] = step if self.fold.scale is None else finite(step * abs(self.fold.scale[channel]))
        dead = [bool(found[channel] < F(2.0**-20)) for channel in range(len(found))]
        return [F(2.0**-8) if dead[channel] else found[channel] for channel in range(len(found))], dead

    def integers(self) -> Array:
        (scales, dead), steps = self.scales(), self.steps()
        weight = self.weight() if self.master.integers == "own" else None
        out = np.zeros(self.shape(), np.int8)
        for index, place in self.places():
            channel = self.output(index)
            if weight is not None:
                out[index] = nearest_integer(weight[index] / scales[channel], 127)
                continue
            if dead[channel]:
                continue
            if self.master.dtype == "i8":
                number = max(-127, min(127, int(given(self.array)[place])))
            else:
                number = nearest_integer(F(given(self.array)[place]) / steps[self.output_in_master(place)], 127)
            negative = self.fold.scale is not None and self.fold.scale[channel] < 0
            out[index] = -number if negative else number
        return out

    def bias_scale(self) -> list[F]:
        return [finite(scale * given(self.quant).input_scale[0]) for scale in self.scales()[0]]

    def bias_integers(self) -> Array:
        limit, out = 2**31 - 1, []
        for channel, scale in enumerate(self.bias_scale()):
            number = nearest_integer(self.bias()[channel] * (F(1) / scale), limit)
            correction = given(self.quant).correction
            if correction is not None:
                number = max(-limit, min(limit, number + int(correction[channel])))
            out.append(number)
        return np.array(out, np.int32)

    def dequantised_weight(self) -> Array:
        out, integers, scales = np.zeros(self.shape(), F), self.integers(), self.scales()[0]
        for index, _ in self.places():
            out[index] = finite(F(integers[index]) * scales[self.output(index)])
        return out

    def dequantised_bias(self) -> list[F]:
        return [finite(F(n) * scale) for n, scale in zip(self.bias_integers(), self.bias_scale(), strict=True)]

    def constant(self, kind: Kind) -> Array:
        """Any of them.

        Raises:
            NotFiniteError: a product is.
        """
        make = {
            Kind.WEIGHT: self.weight,
            Kind.BIAS: self.bias,
            Kind.VECTOR: self.vector,
            Kind.INTEGERS: self.integers,
            Kind.WEIGHT_SCALE: lambda: self.scales()[0],
            Kind.INPUT_SCALE: lambda: given(self.quant).input_scale,
            Kind.BIAS_SCALE: self.bias_scale,
            Kind.BIAS_INTEGERS: self.bias_integers,
            Kind.DEQUANTISED_WEIGHT: self.dequantised_weight,
            Kind.DEQUANTISED_BIAS: self.dequantised_bias,
        }[kind]
        with np.errstate(all="ignore"):
            found = make()
        return np.array(found, None if isinstance(found, np.ndarray) else F)
