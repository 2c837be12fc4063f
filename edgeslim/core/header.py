"""The safetensors header of a bundle: one canonical form, read by a regular grammar (FORMAT.md, "Header").

tensors ──► header_bytes ──► 8-byte length + JSON + spaces
file    ──► read_header  ──► Header   every rule checked before anything is allocated
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from edgeslim.errors import FormatError

FORMAT_VERSION = 1
MAX_HEADER_BYTES = 8 << 20
MAX_TENSORS = 8192
MAX_DATA_BYTES = 1 << 40
ITEM_BYTES = {"F32": 4, "I32": 4, "F16": 2, "I8": 1, "U8": 1}
_DATA_ORDER = list(ITEM_BYTES)  # wide types first, so that all stay aligned
MAX_DIMENSIONS = 6

_NAME = re.compile(r"manifest|(?:master|step|fold|quant|template|recipe)/[A-Za-z0-9_][A-Za-z0-9_./-]{0,199}")
_OPENING = b'{"__metadata__":{"format":"edgeslim","format_version":"'
_METADATA = re.compile(rb'([1-9][0-9]{0,8})","manifest_sha256":"([0-9a-f]{64})"\}')
_UINT = rb"0|[1-9][0-9]{0,14}"
_ENTRY = re.compile(
    rb',"([^"\\]{1,256})":\{"data_offsets":\[(%b),(%b)\],"dtype":"([A-Z0-9_]{1,16})","shape":\[((?:%b)(?:,(?:%b)){0,7}|)\]\}'
    % (_UINT, _UINT, _UINT, _UINT)
)
_ENDING = re.compile(rb"\} {0,7}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorEntry:
    """One tensor: ``begin`` and ``end`` are byte offsets from the start of the data section."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A header that obeys every rule; ``data_start`` is the file offset of the data section."""

    manifest_sha256: str
    tensors: dict[str, TensorEntry]
    data_start: int


def data_order(name: str, dtype: str) -> tuple[int, str]:
    """Sort key of the data section: F32, I32, F16, I8, U8, then names."""
    return _DATA_ORDER.index(dtype), name


def header_bytes(manifest_sha256: str, tensors: Iterable[tuple[str, str, tuple[int, ...]]]) -> tuple[bytes, list[str]]:
    """The canonical header for tensors given as (name, dtype, shape).

    Returns:
        The length field and header text, and the tensors' names in the order their data follows.
    """
    tensors = sorted(tensors, key=lambda t: data_order(t[0], t[1]))
    offset = 0
    entries = {}
    for name, dtype, shape in tensors:
        end = offset + math.prod(shape) * ITEM_BYTES[dtype]
        dims = ",".join(map(str, shape))
        entries[name] = f',"{name}":{{"data_offsets":[{offset},{end}],"dtype":"{dtype}","shape":[{dims}]}}'
        offset = end
    metadata = f'{FORMAT_VERSION}","manifest_sha256":"{manifest_sha256}"}}'
    text = _OPENING + (metadata + "".join(entries[name] for name in sorted(entries)) + "}").encode("ascii")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, [name for name, _, _ in tensors]


def header_length(first_bytes: bytes, file_bytes: int) -> int:
    """Length of the header from the file's first 8 bytes.

    Raises:
        FormatError: ``truncated``, ``header-too-large``, ``bad-header``.
    """
    if len(first_bytes) < 8:
        raise FormatError("truncated", f"the file has {len(first_bytes)} bytes, a bundle has more than 8")
    length = int.from_bytes(first_bytes[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise FormatError("header-too-large", f"the header has {length} bytes, at most {MAX_HEADER_BYTES} are allowed")
    if length % 8:
        raise FormatError("bad-header", f"the header has {length} bytes, expected a multiple of 8")
    if 8 + length > file_bytes:
        raise FormatError("truncated", f"the header ends at byte {8 + length}, the file at {file_bytes}")
    return length


def parse_header(text: bytes, file_bytes: int) -> Header:
    """Read the header's text (without the length field) and check it against the size of the file.

    Raises:
        FormatError: naming the broken rule of FORMAT.md.
    """
    if not text.startswith(_OPENING):
        raise FormatError("not-a-bundle", "the header does not say that this is an edgeslim bundle")
    metadata = _METADATA.match(text, len(_OPENING))
    if metadata is None:
        raise FormatError("bad-header", "the __metadata__ object is not in canonical form")
    if int(metadata[1]) != FORMAT_VERSION:
        raise FormatError(
            "unknown-version",
            f"the bundle has format version {metadata[1].decode()}, this reader knows {FORMAT_VERSION}",
            hint="update edgeslim",
        )
    tensors: dict[str, TensorEntry] = {}
    position, last = metadata.end(), ""
    while (match := _ENTRY.match(text, position)) is not None:
        if len(tensors) >= MAX_TENSORS:
            raise FormatError("too-many-tensors", f"more than {MAX_TENSORS} tensors")
        entry = _entry(match)
        if entry.name in tensors:
            raise FormatError("duplicate-key", f"tensor {entry.name!r} stands twice in the header")
        if entry.name < last:
            raise FormatError("key-order", f"tensor {entry.name!r} stands after {last!r}, names ascend")
        tensors[entry.name] = entry
        position, last = match.end(), entry.name
    ending = _ENDING.fullmatch(text, position)
    if ending is None:
        raise FormatError("bad-header", f"byte {8 + position} does not continue a header in canonical form")
    if position + 1 + (-(position + 1) % 8) != len(text):
        raise FormatError("bad-header", "the header is not padded to the next multiple of 8")
    _check_offsets(tensors, file_bytes - 8 - len(text))
    return Header(manifest_sha256=metadata[2].decode(), tensors=tensors, data_start=8 + len(text))


def _entry(match: re.Match[bytes]) -> TensorEntry:
    name = match[1].decode("latin-1")
    if _NAME.fullmatch(name) is None:
        raise FormatError("bad-name", f"no tensor may be called {name!r}")
    dtype = match[4].decode()
    if dtype not in ITEM_BYTES:
        raise FormatError("bad-dtype", f"tensor {name!r} has dtype {dtype}, expected F32, I32, F16, I8 or U8")
    shape = tuple(int(part) for part in match[5].split(b",")) if match[5] else ()
    count = 1
    for dim in shape:
        count *= dim
        if not 0 < count <= MAX_DATA_BYTES:
            raise FormatError("bad-shape", f"tensor {name!r} has shape {list(shape)}: a dimension of 0, or too large")
    begin, end = int(match[2]), int(match[3])
    if not 1 <= len(shape) <= MAX_DIMENSIONS or end - begin != count * ITEM_BYTES[dtype]:
        raise FormatError(
            "bad-shape", f"tensor {name!r} has {end - begin} bytes, its shape {list(shape)} and dtype {dtype} do not"
        )
    return TensorEntry(name=name, dtype=dtype, shape=shape, begin=begin, end=end)


def _check_offsets(tensors: dict[str, TensorEntry], data_bytes: int) -> None:
    """Data lies in ``data_order`` without gap or overlap, and ends where the file ends."""
    position = 0
    for entry in sorted(tensors.values(), key=lambda t: data_order(t.name, t.dtype)):
        if entry.begin != position:
            raise FormatError(
                "bad-offsets", f"tensor {entry.name!r} starts at data byte {entry.begin}, expected {position}"
            )
        position = entry.end
    if position > data_bytes:
        raise FormatError("truncated", f"the data ends at byte {position}, the file holds {data_bytes} bytes of it")
    if position < data_bytes:
        raise FormatError("trailing-bytes", f"{data_bytes - position} bytes after the last tensor")
