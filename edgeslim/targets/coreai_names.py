"""Names of constants inside Core AI's ``main.mlirb`` that say what the constants are, the same in every process.

    magic "ML\\xefR", version, producer ─► sections: number, length[, alignment], data
       resource offsets ─► which string names which resource, and how long it is ─┐
       resources        ─► alignment, length, padding, the bytes of a constant    ├─► strings, with new names
       strings          ─► how many, lengths from the last to the first, texts    ┘

The compiler calls a constant ``resource_<hash of its bytes>``, and LLVM seeds that hash anew in every process. The name
is a key only: it is "never recomputed on load" (coreai-torch 0.4.3, ``debugging/graph_match.py``). Here it becomes
``resource_`` and the first 8 bytes of the SHA-256 of the same bytes, in 20 digits, so that equal names go on meaning
equal constants; where several have equal bytes, the later ones get ``_1``, ``_2`` … behind it. Nothing else changes.

MLIR bytecode: https://mlir.llvm.org/docs/BytecodeFormat/. One version of it is understood, any other is refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from edgeslim.errors import ExportError

_MAGIC = b"ML\xefR"
_VERSION = 6  # what coreai-core 1.0 writes
_STRINGS, _RESOURCES, _RESOURCE_OFFSETS = 0, 5, 6
_ALIGNED = 0x80  # beside the section's number
_PADDING = 0xCB
_BLOB = 0  # kind of resource; the others are a truth value and a string
_DRAWN = re.compile(rb"resource_[0-9]+(_[0-9]+)?")  # the last part: MLIR's own, where a name was taken
_DIGITS = 20  # of the largest number in 8 bytes, which is what the compiler's own names count to


def with_stable_names(program: bytes) -> bytes:
    """``program`` (MLIR bytecode) with every ``resource_<number>`` named after the bytes it stands for.

    Raises:
        ExportError: it is not bytecode of the version that is understood here, or not built as that is.
    """
    sections = {section.number: section for section in _sections(program)}
    if not {_STRINGS, _RESOURCES, _RESOURCE_OFFSETS} <= sections.keys():
        if _DRAWN.search(program):
            raise _unknown("constants have names, but there is no list of them")
        return program
    strings = sections[_STRINGS]
    behind = [section for section in sections.values() if section.start > strings.start]
    if strings.aligned or any(section.aligned for section in behind):
        raise _unknown("what stands behind its strings is aligned")
    texts = _read_strings(strings.data)
    for index, name in _names(texts, sections[_RESOURCE_OFFSETS].data, sections[_RESOURCES].data).items():
        texts[index] = name
    data = _written_strings(texts)
    head = program[: strings.start] + bytes([_STRINGS]) + _written_varint(len(data))
    return head + data + program[strings.end :]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """``start`` and ``end`` are places in the file, of the section with its header."""

    number: int
    aligned: bool
    start: int
    end: int
    data: bytes


class _Reader:
    """Bytes from front to back; past their end is an ExportError."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    @property
    def done(self) -> bool:
        return self.at >= len(self.data)

    def take(self, length: int) -> bytes:
        if length > len(self.data) - self.at:
            raise _unknown(f"it ends {length - len(self.data) + self.at} bytes too early")
        self.at += length
        return self.data[self.at - length : self.at]

    def varint(self) -> int:
        """As many zeros as end the first byte, so many bytes follow; the number stands above them, little end first."""
        first = self.take(1)
        if first == b"\0":
            return int.from_bytes(self.take(8), "little")
        follow = (first[0] & -first[0]).bit_length() - 1
        return int.from_bytes(first + self.take(follow), "little") >> (follow + 1)

    def skip_padding(self, alignment: int) -> None:
        if alignment < 1 or alignment & (alignment - 1):
            raise _unknown(f"an alignment of {alignment}")
        padding = self.take(-self.at % alignment)
        if padding.strip(bytes([_PADDING])):
            raise _unknown("padding that is none")


def _sections(program: bytes) -> Iterator[_Section]:
    reader = _Reader(program)
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise _unknown("it is not MLIR bytecode")
    if (version := reader.varint()) != _VERSION:
        raise _unknown(f"its version is {version}, expected {_VERSION}")
    while reader.take(1) != b"\0":  # who wrote it
        pass
    seen = set()
    while not reader.done:
        start = reader.at
        number = reader.take(1)[0]
        length, aligned = reader.varint(), bool(number & _ALIGNED)
        if aligned:
            reader.skip_padding(reader.varint())
        number &= ~_ALIGNED
        if number in seen:
            raise _unknown(f"section {number} comes twice")
        seen.add(number)
        data = reader.take(length)
        yield _Section(number=number, aligned=aligned, start=start, end=reader.at, data=data)


def _read_strings(data: bytes) -> list[bytes]:
    reader = _Reader(data)
    lengths = [reader.varint() for _ in range(reader.varint())]
    texts = [reader.take(length) for length in reversed(lengths)]
    if not reader.done or not all(text.endswith(b"\0") for text in texts):
        raise _unknown("its strings are not told apart as expected")
    return [text[:-1] for text in texts]


def _written_strings(texts: list[bytes]) -> bytes:
    lengths = b"".join(_written_varint(len(text) + 1) for text in reversed(texts))
    return _written_varint(len(texts)) + lengths + b"".join(text + b"\0" for text in texts)


def _names(texts: list[bytes], offsets: bytes, resources: bytes) -> dict[int, bytes]:
    """Place among ``texts`` of each name that the compiler drew → its stable name."""
    listed, stored = _Reader(offsets), _Reader(resources)
    found: dict[int, bytes] = {}
    taken: set[bytes] = set()
    external = listed.varint()
    group = 0
    while not listed.done:
        listed.varint()  # the name of an external group, the number of a dialect
        for _ in range(listed.varint()):
            index, length, kind = listed.varint(), listed.varint(), listed.take(1)[0]
            entry = stored.take(length)
            if index >= len(texts):
                raise _unknown(f"a resource is named by string {index} of {len(texts)}")
            if group < external or not _DRAWN.fullmatch(texts[index]):
                continue
            if kind != _BLOB or index in found:
                raise _unknown(f"{texts[index].decode()} is not one constant")
            name = stem = _named_after(entry)
            again = 0
            while name in taken:  # equal bytes in constants of two types
                again += 1
                name = stem + b"_%d" % again
            taken.add(name)
            found[index] = name
        group += 1
    if not stored.done:
        raise _unknown("resources that nothing names")
    if any(_DRAWN.fullmatch(text) and index not in found for index, text in enumerate(texts)):
        raise _unknown("names of constants that it does not have")
    return found


def _named_after(entry: bytes) -> bytes:
    """The name of a blob ``entry``: alignment, length, padding (which depends on its place in the file) and bytes."""
    reader = _Reader(entry)
    reader.varint()
    length = reader.varint()
    if length > len(entry) - reader.at or entry[reader.at : len(entry) - length].strip(bytes([_PADDING])):
        raise _unknown("a constant is not stored as expected")
    digest = hashlib.sha256(entry[len(entry) - length :]).digest()
    return b"resource_%0*d" % (_DIGITS, int.from_bytes(digest[:8], "big"))


def _written_varint(value: int) -> bytes:
    follow = max(0, (value.bit_length() - 1) // 7)
    if follow > 7:
        return b"\0" + value.to_bytes(8, "little")
    return ((value << (follow + 1)) | (1 << follow)).to_bytes(follow + 1, "little")


def _unknown(what: str) -> ExportError:
    return ExportError(
        f"the Core AI compiler wrote a program that cannot be normalised: {what}",
        hint="pip install the versions of coreai-torch and coreai-core that constraints.txt names",
    )
