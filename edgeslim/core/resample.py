"""Resizing uint8 images in fixed point, equal to Pillow's ``Image.resize`` bit for bit (PIXELS.md, "Resize").

    columns first, then rows; after each pass a byte:  clip((Σ byte · coefficient + 2^21) >> 22)

A coefficient is a whole number: the filter's value at the source pixel's centre, divided by the sum over all source
pixels of the output pixel, times 2^22, rounded. Coefficients are the only place with fractions, and the order of
their float64 operations is fixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Interpolation = Literal["nearest", "bilinear", "bicubic"]

FRACTION_BITS = 22
_BLOCK = 16  # output pixels whose coefficients make one dense matrix
_SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coefficients:
    """For some output pixels along one axis: the first source pixel, how many, and their int64 coefficients
    ``weights[output, source - first]`` (zeros behind the last)."""

    first: NDArray[np.int64]
    count: NDArray[np.int64]
    weights: NDArray[np.int64]


@lru_cache(maxsize=256)
def coefficients(
    size: int, resized: int, outputs: range, interpolation: Interpolation, *, antialias: bool
) -> Coefficients:
    """The coefficients of output pixels ``outputs`` when ``size`` source pixels become ``resized``."""
    scale = size / resized
    stretch = max(scale, 1.0) if antialias else 1.0
    support = _SUPPORT[interpolation] * stretch
    inverse = 1.0 / stretch
    centre = (np.arange(outputs.start, outputs.stop, dtype=np.float64) + 0.5) * scale
    first = np.maximum(np.trunc(centre - support + 0.5).astype(np.int64), 0)
    count = np.minimum(np.trunc(centre + support + 0.5).astype(np.int64), size) - first
    taps = np.arange(int(count.max()), dtype=np.int64)[None]
    values = _filter(interpolation, ((taps + first[:, None]) - centre[:, None] + 0.5) * inverse)
    values[taps >= count[:, None]] = 0.0
    total = np.add.accumulate(values, axis=1)[:, -1:]  # one after the other, never pairwise
    exact = values / total * float(1 << FRACTION_BITS)
    weights = np.trunc(np.where(exact < 0, exact - 0.5, exact + 0.5)).astype(np.int64)
    return Coefficients(first=first, count=count, weights=weights)


def _filter(interpolation: Interpolation, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Triangle, or the cubic convolution with a = -1/2; Horner's order."""
    x = np.abs(x)
    if interpolation == "bilinear":
        return np.where(x < 1.0, 1.0 - x, 0.0)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def resample(
    image: NDArray[np.uint8],
    height: int,
    width: int,
    rows: range,
    columns: range,
    interpolation: Interpolation,
    *,
    antialias: bool,
) -> NDArray[np.uint8]:
    """Resize uint8 (H, W, C) to ``height`` x ``width`` and return only these ``rows`` and ``columns`` of the result.

    A pixel does not depend on which others are asked for.
    """
    if image.shape[:2] == (height, width):
        return image[rows.start : rows.stop, columns.start : columns.stop]
    if interpolation == "nearest":
        down = _nearest(image.shape[0], height, rows)
        across = _nearest(image.shape[1], width, columns)
        return image[down[:, None], across[None]]
    along_rows = coefficients(image.shape[0], height, rows, interpolation, antialias=antialias)
    along_columns = coefficients(image.shape[1], width, columns, interpolation, antialias=antialias)
    first, last = int(along_rows.first[0]), int((along_rows.first + along_rows.count).max())
    planes = np.ascontiguousarray(image[first:last].transpose(2, 0, 1))
    if image.shape[1] == width:
        planes = planes[:, :, columns.start : columns.stop]
    else:
        planes = _across(planes, along_columns)
    if image.shape[0] == height:
        planes = planes[:, rows.start - first : rows.stop - first]
    else:
        planes = _down(planes, along_rows, first)
    return np.ascontiguousarray(planes.transpose(1, 2, 0))


def _nearest(size: int, resized: int, outputs: range) -> NDArray[np.int64]:
    return (2 * np.arange(outputs.start, outputs.stop, dtype=np.int64) + 1) * size // (2 * resized)


# Both passes are sums of whole numbers below 2^53 in float64 matrix products, so they are exact in any order.


def _blocks(along: Coefficients) -> Any:
    """(outputs, first source pixel, last, matrix of (source, output)) for a few outputs at a time."""
    for start in range(0, len(along.first), _BLOCK):
        block = slice(start, start + _BLOCK)
        first, count, weights = along.first[block], along.count[block], along.weights[block]
        low, high = int(first[0]), int((first + count).max())
        matrix = np.zeros((high - low, len(first)))
        output, tap = np.nonzero(np.arange(weights.shape[1])[None] < count[:, None])
        matrix[first[output] - low + tap, output] = weights[output, tap]
        yield block, low, high, matrix


def _across(planes: NDArray[np.uint8], along: Coefficients) -> NDArray[np.uint8]:
    """(C, H, W) → (C, H, outputs)."""
    out = np.empty((*planes.shape[:2], len(along.first)), np.uint8)
    for block, low, high, matrix in _blocks(along):
        out[:, :, block] = _to_bytes(planes[:, :, low:high].astype(np.float64) @ matrix)
    return out


def _down(planes: NDArray[np.uint8], along: Coefficients, offset: int) -> NDArray[np.uint8]:
    """(C, H, W) → (C, outputs, W); row 0 is source pixel ``offset``."""
    out = np.empty((planes.shape[0], len(along.first), planes.shape[2]), np.uint8)
    for block, low, high, matrix in _blocks(along):
        out[:, block] = _to_bytes(matrix.T @ planes[:, low - offset : high - offset].astype(np.float64))
    return out


def _to_bytes(sums: NDArray[np.float64]) -> NDArray[np.uint8]:
    """clip((sum + 2^21) >> 22), exact in float64."""
    sums *= 2.0**-FRACTION_BITS
    sums += 0.5
    np.floor(sums, out=sums)
    np.clip(sums, 0, 255, out=sums)
    return sums.astype(np.uint8)
