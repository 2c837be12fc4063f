"""Recipes: which constant of the net stands where in an artifact's files (FORMAT.md, "Recipe").

    files of an artifact, one after another   ┌────────┬───────────┬────┬──────────┬─────┐
                                              │ literal│ segment 0 │ lit│ segment 1│ ... │
                                              └────────┴───────────┴────┴──────────┴─────┘
    template = the literal bytes joined;  segment = one constant, cut, scaled, permuted, cast

``constant_values`` is the one place that makes a segment's numbers: the finder and the rebuilder both call it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeslim.core.slicing import Cut
from edgeslim.errors import FormatError

MAX_RECIPE_BYTES = 1 << 18
MAX_SEGMENTS = 8192
_MAX_VALUE = 1 << 53

Array = npt.NDArray[Any]


class Layout(IntEnum):
    """Order in which the four axes O, I, H, W of a constant are stored; a bias is O alone."""

    OIHW = 0
    OHWI = 1
    IHWO = 2
    HWIO = 3
    HWOI = 4
    IOHW = 5

    @property
    def axes(self) -> tuple[int, int, int, int]:
        """Stored axis → axis of (O, I, H, W)."""
        o, i, h, w = ("OIHW".index(letter) for letter in self.name)
        return o, i, h, w


class Rule(IntEnum):
    """How float32 numbers become the stored ones (all little endian)."""

    F32 = 0
    F16 = 1
    F16_COREML = 2

    @property
    def item_bytes(self) -> int:
        return 4 if self is Rule.F32 else 2


class Part(IntEnum):
    """Which constant of a layer."""

    WEIGHT = 0
    BIAS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One constant at ``offset`` of the joined files.

    ``first_row`` and ``rows`` select output channels (exporters may split a grouped convolution);
    ``rows`` 0 means all of them.
    """

    offset: int
    layer: int
    part: Part
    layout: Layout = Layout.OIHW
    rule: Rule = Rule.F32
    first_row: int = 0
    rows: int = 0


def encode_recipe(segments: Sequence[Segment], sizes: Sequence[int]) -> bytes:
    """The binary form: a count, then five or seven unsigned LEB128 numbers per segment.

    Args:
        segments: ascending by offset.
        sizes: bytes of each segment.
    """
    out = bytearray()
    _put(out, len(segments))
    end = 0
    for segment, size in zip(segments, sizes, strict=True):
        _put(out, segment.offset - end)
        _put(out, segment.layer)
        partial = segment.rows != 0
        _put(out, segment.part | partial << 1 | segment.rule << 2 | segment.layout << 5)
        if partial:
            _put(out, segment.first_row)
            _put(out, segment.rows)
        end = segment.offset + size
    return bytes(out)


def _put(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


class _Reader:
    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0

    def take(self) -> int:
        """One unsigned LEB128 number below 2^53 in its shortest form."""
        value = shift = 0
        while True:
            if self.at >= len(self.content):
                raise FormatError("bad-recipe", "the recipe ends inside a number")
            byte = self.content[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 49:
                raise FormatError("bad-recipe", "a number has more than 8 bytes")
        if value >= _MAX_VALUE or (byte == 0 and shift):
            raise FormatError("bad-recipe", "a number is too large or not in its shortest form")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """A layer's part at one width, before its numbers are looked at: enough to check a recipe."""

    cut: Cut
    kernel: tuple[int, int]
    has_bias: bool

    def shape(self, segment: Segment) -> tuple[int, int, int, int]:
        """(O, I, H, W) of what ``segment`` stores."""
        rows = segment.rows or self.cut.out_channels
        if segment.part is Part.BIAS:
            return rows, 1, 1, 1
        return rows, self.cut.in_channels // self.cut.groups, *self.kernel


def segment_bytes(segment: Segment, constants: Sequence[Constant]) -> int:
    """Bytes that ``segment`` covers."""
    return math.prod(constants[segment.layer].shape(segment)) * segment.rule.item_bytes


def decode_recipe(content: bytes, constants: Sequence[Constant], file_sizes: Iterable[int]) -> tuple[Segment, ...]:
    """Read a recipe and prove that every segment lies in one file and overlaps no other.

    Args:
        content: the inflated recipe.
        constants: every layer at the recipe's width, in the manifest's order.
        file_sizes: bytes of the artifact's files, in the manifest's order.

    Raises:
        FormatError: ``bad-recipe``, ``unknown-code``, ``bad-reference``, ``segment-out-of-file``.
    """
    reader = _Reader(content)
    count = reader.take()
    if count > MAX_SEGMENTS or count * 3 > len(content):
        raise FormatError("bad-recipe", f"the recipe declares {count} segments in {len(content)} bytes")
    ends = list(file_sizes)
    file_start, position = 0, 0
    segments = []
    for _ in range(count):
        segment = _segment(reader, position, constants)
        position = segment.offset + segment_bytes(segment, constants)
        while ends and segment.offset >= file_start + ends[0]:
            file_start += ends.pop(0)
        if not ends or position > file_start + ends[0]:
            raise FormatError("segment-out-of-file", f"a segment ends at byte {position}, outside the file it is in")
        segments.append(segment)
    if reader.at != len(content):
        raise FormatError("bad-recipe", f"{len(content) - reader.at} bytes after the last segment")
    return tuple(segments)


def _segment(reader: _Reader, position: int, constants: Sequence[Constant]) -> Segment:
    offset = position + reader.take()
    layer, code = reader.take(), reader.take()
    rule, layout = code >> 2 & 7, code >> 5
    if rule >= len(Rule) or layout >= len(Layout):
        raise FormatError("unknown-code", f"segment code {code} has a rule or layout this reader does not know")
    first_row, rows = (reader.take(), reader.take()) if code & 2 else (0, 0)
    if layer >= len(constants):
        raise FormatError("bad-reference", f"a segment is of layer {layer}, the net has {len(constants)}")
    part, constant = Part(code & 1), constants[layer]
    if part is Part.BIAS and not constant.has_bias:
        raise FormatError("bad-reference", f"a segment is the bias of layer {layer}, which has none")
    if code & 2 and (rows == 0 or first_row + rows > constant.cut.out_channels):
        raise FormatError("bad-reference", f"a segment is rows {first_row} to {first_row + rows} of layer {layer}")
    return Segment(
        offset=offset,
        layer=layer,
        part=part,
        layout=Layout(layout),
        rule=Rule(rule),
        first_row=first_row,
        rows=rows,
    )


def cast(values: npt.NDArray[np.float32], rule: Rule) -> Array:
    """Float32 numbers as ``rule`` stores them.

    ``F16`` rounds to nearest even. ``F16_COREML`` then does what coremltools 9.0 does to constants of fewer than
    400 elements (``add_fp16_cast``, ``_check_underflow_to_zero``): where float16 is 0 or ±2⁻²⁴ and the float32 was
    larger than 2⁻¹⁴⁹ in size, it becomes 2⁻²⁴ with the sign of the float32.
    """
    if rule is Rule.F32:
        return values.astype("<f4", copy=False)
    with np.errstate(over="ignore", under="ignore"):
        half = values.astype("<f2")
    if rule is Rule.F16_COREML:
        tiny = np.float16(2.0**-24)
        lost = (np.abs(half) <= tiny) & (np.abs(values) > np.float32(2.0**-149))
        half[lost] = np.where(values[lost] > 0, tiny, -tiny)
    return half
