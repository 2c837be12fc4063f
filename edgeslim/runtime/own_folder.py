"""The one folder that a session calls its own, inside whatever folder it was told to use.

    <cache_dir>/edgeslim-session/        made with mode 0700; a folder of that name that is not ours is refused
      CACHEDIR.TAG                       says so, also to backup programs (bford.info/cachedir); without it: not ours
      lock                               locking.py      artifacts/   cache.py
      loading/ crashes/                  journal.py      tables/      tables.py

Everything a session writes or removes lies in there, and of that only names that it could have made itself. Files
are mapped and run, so nobody else may be able to write here: the folder is no link, belongs to this user (or to root,
as in a container's image), and neither group nor others may write it. The spare folder in the system's temporary
folder keeps the same rules, which is what makes it safe there: nobody can plant a folder that passes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from edgeslim.errors import OutputError

NAME = "edgeslim-session"
_TAG = "CACHEDIR.TAG"
_TAG_TEXT = (
    b"Signature: 8a477f597d28d172789f06886806bc55\n"
    b"# Files that edgeslim rebuilt from bundles; they may be removed at any time. See https://bford.info/cachedir/\n"
)


class OwnFolder:
    """``parent / "edgeslim-session"``, checked each time before it is used.

    Args:
        parent: what the user named; nothing else in it is touched. Who may write there is the user's choice.
    """

    def __init__(self, parent: Path) -> None:
        self.path = parent / NAME

    def usable(self) -> bool:
        """Whether it is there and ours; nothing is made."""
        try:
            return _fault(self.path) is None and _is_file(self.path / _TAG)
        except OSError:
            return False

    def make(self) -> Path:
        """The folder, made where it is missing.

        Raises:
            OutputError: something of that name is there that is not ours, or others can write into it.
            OSError: it cannot be made.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            self.path.mkdir(mode=0o700)
        fault = _fault(self.path)
        if fault is None and not _is_file(self.path / _TAG):
            with contextlib.suppress(FileExistsError):
                if set(os.listdir(self.path)) <= {_TAG}:
                    with open(self.path / _TAG, "xb") as file:
                        file.write(_TAG_TEXT)
            if not _is_file(self.path / _TAG):
                fault = f"holds files and no {_TAG} of edgeslim's"
        if fault is not None:
            raise OutputError(
                f"{self.path} {fault}, so nothing in it is touched", hint="choose another folder with --cache-dir"
            )
        return self.path

    def close(self) -> None:
        """Nothing is held."""


class SpareFolder(OwnFolder):
    """For when the other cannot be written: in the user's own folder in the temporary folder, or in a fresh one."""

    def __init__(self) -> None:
        user = str(os.geteuid()) if hasattr(os, "geteuid") else "user"
        super().__init__(Path(tempfile.gettempdir()) / f"edgeslim-{user}")
        self._fresh: Path | None = None

    def usable(self) -> bool:
        try:
            return _fault(self.path.parent, by_root=False) is None and super().usable()
        except OSError:
            return False

    def make(self) -> Path:
        if self._fresh is None:
            try:
                with contextlib.suppress(FileExistsError):
                    self.path.parent.mkdir(mode=0o700)
                if _fault(self.path.parent, by_root=False) is None:
                    return super().make()
            except OutputError:
                pass  # somebody's things in the way: a fresh one
            self._fresh = Path(tempfile.mkdtemp(prefix="edgeslim-"))
            self.path = self._fresh / NAME
        return super().make()

    def close(self) -> None:
        """A fresh folder is nobody else's, so it goes."""
        if self._fresh is not None:
            shutil.rmtree(self._fresh, ignore_errors=True)


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _fault(folder: Path, *, by_root: bool = True) -> str | None:
    """Why files in ``folder`` might be somebody else's; None where they cannot. ``OSError``: it is not there."""
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode):
        return "is no directory of its own"
    if not hasattr(os, "geteuid"):  # Windows guards a user's folders otherwise
        return None
    if status.st_uid != os.geteuid() and not (by_root and status.st_uid == 0):
        return f"belongs to another user (number {status.st_uid})"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"can be written by others (mode {stat.S_IMODE(status.st_mode):o})"
    return None
