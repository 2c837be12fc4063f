"""Files appear whole or not at all.

    write_atomically(path)   temp file in the same folder ─► fsync ─► rename ─► fsync of the folder
    replace_directory(temp)  old aside ─► new in place ─► fsync of the folder ─► old removed

A killed process leaves the old file or the new one, and what it was writing as ``.<name>.<random>.part`` beside it.
Writers hold a lock on theirs; the next writer of the same name removes those that nobody holds.

Directories are exchanged in one step where the system can (Linux, macOS). Elsewhere there is a moment between two
renames in which the name is missing; the old directory then stands beside it as ``.<name>.<random>.old``, from
which ``recover_directory`` puts it back.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import glob
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from edgeslim.errors import OutputError

_CHUNK_BYTES = 1 << 20
_PART_SUFFIX, _OLD_SUFFIX = ".part", ".old"


def _refusal(path: Path, error: OSError) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"cannot write {path}: no space left", hint="free some space or choose another folder")
    return OutputError(f"cannot write {path}: {error.strerror or error}", hint="choose a folder that can be written")


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raise OutputError when ``path`` exists and may not be replaced, or its folder is missing."""
    if not overwrite and os.path.lexists(path):
        raise OutputError(f"{path} exists", hint="use --overwrite to replace it")
    if not path.absolute().parent.is_dir():
        raise OutputError(f"cannot write {path}: no folder {path.parent}", hint=f"mkdir -p {path.parent}")


def fsync_directory(folder: Path) -> None:
    """Make renames inside ``folder`` durable; a no-op where directories cannot be opened (Windows)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def write_atomically(path: Path, *, overwrite: bool, lasting: bool = True) -> Iterator[BinaryIO]:
    """A file that becomes ``path`` only when the block ends without an exception.

    Args:
        path: final name; its folder must exist.
        overwrite: whether an existing file may be replaced.
        lasting: whether the new name must survive a power failure from the moment the block ends. Without it the
            old file may be back after one (whole, as the new one would be); saves an fsync of the folder.

    Yields:
        A binary file open for writing (and reading back) in the same folder, mode 0644 within the umask.

    Raises:
        OutputError: ``path`` exists and ``overwrite`` is false, or it cannot be written.
    """
    path = Path(path)
    check_free(path, overwrite=overwrite)
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a directory")
    try:
        _remove_leftovers(path)
        descriptor, name = _make_locked(lambda: tempfile.mkstemp(**_beside(path)))
    except OSError as error:
        raise _refusal(path, error) from error
    temporary = Path(name)
    try:
        try:
            with os.fdopen(descriptor, "w+b", buffering=_CHUNK_BYTES) as stream:
                yield stream
                stream.flush()
                os.fchmod(stream.fileno(), 0o644 & ~_umask())
                os.fsync(stream.fileno())
            if overwrite:
                os.replace(temporary, path)
            else:
                _rename_new(temporary, path)
        except FileExistsError as error:
            raise OutputError(f"{path} exists", hint="use --overwrite to replace it") from error
        except OSError as error:
            raise _refusal(path, error) from error
        if lasting:
            fsync_directory(path.absolute().parent)
    finally:
        temporary.unlink(missing_ok=True)


def _rename_new(temporary: Path, path: Path) -> None:
    """Rename that fails when ``path`` came into being meanwhile (hard link, then unlink by the caller)."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        os.replace(temporary, path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def temporary_directory_beside(path: Path) -> Iterator[Path]:
    """An empty folder in the same folder as ``path``, to be filled and handed to ``replace_directory``."""

    def make() -> tuple[int, str]:
        name = tempfile.mkdtemp(**_beside(path))
        return os.open(name, os.O_RDONLY), name

    try:
        _remove_leftovers(path)
        descriptor, name = _make_locked(make)
        os.chmod(name, 0o755 & ~_umask())
    except OSError as error:
        raise _refusal(path, error) from error
    try:
        yield Path(name)
    finally:
        shutil.rmtree(name, ignore_errors=True)
        os.close(descriptor)


def _beside(path: Path) -> dict[str, Any]:
    return {"prefix": f".{path.name}.", "suffix": _PART_SUFFIX, "dir": path.absolute().parent}


def _make_locked(make: Callable[[], tuple[int, str]]) -> tuple[int, str]:
    """Open what ``make`` makes and hold a lock on it; again if somebody removed it before the lock was there."""
    while True:
        descriptor, name = make()
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(name)):
                return descriptor, name
        os.close(descriptor)


def _remove_leftovers(path: Path) -> None:
    """Remove what killed writers of ``path`` left: parts whose lock nobody holds any more."""
    for part in path.absolute().parent.glob(f".{glob.escape(path.name)}.*{_PART_SUFFIX}"):
        with contextlib.suppress(OSError):  # somebody writes it, or it has just gone
            descriptor = os.open(part, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(part) if part.is_dir() else part.unlink()
            finally:
                os.close(descriptor)


def replace_directory(temporary: Path, final: Path, *, overwrite: bool) -> None:
    """Put the filled directory ``temporary`` at ``final`` (same folder), whole or not at all.

    Files inside must have been fsynced by their writer; the directories are fsynced here.

    Raises:
        OutputError: ``final`` exists and ``overwrite`` is false, is a plain file, or cannot be written.
    """
    check_free(final, overwrite=overwrite)
    parent = final.absolute().parent
    for folder, _, _ in os.walk(temporary, topdown=False):
        fsync_directory(Path(folder))
    try:
        if not os.path.lexists(final):
            os.rename(temporary, final)
            fsync_directory(parent)
            return
        if not final.is_dir() or final.is_symlink():
            raise OutputError(f"cannot replace {final}: it is not a directory")
        if _exchange(temporary, final):
            fsync_directory(parent)
            shutil.rmtree(temporary, ignore_errors=True)
            return
        aside = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=_OLD_SUFFIX, dir=parent))
        os.rename(final, aside)  # an empty directory is replaced
        try:
            os.rename(temporary, final)
        except BaseException:
            os.rename(aside, final)
            raise
        fsync_directory(parent)
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise _refusal(final, error) from error


def recover_directory(final: Path) -> bool:
    """Put back a directory that a killed ``replace_directory`` had moved aside; True when it did."""
    if os.path.lexists(final):
        return False
    old = [p for p in final.absolute().parent.glob(f".{final.name}.*{_OLD_SUFFIX}") if p.is_dir() and any(p.iterdir())]
    if not old:
        return False
    os.rename(max(old, key=lambda p: p.stat().st_mtime_ns), final)
    return True


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step; False where the system cannot."""
    here, swap = (-100, 2) if sys.platform == "linux" else (-2, 2)  # AT_FDCWD, RENAME_EXCHANGE / RENAME_SWAP
    name = {"linux": "renameat2", "darwin": "renameatx_np"}.get(sys.platform)
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None) if name else None
    if function is None:
        return False
    return bool(function(here, os.fsencode(first.absolute()), here, os.fsencode(second.absolute()), swap) == 0)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in lower-case hex, read in chunks."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
