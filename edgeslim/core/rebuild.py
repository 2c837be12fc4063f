"""From a bundle's parts back to the exporter's bytes, numpy only.

    LayerArrays (master, fold) ── segment_values ──┐
    template ── TemplateReader ────────────────────┴─► files, hashed while written

Memory beyond the mapped bundle: a few pieces, or one constant whose slowest axis is not O (and its float32 form
where it is cast).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from edgeslim.core.deflate import ByteSource
from edgeslim.core.manifest import FileEntry
from edgeslim.core.recipe import Constant, Part, Segment, cast, segment_bytes
from edgeslim.core.slicing import Cut
from edgeslim.errors import FormatError, HostError

Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]
PIECE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerFold:
    """What a width adds to one layer: ``in_scale`` (in,), ``scale`` (out,), ``shift`` (out,); None where absent."""

    in_scale: Float32 | None = None
    scale: Float32 | None = None
    shift: Float32 | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerArrays:
    """One layer at one width: the full-width ``master`` (O, I/G, KH, KW), float32 or float16, and what to do to it.

    ``bias`` is the shift or the full-width master bias; its first ``cut.out_channels`` numbers count.
    """

    master: Array
    bias: Array | None
    cut: Cut
    fold: LayerFold

    @property
    def constant(self) -> Constant:
        height, width = self.master.shape[2:]
        return Constant(cut=self.cut, kernel=(height, width), has_bias=self.bias is not None)


def layer_arrays(master: Array, master_bias: Array | None, cut: Cut, fold: LayerFold) -> LayerArrays:
    """Put one layer together; a linear master (O, I) becomes (O, I, 1, 1)."""
    shape = master.shape + (1,) * (4 - master.ndim)
    bias = fold.shift if fold.shift is not None else master_bias
    return LayerArrays(master=master.reshape(shape), bias=bias, cut=cut, fold=fold)


def segment_values(segment: Segment, layer: LayerArrays) -> Array:
    """The numbers of ``segment`` in stored order and type, C-contiguous.

    Shape: the four axes in the order of ``segment.layout``. A view of the master where nothing has to be done.
    """
    first = segment.first_row
    return _rows_of(segment, layer, slice(first, first + (segment.rows or layer.cut.out_channels)))


def segment_pieces(segment: Segment, layer: LayerArrays) -> Iterator[Array]:
    """``segment_values`` in pieces of about ``PIECE_BYTES``, in order; one piece where O is not the slowest axis."""
    first = segment.first_row
    last = first + (segment.rows or layer.cut.out_channels)
    step = last - first
    if segment.layout.axes[0] == 0:
        step = max(1, step * PIECE_BYTES // max(1, math.prod(layer.constant.shape(segment)) * 4))
    for row in range(first, last, step):
        yield _rows_of(segment, layer, slice(row, min(row + step, last)))


def _rows_of(segment: Segment, layer: LayerArrays, rows: slice) -> Array:
    axes = segment.layout.axes
    if segment.part is Part.BIAS:
        assert layer.bias is not None
        values = layer.bias[rows].astype(np.float32, copy=False).reshape(-1, 1, 1, 1).transpose(axes)
    else:
        values = _weight_rows(layer, rows).transpose(axes)
        scaled = values.astype(np.float32, copy=False)
        for factor in (_in_scale(layer, rows), _scale(layer, rows)):
            if factor is not None:
                target = scaled if scaled is not values else np.empty(values.shape, np.float32)
                scaled = np.multiply(scaled, factor.transpose(axes), out=target)
        values = scaled
    return cast(np.ascontiguousarray(values), segment.rule)


def _weight_rows(layer: LayerArrays, rows: slice) -> Array:
    """Rows of the cut master, shape (rows, I/g, KH, KW); a view unless groups lose rows."""
    cut, master = layer.cut, layer.master
    columns = cut.in_channels // cut.groups
    kept, full = cut.out_channels // cut.groups, master.shape[0] // cut.full_groups
    if kept == full or cut.groups == 1:
        return master[rows, :columns]
    grouped = master.reshape(cut.full_groups, full, *master.shape[1:])[: cut.groups, :kept, :columns]
    return grouped.reshape(cut.out_channels, columns, *master.shape[2:])[rows]


def _scale(layer: LayerArrays, rows: slice) -> Float32 | None:
    scale = layer.fold.scale
    return None if scale is None else scale[rows].reshape(-1, 1, 1, 1)


def _in_scale(layer: LayerArrays, rows: slice) -> Float32 | None:
    """Per output row the input scale of its group, shape (rows, I/g, 1, 1)."""
    if layer.fold.in_scale is None:
        return None
    by_group = layer.fold.in_scale.reshape(layer.cut.groups, -1)
    repeated = np.repeat(by_group, layer.cut.out_channels // layer.cut.groups, axis=0)[rows]
    return repeated.reshape(*repeated.shape, 1, 1)


def split_fold(values: Float32, wants: Iterable[tuple[bool, bool, bool, Cut]]) -> list[LayerFold]:
    """The numbers of one width's fold, layer after layer: in_scale, scale, shift.

    Args:
        wants: for every layer whether it has in_scale, scale, shift, and its cut.
    """
    position = 0

    def take(wanted: bool, count: int) -> Float32 | None:
        nonlocal position
        if not wanted:
            return None
        position += count
        return values[position - count : position]

    return [
        LayerFold(
            in_scale=take(has_in, cut.in_channels),
            scale=take(has_scale, cut.out_channels),
            shift=take(has_shift, cut.out_channels),
        )
        for has_in, has_scale, has_shift, cut in wants
    ]


def joined_fold(folds: Sequence[LayerFold]) -> bytes:
    """The inverse of ``split_fold``, as little-endian float32 bytes."""
    parts = [part for fold in folds for part in (fold.in_scale, fold.scale, fold.shift) if part is not None]
    return b"".join(np.asarray(part, "<f4").tobytes() for part in parts)


def write_files(
    files: Sequence[FileEntry],
    segments: Sequence[Segment],
    layers: Sequence[LayerArrays],
    template: ByteSource,
    open_file: Callable[[FileEntry], AbstractContextManager[BinaryIO]],
) -> None:
    """Write every file of an artifact and check its hash before ``open_file``'s block ends.

    A file is hashed by reading it back while another thread already waits for the disk: hashing needs the processor,
    fsync does not, so the hash costs next to no time.

    Args:
        segments: ascending, each inside one file (``decode_recipe`` proves it).
        open_file: gives the stream for a file, readable too; an exception in its block must leave nothing behind.

    Raises:
        FormatError: ``hash-mismatch``, or what ``template`` raises.
        HostError: this thread's processor flags would give other products.
    """
    _check_arithmetic()
    constants = [layer.constant for layer in layers]
    waiting = list(reversed(segments))
    start = 0
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="edgeslim-fsync") as pool:
        for file in files:
            end = start + file.bytes
            with open_file(file) as stream:
                position = start
                while waiting and waiting[-1].offset < end:
                    segment = waiting.pop()
                    _copy(template, segment.offset - position, stream)
                    for piece in segment_pieces(segment, layers[segment.layer]):
                        stream.write(piece.data.cast("B"))
                    position = segment.offset + segment_bytes(segment, constants)
                _copy(template, end - position, stream)
                if file is files[-1]:
                    template.finish()
                stream.flush()
                syncing = pool.submit(_fsync, stream)
                digest = _sha256(stream)
                syncing.result()
                if digest != file.sha256:
                    raise FormatError("hash-mismatch", f"{file.path} was rebuilt with another content than was packed")
            start = end


def _check_arithmetic() -> None:
    """Some libraries make a thread flush subnormal numbers to zero; then the products are not those of the format."""
    small = np.array([2.0**-140], np.float32)
    if (small * np.float32(0.5)).view(np.uint32)[0] != 1 << 8:
        raise HostError(
            "this thread flushes subnormal floats to zero, so weights cannot be rebuilt exactly",
            hint="call torch.set_flush_denormal(False), or rebuild before loading what sets it",
        )


def _copy(template: ByteSource, count: int, stream: BinaryIO) -> None:
    while count:
        piece = template.read(min(count, PIECE_BYTES))
        stream.write(piece)
        count -= len(piece)


def _fsync(stream: BinaryIO) -> None:
    with contextlib.suppress(io.UnsupportedOperation):  # a stream in memory
        os.fsync(stream.fileno())


def _sha256(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    block = bytearray(PIECE_BYTES)
    stream.seek(0)
    while count := stream.readinto(block):  # type: ignore[attr-defined]
        digest.update(memoryview(block)[:count])
    return digest.hexdigest()
