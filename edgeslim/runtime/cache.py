"""Rebuilt artifacts on disk, keyed by their hash, shared by any number of processes.

    edgeslim-session/             own_folder.py
      lock                        held (flock) while something is built or removed
      artifacts/<key>/model.pte   whole, or not there; its modification time is when it was last used
      artifacts/.<key>.*.part     being built; when nobody holds the lock it is a leftover and is removed

    ensure(plan) ─► there? ─► size, then hash (once per process and file) ─► CachedArtifact
                      └ no, or broken ─► lock ─► build beside ─► rename ─► look again

Only names that could be ours (a key is a SHA-256) are ever removed. No content is trusted: a file is hashed when this
process first meets it and again when its size, inode or time has changed. ``CachedArtifact.intact`` tells at any later
moment whether somebody wrote into a file that a runtime has mapped. The folder may vanish at any moment; it is made
again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from edgeslim.core.manifest import FileEntry
from edgeslim.errors import FormatError, OutputError
from edgeslim.runtime.deployment import ArtifactPlan
from edgeslim.runtime.locking import OWN_FILE, folder_lock
from edgeslim.runtime.own_folder import OwnFolder

DEFAULT_BYTES = 512 << 20
_ATTEMPTS = 5
_CHUNK_BYTES = 1 << 20
_LEFTOVER_S = 3600.0  # age at which a leftover is removed where the lock cannot be had
_UNFINISHED, _REMOVED = ".part", ".gone"
_KEY = re.compile(r"[0-9a-f]{64}")
_LEFTOVER = re.compile(r"\.[0-9a-f]{64}\.[a-z0-9_]{8}\.(part|gone)")

Identity = tuple[int, int, int, int]


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class CachedArtifact:
    """A verified artifact, held open: it can be removed from the folder but not changed unnoticed."""

    def __init__(self, root: Path, seals: list[tuple[Path, int, Identity]], release: Callable[[], None]) -> None:
        self.root = root
        self._seals = seals
        self._release: Callable[[], None] | None = release

    def intact(self) -> bool:
        """Whether the very files that were verified are unchanged (removed ones are); about 1 µs per file."""
        return all(_identity(os.fstat(descriptor)) == identity for _, descriptor, identity in self._seals)

    def in_place(self) -> bool:
        """Whether they are also still what the paths name, so that a runtime that opened the paths opened them."""
        try:
            return self.intact() and all(_identity(os.stat(path)) == identity for path, _, identity in self._seals)
        except OSError:
            return False

    def close(self) -> None:
        release, self._release = self._release, None
        if release is None:
            return
        for _, descriptor, _ in self._seals:
            os.close(descriptor)
        self._seals = []
        release()


class ArtifactCache:
    """One folder of rebuilt artifacts, at most ``max_bytes`` of them (those in use here may be more).

    ``lock_wait_s``: how long to wait for a process that builds or removes; a stopped one must not stop this one.
    """

    def __init__(self, own: OwnFolder, *, max_bytes: int = DEFAULT_BYTES, lock_wait_s: float = 10.0) -> None:
        self._own = own
        self._lock_wait_s = lock_wait_s
        self.max_bytes = max_bytes
        self._verified: dict[tuple[str, str], Identity] = {}
        self._pins: Counter[str] = Counter()
        self.repaired = 0
        """How many broken artifacts this process has found and rebuilt."""

    @property
    def folder(self) -> Path:
        return self._own.path

    @property
    def _artifacts(self) -> Path:
        return self._own.path / "artifacts"

    def ensure(self, plan: ArtifactPlan, build: Callable[[Path], None]) -> CachedArtifact:
        """The artifact, verified; built first where it is missing or broken.

        Args:
            build: writes the artifact at a path that does not exist, in an empty folder, and checks its hash.

        Raises:
            OutputError: the folder cannot be written (a full disk is first emptied of what nobody here uses), or what
                is in it does not stay as it is.
            FormatError: ``build`` raised it, every time.
        """
        emptied = False
        mismatch: FormatError | None = None
        for _ in range(_ATTEMPTS):
            try:
                return self._find(plan) or self._find_or_build(plan, build)
            except FileNotFoundError:
                continue  # the folder was removed while we were in it
            except FormatError as error:
                if error.rule != "hash-mismatch":
                    raise
                mismatch = error  # written into while it was built? A damaged bundle gives the same again
                continue
            except OSError as error:
                refusal = OutputError(
                    f"cannot write the cache {self.folder}: {error.strerror or error}",
                    hint="choose another folder with --cache-dir",
                )
                refusal.__cause__ = error
            except OutputError as error:
                refusal = error
            if emptied or _errno(refusal) not in _NO_SPACE:
                raise refusal
            emptied = True
            with contextlib.suppress(OSError), folder_lock(self.folder, wait_s=self._lock_wait_s):
                self._make_room(self.max_bytes, keep=plan.key)
        if mismatch is not None:
            raise mismatch
        raise OutputError(
            f"cannot keep files in the cache {self.folder}: they vanish or are changed at once",
            hint="choose another folder with --cache-dir",
        )

    def close(self) -> None:
        """Nothing is kept here any more by this process."""
        self._own.close()

    # Looking

    def _find(self, plan: ArtifactPlan) -> CachedArtifact | None:
        """The artifact if it is there and right. Nothing is repaired here."""
        if not self._own.usable():
            return None
        root = self._artifacts / plan.key / plan.name
        seals: list[tuple[Path, int, Identity]] = []
        try:
            if plan.directory and _names_in(root) != {file.path for file in plan.files}:
                return None
            for file in plan.files:
                path = plan.place(root, file)
                descriptor = os.open(path, os.O_RDONLY | OWN_FILE)
                identity = _identity(os.fstat(descriptor))
                seals.append((path, descriptor, identity))
                if not self._right(plan.key, file, descriptor, identity):
                    _close(seals)
                    return None
        except OSError:  # missing, unreadable, a failing disk
            _close(seals)
            return None
        with contextlib.suppress(OSError):  # somebody else's folder, or gone already: still readable
            os.utime(root.parent)
        self._pins[plan.key] += 1
        return CachedArtifact(root, seals, lambda: self._unpin(plan.key))

    def _unpin(self, key: str) -> None:
        self._pins[key] -= 1

    def _right(self, key: str, file: FileEntry, descriptor: int, identity: Identity) -> bool:
        if identity[2] != file.bytes:
            return False
        if self._verified.get((key, file.path)) == identity:
            return True
        digest = hashlib.sha256()
        position = 0
        while chunk := os.pread(descriptor, _CHUNK_BYTES, position):
            digest.update(chunk)
            position += len(chunk)
        if digest.hexdigest() != file.sha256 or _identity(os.fstat(descriptor)) != identity:
            return False
        self._verified[key, file.path] = identity
        return True

    # Building

    def _find_or_build(self, plan: ArtifactPlan, build: Callable[[Path], None]) -> CachedArtifact:
        self._own.make()
        self._artifacts.mkdir(exist_ok=True)
        with folder_lock(self.folder, wait_s=self._lock_wait_s) as alone:
            found = self._find(plan)  # another process may have built it while we waited
            if found is not None:
                return found
            if self._remove(plan.key):
                self.repaired += 1
            self._clear_leftovers(everything=alone)
            self._make_room(plan.size_bytes, keep=plan.key)
            self._check_space(plan.size_bytes)
            self._build(plan, build)
            found = self._find(plan)
        if found is None:
            raise FileNotFoundError(plan.key)  # ``build`` had checked it: removed or written into since
        return found

    def _build(self, plan: ArtifactPlan, build: Callable[[Path], None]) -> None:
        part = Path(tempfile.mkdtemp(prefix=f".{plan.key}.", suffix=_UNFINISHED, dir=self._artifacts))
        try:
            os.chmod(part, 0o755)
            root = part / plan.name
            try:
                build(root)
            except OutputError:
                if not part.is_dir():
                    raise FileNotFoundError(part) from None
                raise
            for file in plan.files:
                os.chmod(plan.place(root, file), 0o444)  # nobody has a reason to write into it
            with contextlib.suppress(OSError):  # another process without a lock was faster: its copy is as good
                os.rename(part, self._artifacts / plan.key)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    # Removing

    def _remove(self, key: str) -> bool:
        """Take an artifact away: first its name, then its bytes. False where there is none."""
        gone = self._artifacts / f".{key}.{secrets.token_hex(4)}{_REMOVED}"
        try:
            os.rename(self._artifacts / key, gone)
        except FileNotFoundError:
            return False
        _delete(gone)
        return True

    def _clear_leftovers(self, *, everything: bool) -> None:
        """What killed processes left; the holder of the lock knows that nobody is at work."""
        now = time.time()
        for entry in os.scandir(self._artifacts):
            if _LEFTOVER.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    if everything or now - entry.stat(follow_symlinks=False).st_mtime > _LEFTOVER_S:
                        _delete(Path(entry.path))

    def _make_room(self, needed: int, *, keep: str) -> None:
        """Remove what was used longest ago until ``needed`` more bytes fit."""
        entries = []
        for entry in os.scandir(self._artifacts):
            if _KEY.fullmatch(entry.name) and entry.name != keep:
                with contextlib.suppress(OSError):
                    used_ns = entry.stat(follow_symlinks=False).st_mtime_ns
                    entries.append((used_ns, entry.name, _size(Path(entry.path))))
        total = sum(size for _, _, size in entries) + needed
        for _, key, size in sorted(entries):
            if total <= self.max_bytes:
                return
            if self._pins[key] == 0:
                self._remove(key)
                total -= size

    def _check_space(self, needed: int) -> None:
        """A bundle of a few kilobytes may rebuild to gigabytes: known before the disk is full of half a file."""
        free = shutil.disk_usage(self._artifacts).free
        if needed > free:
            raise OSError(
                errno.ENOSPC, f"no space left for a file of {needed / 1e6:.1f} MB, {free / 1e6:.1f} MB are free"
            )


_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def _errno(error: BaseException | None) -> int | None:
    """The system's reason behind an error."""
    while error is not None:
        if isinstance(error, OSError):
            return error.errno
        error = error.__cause__
    return None


def _close(seals: list[tuple[Path, int, Identity]]) -> None:
    for _, descriptor, _ in seals:
        os.close(descriptor)
    seals.clear()


def _names_in(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in _files(root)}


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)


def _delete(entry: Path) -> None:
    """A folder with all that is in it; of a link only the link."""
    if entry.is_symlink():
        entry.unlink(missing_ok=True)
    else:
        shutil.rmtree(entry, ignore_errors=True)
