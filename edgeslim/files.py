"""Files appear whole or not at all, and only files are read, up to a limit.

    read_file(path)          a regular file? ─► small enough? ─► its bytes
    check_free(path)         before the work: could ``path`` be written, and may what is there be replaced?
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
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from edgeslim.errors import OutputError

_CHUNK_BYTES = 1 << 20
_PART_SUFFIX, _OLD_SUFFIX = ".part", ".old"
MAX_NAME_BYTES = 255 - len("..xxxxxxxx.part")  # of a result: its unfinished file has a longer name


def _refusal(path: Path, error: OSError) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"cannot write {path}: no space left", hint="free some space or choose another folder")
    return OutputError(f"cannot write {path}: {error.strerror or error}", hint="choose a folder that can be written")


def open_file(path: str | os.PathLike[str]) -> int:
    """A descriptor to read the regular file ``path``; a pipe or a device is refused and never waited for.

    Raises:
        OSError: there is none, it cannot be read, or it is no regular file; ``strerror`` says so.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    raise OSError(errno.EINVAL, "It is no regular file (a pipe, a socket or a device)", os.fspath(path))


def read_file(path: str | os.PathLike[str], *, most_bytes: int) -> bytes:
    """All bytes of a regular file of at most ``most_bytes``.

    Raises:
        OSError: as ``open_file``, or it is larger; nothing has been read then.
    """
    with os.fdopen(open_file(path), "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        data = stream.read(most_bytes + 1) if size <= most_bytes else b""  # it may grow meanwhile
    if max(size, len(data)) > most_bytes:
        message = f"It has {max(size, len(data)):,} bytes, expected at most {most_bytes:,}"
        raise OSError(errno.EFBIG, message, os.fspath(path))
    return data


Ours = Callable[[str], bool]
"""Whether a file of this relative path (with ``/``) could be one of those that the new directory is made of."""


def check_free(path: Path, *, overwrite: bool, ours: Ours | None = None) -> None:
    """Whether ``path`` could be written, before the work whose result it will be.

    Args:
        overwrite: what is there may be replaced: a regular file; where ``ours`` is given, a directory.
        ours: the result is a directory; only one whose files are all ours is replaced.

    Raises:
        OutputError: it exists and may not be replaced, is something else than a file (a directory, a device), its
            folder is missing or cannot be written, or its name is too long.
    """
    path = Path(path)
    parent = path.absolute().parent
    if len(os.fsencode(path.name)) > MAX_NAME_BYTES:
        raise OutputError(
            f"cannot write {path}: its name has {len(os.fsencode(path.name))} bytes, expected at most {MAX_NAME_BYTES}",
            hint="choose a shorter name",
        )
    try:
        there: os.stat_result | None = os.lstat(path)
    except FileNotFoundError:
        there = None
    except OSError as error:
        raise _refusal(path, error) from error
    if there is not None:
        if not overwrite:
            raise OutputError(f"{path} exists", hint="use --overwrite to replace it")
        _check_replaceable(path, there, ours)
    if not parent.is_dir():
        raise OutputError(f"cannot write {path}: no folder {path.parent}", hint=f"mkdir -p {path.parent}")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise _refusal(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def check_space(path: Path, size_bytes: int) -> None:
    """Whether ``size_bytes`` more fit beside ``path``: a bundle of a few kilobytes may rebuild to gigabytes.

    Raises:
        OutputError: they do not.
    """
    with contextlib.suppress(OSError):  # who cannot be asked will say it while it is written
        free = shutil.disk_usage(Path(path).absolute().parent).free
        if size_bytes > free:
            raise OutputError(
                f"cannot write {path}: it has {size_bytes / 1e6:.1f} MB, {free / 1e6:.1f} MB are free",
                hint="free some space or choose another folder",
            )


def check_folder(folder: Path) -> None:
    """Whether files could be written into ``folder``, which is made where it is missing.

    Raises:
        OutputError: it is no folder, cannot be made or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _refusal(folder, error) from error


def _check_replaceable(path: Path, there: os.stat_result, ours: Ours | None) -> None:
    if ours is None:
        mode = path.stat().st_mode if stat.S_ISLNK(there.st_mode) and path.exists() else there.st_mode
        if stat.S_ISDIR(mode):
            raise OutputError(f"cannot write {path}: it is a directory")
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise OutputError(f"cannot replace {path}: it is no regular file")
        return
    if not stat.S_ISDIR(there.st_mode):
        raise OutputError(f"cannot replace {path}: it is not a directory")
    for folder, folders, names in os.walk(path):
        for name in (*names, *(name for name in folders if os.path.islink(os.path.join(folder, name)))):
            inside = Path(folder, name).relative_to(path).as_posix()
            if not ours(inside):
                raise OutputError(
                    f"cannot replace {path}: it holds {inside}, which is none of edgeslim's files",
                    hint="choose another name, or remove it yourself",
                )


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
def temporary_directory_beside(path: Path, *, private: bool = False) -> Iterator[Path]:
    """An empty folder in the same folder as ``path``, to be filled and handed to ``replace_directory``.

    ``private``: nobody else may look into it. What killed processes left for the same ``path`` is removed.
    """

    def make() -> tuple[int, str]:
        name = tempfile.mkdtemp(**_beside(path))
        return os.open(name, os.O_RDONLY), name

    try:
        _remove_leftovers(path)
        descriptor, name = _make_locked(make)
        if not private:
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


def replace_directory(temporary: Path, final: Path, *, overwrite: bool, ours: Ours = lambda path: False) -> None:
    """Put the filled directory ``temporary`` at ``final`` (same folder), whole or not at all.

    Files inside must have been fsynced by their writer; the directories are fsynced here.

    Raises:
        OutputError: ``check_free``'s.
    """
    check_free(final, overwrite=overwrite, ours=ours)
    parent = final.absolute().parent
    for folder, _, _ in os.walk(temporary, topdown=False):
        fsync_directory(Path(folder))
    try:
        if not os.path.lexists(final):
            os.rename(temporary, final)
            fsync_directory(parent)
            return
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


def recover_directory(final: Path, *, ours: Ours) -> bool:
    """Put back a directory that a killed ``replace_directory`` had moved aside; True when it did.

    Only one that is this user's and holds nothing but our files: anybody can make one of that name.
    """
    if os.path.lexists(final):
        return False
    old = [
        path
        for path in final.absolute().parent.glob(f".{glob.escape(final.name)}.*{_OLD_SUFFIX}")
        if _is_own(path) and any(path.iterdir()) and _holds_only(path, ours)
    ]
    if not old:
        return False
    os.rename(max(old, key=lambda p: p.stat().st_mtime_ns), final)
    return True


def _is_own(path: Path) -> bool:
    status = os.lstat(path)
    mine = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
    return stat.S_ISDIR(status.st_mode) and mine and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _holds_only(path: Path, ours: Ours) -> bool:
    try:
        _check_replaceable(path, os.lstat(path), ours)
    except OutputError:
        return False
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
    with os.fdopen(open_file(path), "rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
