"""Locks that die with their process: flock on a file.

Where the system or the file system has none (Windows, some network shares) everything still works, because caches
are keyed by hashes and files appear by rename; only work may then be done twice.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_POLL_S = 0.005
OWN_FILE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""How files of our own are opened: what a link points to is somebody else's, and a pipe would never answer."""


def try_lock(descriptor: int) -> bool | None:
    """Take the lock on an open file without waiting; False: another has it, None: there are no locks here."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextlib.contextmanager
def folder_lock(folder: Path, *, wait_s: float) -> Iterator[bool]:
    """Hold ``folder/lock``; yields whether nobody else is inside.

    False after ``wait_s`` (a stopped process holds it) or where there are no locks.

    Raises:
        OSError: the lock's file cannot be made, or a link stands in its place.
    """
    path = folder / "lock"
    deadline = time.monotonic() + wait_s
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | OWN_FILE, 0o600)
        try:
            got = try_lock(descriptor)
            # The file may have been removed while we waited for it: then others lock another one.
            if got and not _names(path, descriptor):
                continue
            if got is False and time.monotonic() < deadline:
                time.sleep(_POLL_S)
                continue
            yield got is True
            return
        finally:
            os.close(descriptor)


def _names(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
