"""Files appear whole or not at all.

    write_atomically(path)   temp file in the same folder ─► fsync ─► rename ─► fsync of the folder
    replace_directory(temp)  old aside ─► new in place ─► fsync of the folder ─► old removed

A killed process leaves the old file or the new one. For a directory there is one moment between two renames in
which the name is missing; ``replace_directory`` uses the system's atomic exchange where there is one (Linux,
macOS) and otherwise leaves the old directory beside it as ``.<name>.<random>.old``, from which
``recover_directory`` puts it back.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from edgeslim.errors import OutputError

_CHUNK_BYTES = 1 << 20
_OLD_SUFFIX = ".old"


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
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.absolute().parent)
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
    try:
        name = tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.absolute().parent)
    except OSError as error:
        raise _refusal(path, error) from error
    os.chmod(name, 0o755 & ~_umask())
    try:
        yield Path(name)
    finally:
        shutil.rmtree(name, ignore_errors=True)


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
        aside = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=_OLD_SUFFIX, dir=parent))
        if _exchange(temporary, final):
            os.rename(temporary, aside)  # an empty directory is replaced
        else:
            os.rename(final, aside)
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
