"""Puts a bundle together from bytes without any check, so that goldens can break one rule each.

Written from core/FORMAT.md, not from the package: a second opinion on the header and on the recipe.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

ITEM = {"F32": 4, "I32": 4, "F16": 2, "I8": 1, "U8": 1}
ORDER = list(ITEM)  # of the data


@dataclass
class Raw:
    """A bundle in pieces; change any of them, then take ``to_bytes``."""

    manifest: Any
    tensors: dict[str, tuple[str, list[int], bytes]]  # without the manifest
    manifest_text: bytes | None = None  # instead of the canonical text of ``manifest``
    header_text: Callable[[bytes], bytes] = field(default=lambda text: text)  # last change before padding
    pad: bool = True

    @classmethod
    def read(cls, content: bytes) -> Raw:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        data = content[8 + length :]
        del header["__metadata__"]
        tensors = {
            name: (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])])
            for name, entry in header.items()
        }
        return cls(manifest=json.loads(tensors.pop("manifest")[2]), tensors=tensors)

    def to_bytes(self) -> bytes:
        text = self.manifest_text if self.manifest_text is not None else canonical(self.manifest)
        tensors = {**self.tensors, "manifest": ("U8", [len(text)], text)}
        order = sorted(tensors, key=lambda name: (ORDER.index(tensors[name][0]), name))
        at, entries = 0, {}
        for name in order:
            dtype, shape, content = tensors[name]
            entries[name] = {"data_offsets": [at, at + len(content)], "dtype": dtype, "shape": shape}
            at += len(content)
        metadata = {
            "format": "edgeslim",
            "format_version": "1",
            "manifest_sha256": hashlib.sha256(text).hexdigest(),
        }
        header = self.header_text(canonical({"__metadata__": metadata, **entries}))
        if self.pad:
            header += b" " * (-len(header) % 8)
        return len(header).to_bytes(8, "little") + header + b"".join(tensors[name][2] for name in order)

    def set_content(self, name: str, content: bytes, hash_into: dict[str, Any] | None = None, key: str = "") -> None:
        """Store ``content`` deflated as ``name``; its hash goes to ``hash_into[key]``."""
        stored = zlib.compress(content, 9)
        self.set_stored(name, stored)
        if hash_into is not None:
            hash_into[key] = hashlib.sha256(content).hexdigest()

    def set_stored(self, name: str, stored: bytes) -> None:
        self.tensors[name] = ("U8", [len(stored)], stored)

    def content(self, name: str) -> bytes:
        return zlib.decompress(self.tensors[name][2])

    def template(self, name: str, base: bytes) -> bytes:
        """The content of a template; ``base`` is that of its base, empty without one."""
        own, at = b"", 0
        while at < len(self.tensors[name][2]):
            block, at = self._block(name, base, own, at)
            own += block
        return own

    def ends(self, name: str, base: bytes) -> list[int]:
        """Where the streams of a template's blocks end."""
        own, ends = b"", [0]
        while ends[-1] < len(self.tensors[name][2]):
            block, end = self._block(name, base, own, ends[-1])
            own += block
            ends.append(end)
        return ends[1:]

    def _block(self, name: str, base: bytes, own: bytes, at: int) -> tuple[bytes, int]:
        stored, start = self.tensors[name][2], max(0, len(own) - 4096)
        dictionary = base[start : start + 16384] + own[max(0, len(own) - 16384) :]
        stream = zlib.decompressobj(zdict=dictionary) if dictionary else zlib.decompressobj()
        block = stream.decompress(stored[at:]) + stream.flush()
        return block, len(stored) - len(stream.unused_data)

    def add_tensor(self, name: str, dtype: str, shape: list[int]) -> None:
        self.tensors[name] = (dtype, shape, bytes(math.prod(shape) * ITEM[dtype]))


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def leb(*numbers: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    for number in numbers:
        while number > 0x7F:
            out.append(number & 0x7F | 0x80)
            number >>= 7
        out.append(number)
    return bytes(out)
