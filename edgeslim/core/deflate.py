"""Deflated parts of a bundle: zlib streams (RFC 1950) whose inflated size is declared before.

pack_bytes  ──► zlib stream            shuffle: bytes of 4-byte words regrouped by significance first
InflateReader ──► the bytes, in chunks, never more than declared
"""

from __future__ import annotations

import zlib

import numpy as np

from edgeslim.errors import FormatError

LEVEL = 9
MAX_RATIO = 1032  # deflate cannot do better (zlib, "Maximum Compression Factor")
_CHUNK_BYTES = 1 << 16


def deflated(content: bytes) -> bytes:
    """``content`` as one zlib stream, always at the same level."""
    return zlib.compress(content, LEVEL)


def shuffled(content: bytes) -> bytes:
    """All first bytes of the 4-byte words, then all second ones, and so on: alike bytes stand together."""
    return np.frombuffer(content, np.uint8).reshape(-1, 4).T.tobytes()


def unshuffled(content: bytes) -> bytes:
    """Undo ``shuffled``."""
    return np.frombuffer(content, np.uint8).reshape(4, -1).T.tobytes()


class InflateReader:
    """Reads a zlib stream piece by piece and holds it to its declared size.

    Raises (from every method):
        FormatError: ``inflate-limit`` (the stream holds more, or declares more than deflate can reach),
            ``bad-deflate`` (damaged, too short, or bytes after its end).
    """

    def __init__(self, stored: memoryview, size_bytes: int, what: str) -> None:
        if size_bytes > len(stored) * MAX_RATIO:
            raise FormatError(
                "inflate-limit", f"{what} declares {size_bytes} bytes, {len(stored)} deflated ones cannot hold them"
            )
        self._stored = stored
        self._at = 0
        self._left = size_bytes
        self._what = what
        self._stream = zlib.decompressobj()

    def read(self, count: int) -> bytes:
        """Exactly ``count`` more bytes."""
        pieces = []
        while count:
            piece = self._inflate(count)
            if not piece:
                raise FormatError("bad-deflate", f"{self._what} ends too early")
            pieces.append(piece)
            count -= len(piece)
            self._left -= len(piece)
        return b"".join(pieces)

    def finish(self) -> None:
        """The stream must end here."""
        if self._left:
            raise FormatError("bad-deflate", f"{self._left} bytes of {self._what} were not used")
        if self._inflate(1):
            raise FormatError("inflate-limit", f"{self._what} inflates to more than it declares")
        if not self._stream.eof or self._at < len(self._stored) or self._stream.unused_data:
            raise FormatError("bad-deflate", f"{self._what} does not end where its zlib stream ends")

    def _inflate(self, limit: int) -> bytes:
        while not self._stream.eof:
            source = self._stream.unconsumed_tail
            if not source:
                source = bytes(self._stored[self._at : self._at + _CHUNK_BYTES])
                self._at += len(source)
            try:
                piece = self._stream.decompress(source, limit)
            except zlib.error as error:
                raise FormatError("bad-deflate", f"{self._what}: {error}") from None
            if piece or not source:
                return piece
        return b""


def inflated(stored: memoryview, size_bytes: int, what: str) -> bytes:
    """The whole content of a zlib stream that declares ``size_bytes``."""
    reader = InflateReader(stored, size_bytes, what)
    content = reader.read(size_bytes)
    reader.finish()
    return content
