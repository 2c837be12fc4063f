"""Recipes: which constant of the net stands where in an artifact's files (FORMAT.md, "Recipe").

files of an artifact, one after another   ┌────────┬───────────┬────┬──────────┬─────┐
                                          │ literal│ segment 0 │ lit│ segment 1│ ... │
                                          └────────┴───────────┴────┴──────────┴─────┘
template = the literal bytes joined;  segment = one constant, permuted, stored by a rule (or the name of that)
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeslim.core.constants import Constant, Kind, NetConstants, has, is_integer, shape_of, values
from edgeslim.core.cut import MasterCut, permutation
from edgeslim.errors import FormatError

MAX_RECIPE_BYTES = 1 << 18
MAX_SEGMENTS = 8192
HASH_BYTES = 64  # a SHA-256 as hexadecimal digits
PIECE_BYTES = 1 << 18
_MAX_VALUE = 1 << 53

Array = npt.NDArray[Any]

_permutation = lru_cache(maxsize=1024)(permutation)


class Rule(IntEnum):
    """How numbers are stored (all little endian)."""

    F32 = 0
    F16 = 1
    F16_COREML = 2
    I8 = 3
    I32 = 4

    @property
    def item_bytes(self) -> int:
        return _ITEM_BYTES[self]


_ITEM_BYTES = {Rule.F32: 4, Rule.F16: 2, Rule.F16_COREML: 2, Rule.I8: 1, Rule.I32: 4}
FLOAT_RULES = frozenset({Rule.F32, Rule.F16, Rule.F16_COREML})


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One constant at ``offset`` of the joined files.

    ``layout`` is the place of a permutation of its axes (``core.cut.permutation``). ``first_row`` and ``rows`` select
    positions of axis 0 (exporters may split a grouped convolution); ``rows`` 0 means all of them. ``hashed``: what
    stands there is the SHA-256 of the stored bytes, in hexadecimal digits.
    """

    offset: int
    master: int
    kind: Kind
    layout: int = 0
    rule: Rule = Rule.F32
    hashed: bool = False
    first_row: int = 0
    rows: int = 0

    @property
    def constant(self) -> Constant:
        return Constant(self.master, self.kind)


def encode_recipe(segments: Sequence[Segment], sizes: Sequence[int]) -> bytes:
    """The binary form: a count, then four or six unsigned LEB128 numbers per segment.

    Args:
        segments: ascending by offset.
        sizes: bytes of each segment.
    """
    out = bytearray()
    _put(out, len(segments))
    end = 0
    for segment, size in zip(segments, sizes, strict=True):
        _put(out, segment.offset - end)
        _put(out, segment.master)
        _put(out, segment.kind)
        partial = segment.rows != 0
        _put(out, partial | segment.hashed << 1 | segment.rule << 2 | segment.layout << 5)
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


def segment_bytes(segment: Segment, cuts: Sequence[MasterCut]) -> int:
    """Bytes that ``segment`` covers."""
    return HASH_BYTES if segment.hashed else content_bytes(segment, cuts)


def content_bytes(segment: Segment, cuts: Sequence[MasterCut]) -> int:
    """Bytes of the numbers of ``segment``, which it stores or names."""
    first, *others = shape_of(cuts[segment.master], segment.kind)
    return (segment.rows or first) * math.prod(others) * segment.rule.item_bytes


def decode_recipe(
    content: bytes, cuts: Sequence[MasterCut], file_sizes: Iterable[int], *, quantised: bool
) -> tuple[Segment, ...]:
    """Read a recipe and prove that every segment lies in one file and overlaps no other.

    Args:
        content: the inflated recipe.
        cuts: every master at the recipe's net, in the manifest's order.
        file_sizes: bytes of the artifact's files, in the manifest's order.
        quantised: whether the net has a quant.

    Raises:
        FormatError: ``bad-recipe``, ``unknown-code``, ``bad-reference``, ``segment-out-of-file``.
    """
    reader = _Reader(content)
    count = reader.take()
    if count > MAX_SEGMENTS or count * 4 > len(content):
        raise FormatError("bad-recipe", f"the recipe declares {count} segments in {len(content)} bytes")
    ends = list(file_sizes)
    file_start, position = 0, 0
    segments = []
    for _ in range(count):
        segment = _segment(reader, position, cuts, quantised=quantised)
        position = segment.offset + segment_bytes(segment, cuts)
        while ends and segment.offset >= file_start + ends[0]:
            file_start += ends.pop(0)
        if not ends or position > file_start + ends[0]:
            raise FormatError("segment-out-of-file", f"a segment ends at byte {position}, outside the file it is in")
        segments.append(segment)
    if reader.at != len(content):
        raise FormatError("bad-recipe", f"{len(content) - reader.at} bytes after the last segment")
    return tuple(segments)


def _segment(reader: _Reader, position: int, cuts: Sequence[MasterCut], *, quantised: bool) -> Segment:
    offset = position + reader.take()
    master, kind, code = reader.take(), reader.take(), reader.take()
    rule, layout = code >> 2 & 7, code >> 5
    first_row, rows = (reader.take(), reader.take()) if code & 1 else (0, 0)
    if kind >= len(Kind) or rule >= len(Rule):
        raise FormatError("unknown-code", f"a segment has the kind {kind} and rule {rule}, one of which is not known")
    if master >= len(cuts):
        raise FormatError("bad-reference", f"a segment is of master {master}, the net has {len(cuts)}")
    cut = cuts[master]
    if not has(cut.master, Kind(kind), quantised=quantised):
        raise FormatError("bad-reference", f"{cut.master.name!r} has no {Kind(kind).name} at this net")
    shape = shape_of(cut, Kind(kind))
    if _permutation(layout, len(shape)) is None:
        raise FormatError("unknown-code", f"a segment has layout {layout}, which {len(shape)} axes do not have")
    if Rule(rule) not in rules_for(cut, Kind(kind)):
        raise FormatError(
            "bad-reference", f"the {Kind(kind).name} of {cut.master.name!r} is not stored as {Rule(rule).name}"
        )
    if code & 1 and (rows == 0 or first_row + rows > shape[0]):
        raise FormatError(
            "bad-reference", f"a segment is rows {first_row} to {first_row + rows} of {cut.master.name!r}"
        )
    return Segment(
        offset=offset,
        master=master,
        kind=Kind(kind),
        layout=layout,
        rule=Rule(rule),
        hashed=bool(code & 2),
        first_row=first_row,
        rows=rows,
    )


def rules_for(cut: MasterCut, kind: Kind) -> frozenset[Rule]:
    """The rules by which a constant can be stored."""
    if not is_integer(cut.master, kind):
        return FLOAT_RULES
    if kind is Kind.BIAS_INTEGERS or (kind is Kind.VECTOR and cut.master.dtype == "i32"):
        return frozenset({Rule.I32})
    return frozenset({Rule.I8})


def stored(numbers: Array, rule: Rule) -> Array:
    """Numbers as ``rule`` stores them, C-contiguous.

    ``F16`` rounds to nearest even. ``F16_COREML`` then does what coremltools 9.0 does to constants of fewer than
    400 elements (``add_fp16_cast``, ``_check_underflow_to_zero``): where float16 is 0 or ±2⁻²⁴ and the float32 was
    larger than 2⁻¹⁴⁹ in size, it becomes 2⁻²⁴ with the sign of the float32.
    """
    if rule is Rule.F32:
        return np.ascontiguousarray(numbers, "<f4")
    if rule is Rule.I8 or rule is Rule.I32:
        return np.ascontiguousarray(numbers, "i1" if rule is Rule.I8 else "<i4")
    with np.errstate(over="ignore", under="ignore"):
        half = np.ascontiguousarray(numbers).astype("<f2")
    if rule is Rule.F16_COREML:
        tiny = np.float16(2.0**-24)
        lost = (np.abs(half) <= tiny) & (np.abs(numbers) > np.float32(2.0**-149))
        half[lost] = np.where(numbers[lost] > 0, tiny, -tiny)
    return half


def segment_pieces(segment: Segment, net: NetConstants) -> Iterator[memoryview | bytes]:
    """The bytes of ``segment`` in pieces of about ``PIECE_BYTES``; one piece where axis 0 is not the slowest.

    Raises:
        FormatError: as ``core.constants.values``.
    """
    if segment.hashed:
        digest = hashlib.sha256()
        for piece in _numbers(segment, net):
            digest.update(piece)
        yield digest.hexdigest().encode()
    else:
        yield from _numbers(segment, net)


def _numbers(segment: Segment, net: NetConstants) -> Iterator[memoryview]:
    shape = shape_of(net.cuts[segment.master], segment.kind)
    order = _permutation(segment.layout, len(shape))
    assert order is not None
    first, last = segment.first_row, segment.first_row + (segment.rows or shape[0])
    step = last - first
    if order[0] == 0:
        step = max(1, PIECE_BYTES // max(1, math.prod(shape[1:]) * 4))
    for row in range(first, last, step):
        numbers = values(segment.constant, net, slice(row, min(row + step, last)), order)
        yield stored(numbers, segment.rule).data.cast("B")


def segment_content(segment: Segment, net: NetConstants) -> bytes:
    """All bytes of ``segment``."""
    return b"".join(segment_pieces(segment, net))
