"""The file of an open bundle, so that a session can rebuild from it whatever happens to its name or its length.

    SlimBundle (mapped) ─► BundleFile: held open ── read() ─► the same bundle in memory ─► rebuild ─► memory given back

Touching a mapped page that somebody has cut off ends the process (SIGBUS), so nothing is rebuilt from the mapping. A
file is rebuilt once per device, and reading some 10 MB for that costs less than holding them. A bundle that is replaced
by a rename is still the old one here.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from edgeslim.core.bundle import SlimBundle
from edgeslim.errors import HostError, UsageError

_CHUNK_BYTES = 1 << 24


class BundleFile:
    """Raises ``UsageError``: the file of ``bundle`` cannot be opened."""

    def __init__(self, bundle: SlimBundle) -> None:
        self._bundle = bundle
        self._descriptor = -1
        if isinstance(bundle.stored("manifest").obj, mmap.mmap):  # else it is in memory already
            self._descriptor = _opened(bundle.path)

    def read(self) -> SlimBundle:
        """The bundle in memory.

        Raises:
            HostError: the file has another size than when it was opened, or cannot be read.
        """
        bundle = self._bundle
        if self._descriptor < 0:
            return bundle
        content = bytearray()
        try:
            while chunk := os.pread(self._descriptor, _CHUNK_BYTES, len(content)):
                content += chunk
        except OSError as error:
            raise HostError(f"cannot read {bundle.path} any more: {error.strerror}") from None
        if len(content) != bundle.size_bytes:
            raise HostError(
                f"{bundle.path} had {bundle.size_bytes} bytes when it was opened, now {len(content)}",
                hint="replace a bundle by renaming the new one over it",
            )
        return SlimBundle(bundle.path, memoryview(content), bundle.header, bundle.manifest)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
