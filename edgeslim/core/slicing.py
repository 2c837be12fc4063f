"""Cutting a width's weights out of the full-width masters, in numpy alone.

    master (O, I/G, …) ── groups kept, rows, columns ──► slice (o, i/g, …) ── · in_scale ── · scale ──► folded weight

One rule covers every layer. A master has ``full_groups`` groups; the first ``groups`` of them are kept, and in each
the first ``out/groups`` rows and the first ``in/groups`` columns:

    ordinary convolution, linear    1 group of 1          rows[:out], columns[:in]
    depthwise                       out groups of full    rows[:out] (one row a group)
    grouped (ShuffleNet)            3 groups of 3         rows and columns of every group are cut

Folding is one float32 multiply per weight, rounded to nearest even, subnormal results kept: no fused multiply-add,
no flush to zero. Packing and rebuilding both call ``folded_weight``, and the phone readers repeat it, so the bits
are the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeslim.errors import InternalError

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Which part of a master one width uses; channel counts are of the whole layer, not of one group."""

    out_channels: int
    in_channels: int
    groups: int = 1
    full_groups: int = 1


def sliced_weight(master: Float32, cut: Cut) -> Float32:
    """The part of ``master`` that ``cut`` names, as an array of its own.

    Args:
        master: shape (O, I/full_groups, …), any floating dtype.

    Returns:
        Shape (out_channels, in_channels/groups, …), C-contiguous, the dtype of ``master``.

    Raises:
        InternalError: the cut does not fit into the master.
    """
    rows, columns = cut.out_channels // max(cut.groups, 1), cut.in_channels // max(cut.groups, 1)
    full_rows = master.shape[0] // max(cut.full_groups, 1)
    fits = (
        0 < cut.groups <= cut.full_groups
        and master.shape[0] == full_rows * cut.full_groups
        and cut.out_channels == rows * cut.groups
        and cut.in_channels == columns * cut.groups
        and 0 < rows <= full_rows
        and 0 < columns <= master.shape[1]
    )
    if not fits:
        raise InternalError(f"cannot cut {cut} out of a weight of shape {master.shape}")
    grouped = master.reshape(cut.full_groups, full_rows, *master.shape[1:])
    part = grouped[: cut.groups, :rows, :columns]
    return np.array(part.reshape(cut.out_channels, columns, *master.shape[2:]), order="C")


def folded_weight(
    master: Float32, cut: Cut, *, scale: Float32 | None = None, in_scale: Float32 | None = None
) -> Float32:
    """The weight that stands in the deployed net: the slice, times ``in_scale`` per column, times ``scale`` per row.

    Args:
        master: full-width float32 weight, shape (O, I/full_groups, …).
        scale: float32, shape (out_channels,), of a BatchNorm after the layer; None multiplies nothing.
        in_scale: float32, shape (in_channels,), of a BatchNorm before the layer; None multiplies nothing.

    Returns:
        float32, shape (out_channels, in_channels/groups, …), C-contiguous. ``in_scale`` is applied first; each
        product is rounded to float32.

    Raises:
        InternalError: not float32, or a scale of another length.
    """
    for array, length in ((master, None), (scale, cut.out_channels), (in_scale, cut.in_channels)):
        if array is not None and (array.dtype != np.float32 or (length is not None and array.shape != (length,))):
            raise InternalError(f"folding needs float32 arrays of {length} numbers, got {array.dtype} {array.shape}")
    weight = sliced_weight(master, cut)
    tail = (1,) * (weight.ndim - 2)
    if in_scale is not None:
        by_group = np.repeat(in_scale.reshape(cut.groups, -1), cut.out_channels // cut.groups, axis=0)
        weight = weight * by_group.reshape(cut.out_channels, -1, *tail)
    if scale is not None:
        weight = weight * scale.reshape(cut.out_channels, 1, *tail)
    return weight
