"""Deflated parts of a bundle: zlib streams (RFC 1950) whose inflated size is declared elsewhere.

recipes, folds, quants   one stream; folds are shuffled before: bytes of 4-byte words regrouped by significance
templates                one stream per block, each with a preset dictionary: what stands near the same place in the
                         base, then what went before in this template
"""

from __future__ import annotations

import zlib
from typing import Protocol

import numpy as np

from edgeslim.errors import FormatError

LEVEL = 9
MAX_RATIO = 1032  # deflate cannot do better (zlib, "Maximum Compression Factor")
BLOCK_BYTES = 8192
BASE_BEFORE_BYTES = 4096  # how far before the block its dictionary starts in the base
DICTIONARY_BYTES = 16_384  # taken from the base, and again from the template itself; 32 KiB is deflate's window
_CHUNK_BYTES = 1 << 16
_PRESET = 0x20  # the bit FDICT of a zlib stream's second byte

Stored = bytes | memoryview


def deflated(content: bytes) -> bytes:
    """``content`` as one zlib stream, always at the same level."""
    return zlib.compress(content, LEVEL)


def shuffled(content: bytes) -> bytes:
    """All first bytes of the 4-byte words, then all second ones, and so on: alike bytes stand together."""
    return np.frombuffer(content, np.uint8).reshape(-1, 4).T.tobytes()


def unshuffled(content: bytes) -> bytes:
    """Undo ``shuffled``."""
    return np.frombuffer(content, np.uint8).reshape(4, -1).T.tobytes()


def inflated(stored: Stored, size_bytes: int, what: str) -> bytes:
    """The content of one zlib stream that holds exactly ``size_bytes``.

    Raises:
        FormatError: ``inflate-limit`` (the stream holds more, or declares more than deflate can reach),
            ``bad-deflate`` (damaged, too short, or bytes after its end).
    """
    check_ratio(len(stored), size_bytes, what)
    content, used = _one_stream(stored, 0, size_bytes, b"", what)
    if used != len(stored):
        raise FormatError("bad-deflate", f"{what}: bytes after the end of the zlib stream")
    return content


def check_ratio(stored_bytes: int, size_bytes: int, what: str) -> None:
    """Refuse a declared size that ``stored_bytes`` cannot inflate to, before anything is allocated for it."""
    if size_bytes > stored_bytes * MAX_RATIO:
        raise FormatError(
            "inflate-limit", f"{what} declares {size_bytes} bytes, {stored_bytes} deflated ones cannot hold them"
        )


def _one_stream(stored: Stored, at: int, size_bytes: int, dictionary: bytes, what: str) -> tuple[bytes, int]:
    """Inflate the stream that starts at ``at``; returns its content and where it ends."""
    if at + 1 < len(stored) and bool(stored[at + 1] & _PRESET) != bool(dictionary):
        raise FormatError("bad-deflate", f"{what}: a preset dictionary is {'missing' if dictionary else 'not due'}")
    stream = zlib.decompressobj(zdict=dictionary) if dictionary else zlib.decompressobj()
    pieces, left = [], size_bytes + 1  # one more than allowed, to see that nothing follows
    try:
        while not stream.eof:
            source = stream.unconsumed_tail
            if not source:
                source = bytes(stored[at : at + _CHUNK_BYTES])
                at += len(source)
            piece = stream.decompress(source, left)
            pieces.append(piece)
            left -= len(piece)
            if left == 0:
                raise FormatError("inflate-limit", f"{what} inflates to more than it declares")
            if not source:
                break
    except zlib.error as error:
        raise FormatError("bad-deflate", f"{what}: {error}") from None
    if not stream.eof or left != 1:
        raise FormatError("bad-deflate", f"{what} ends too early")
    return b"".join(pieces), at - len(stream.unused_data)


# Templates


def deflated_template(content: bytes, base: bytes | None) -> bytes:
    """A template as its blocks' zlib streams; ``base`` is the template of the base, None for itself."""
    blocks = []
    for start in range(0, len(content), BLOCK_BYTES):
        first = max(0, start - BASE_BEFORE_BYTES)
        dictionary = (base or b"")[first : first + DICTIONARY_BYTES]
        dictionary += content[max(0, start - DICTIONARY_BYTES) : start]
        stream = zlib.compressobj(LEVEL, zdict=dictionary) if dictionary else zlib.compressobj(LEVEL)
        blocks.append(stream.compress(content[start : start + BLOCK_BYTES]) + stream.flush())
    return b"".join(blocks)


class ByteSource(Protocol):
    """Gives bytes one after another, and knows when it is at its end."""

    def read(self, count: int) -> bytes: ...

    def finish(self) -> None: ...


class TemplateReader:
    """Reads a template block by block, keeping a few blocks in memory.

    Args:
        stored: the blocks' streams.
        size_bytes: the declared size.
        base: a reader of the base template; None for the base itself. This reader moves it along.

    Raises (from every method):
        FormatError: ``inflate-limit``, ``bad-deflate``.
    """

    def __init__(self, stored: Stored, size_bytes: int, what: str, base: TemplateReader | None = None) -> None:
        check_ratio(len(stored), size_bytes, what)
        self._stored, self._at = stored, 0
        self._size, self._done = size_bytes, 0  # bytes declared, bytes inflated so far
        self._what = what
        self._ready = b""  # inflated, not read yet
        self._before = b""  # the last bytes inflated, for the next block's dictionary
        self._base = base
        self._window, self._window_at = b"", 0  # what is needed of the base, and where it starts there

    def read(self, count: int) -> bytes:
        """Exactly ``count`` more bytes."""
        pieces = []
        while count:
            if not self._ready:
                self._inflate_block()
            pieces.append(self._ready[:count])
            self._ready = self._ready[count:]
            count -= len(pieces[-1])
        return b"".join(pieces)

    def finish(self) -> None:
        """The template must end here."""
        if self._ready or self._done != self._size or self._at != len(self._stored):
            raise FormatError("bad-deflate", f"{self._what} is longer than what is used of it")

    def _read_at_most(self, count: int) -> bytes:
        return self.read(min(count, self._size - self._done + len(self._ready)))

    def _inflate_block(self) -> None:
        size = min(BLOCK_BYTES, self._size - self._done)
        if size == 0:
            raise FormatError("bad-deflate", f"{self._what} ends too early")
        dictionary = self._from_base() + self._before
        self._ready, self._at = _one_stream(self._stored, self._at, size, dictionary, self._what)
        self._done += size
        self._before = (self._before + self._ready)[-DICTIONARY_BYTES:]

    def _from_base(self) -> bytes:
        if self._base is None:
            return b""
        first = max(0, self._done - BASE_BEFORE_BYTES)
        self._window = self._window[first - self._window_at :]
        self._window_at = first
        self._window += self._base._read_at_most(DICTIONARY_BYTES - len(self._window))
        return self._window
