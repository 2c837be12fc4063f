"""From a bundle's parts back to the exporter's bytes, numpy only.

    NetConstants ── segment_pieces ──┐
    template ── TemplateReader ──────┴─► files, hashed while written

Memory beyond the mapped bundle: a few pieces, or one constant whose slowest axis is not its first (and its float32 form
where it is cast).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import BinaryIO

from edgeslim.core.constants import NetConstants, check_arithmetic
from edgeslim.core.deflate import ByteSource
from edgeslim.core.manifest import FileEntry
from edgeslim.core.recipe import PIECE_BYTES, Segment, segment_bytes, segment_pieces
from edgeslim.errors import FormatError

Piece = bytes | memoryview


def file_pieces(
    files: Sequence[FileEntry], segments: Sequence[Segment], net: NetConstants, template: ByteSource
) -> Iterator[tuple[FileEntry, Iterator[Piece]]]:
    """Every file with its bytes in pieces; each file's pieces have to be taken before the next file.

    Args:
        segments: ascending, each inside one file (``decode_recipe`` proves it).

    Raises:
        FormatError: what ``template`` and ``core.constants`` raise.
        HostError: this thread's processor flags would give other products.
    """
    check_arithmetic()
    waiting = list(reversed(segments))
    start = 0
    for file in files:
        yield file, _pieces(start, start + file.bytes, waiting, net, template)
        start += file.bytes
    template.finish()


def _pieces(start: int, end: int, waiting: list[Segment], net: NetConstants, template: ByteSource) -> Iterator[Piece]:
    position = start
    while waiting and waiting[-1].offset < end:
        segment = waiting.pop()
        yield from _copied(template, segment.offset - position)
        yield from segment_pieces(segment, net)
        position = segment.offset + segment_bytes(segment, net.cuts)
    yield from _copied(template, end - position)


def _copied(template: ByteSource, count: int) -> Iterator[bytes]:
    while count:
        piece = template.read(min(count, PIECE_BYTES))
        yield piece
        count -= len(piece)


def check_files(
    files: Sequence[FileEntry], segments: Sequence[Segment], net: NetConstants, template: ByteSource
) -> None:
    """Rebuild every file into nothing and compare its hash.

    Raises:
        FormatError: ``hash-mismatch``, or as ``file_pieces``.
    """
    for file, pieces in file_pieces(files, segments, net, template):
        digest = hashlib.sha256()
        for piece in pieces:
            digest.update(piece)
        _compare(digest.hexdigest(), file)


def write_files(
    files: Sequence[FileEntry],
    segments: Sequence[Segment],
    net: NetConstants,
    template: ByteSource,
    open_file: Callable[[FileEntry], AbstractContextManager[BinaryIO]],
) -> None:
    """Write every file of an artifact and check its hash before ``open_file``'s block ends.

    A file is hashed by reading it back while another thread already waits for the disk: hashing needs the processor,
    fsync does not, so the hash costs next to no time.

    Args:
        open_file: gives the stream for a file, readable too; an exception in its block must leave nothing behind.

    Raises:
        FormatError: ``hash-mismatch``, or as ``file_pieces``.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="edgeslim-fsync") as pool:
        for file, pieces in file_pieces(files, segments, net, template):
            with open_file(file) as stream:
                for piece in pieces:
                    stream.write(piece)
                if file is files[-1]:
                    template.finish()
                stream.flush()
                syncing = pool.submit(_fsync, stream)
                digest = _sha256(stream)
                syncing.result()
                _compare(digest, file)


def _compare(digest: str, file: FileEntry) -> None:
    if digest != file.sha256:
        raise FormatError("hash-mismatch", f"{file.path} was rebuilt with another content than was packed")


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
