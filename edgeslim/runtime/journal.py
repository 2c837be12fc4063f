"""Widths that took the process down while they were loaded.

    loading/<key>.<random>   written and locked before a load, removed after it; the lock dies with the process
    crashes/<key>.json       when that width was last found with a dead process, and how often

A marker that nobody locks belongs to a process that died while loading (a crash of the runtime, the system's
out-of-memory killer, or somebody's SIGKILL: they look the same). The width is then left out for an hour, after a
second time for a day, after a third for a week; a load that succeeds wipes the record.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeslim.errors import OutputError
from edgeslim.files import write_atomically
from edgeslim.runtime.locking import try_lock

PAUSES_S = (3600, 24 * 3600, 7 * 24 * 3600)
_NEWBORN_S = 60.0  # a marker is named only once it is locked; an unnamed one this old was left by a crash in between


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashes:
    """How often a width died while loading, and when last (Unix time)."""

    count: int
    last_s: int

    def until_s(self) -> int:
        """When it may be tried again."""
        return self.last_s + PAUSES_S[min(self.count, len(PAUSES_S)) - 1]


class LoadJournal:
    """The record of one cache folder; any number of processes write it.

    Nothing here ever raises for a disk that cannot be written: the width is then loaded without a marker.
    """

    def __init__(self, folder: Path, *, now_s: Callable[[], float] = time.time) -> None:
        self._loading = folder / "loading"
        self._crashes = folder / "crashes"
        self._now_s = now_s

    @contextlib.contextmanager
    def loading(self, key: str) -> Iterator[None]:
        """Around everything that may take the process down; an exception is no crash."""
        marker = self._mark(key)
        try:
            yield
        finally:
            if marker is not None:
                descriptor, path = marker
                with contextlib.suppress(OSError):
                    os.unlink(path)
                os.close(descriptor)

    def succeeded(self, key: str) -> None:
        """Forget what happened with ``key`` before."""
        with contextlib.suppress(OSError):
            self._record(key).unlink()

    def crashed(self) -> dict[str, Crashes]:
        """Every key that died while loading, by now."""
        self._collect()
        found = {}
        with contextlib.suppress(OSError):
            for path in self._crashes.glob("*.json"):
                crashes = self._read(path)
                if crashes is not None:
                    found[path.stem] = crashes
        return found

    def paused(self) -> dict[str, Crashes]:
        """Those of ``crashed`` that must not be tried yet."""
        now = self._now_s()
        return {key: crashes for key, crashes in self.crashed().items() if now < crashes.until_s()}

    def _mark(self, key: str) -> tuple[int, Path] | None:
        name = f"{key}.{secrets.token_hex(4)}"
        unnamed, path = self._loading / f".{name}", self._loading / name
        try:
            self._loading.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        except OSError:
            return None
        try:
            if not try_lock(descriptor):  # without locks a marker would say nothing
                raise OSError
            os.rename(unnamed, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(unnamed)
            os.close(descriptor)
            return None
        return descriptor, path

    def _collect(self) -> None:
        """Turn the markers of dead processes into records."""
        with contextlib.suppress(OSError):
            for entry in list(os.scandir(self._loading)):
                with contextlib.suppress(OSError):
                    self._collect_one(entry)

    def _collect_one(self, entry: os.DirEntry[str]) -> None:
        if entry.name.startswith(".") and self._now_s() - entry.stat().st_mtime < _NEWBORN_S:
            return
        descriptor = os.open(entry.path, os.O_RDWR)
        try:
            if try_lock(descriptor):
                os.unlink(entry.path)  # raises where another process was first: it records the crash
                if not entry.name.startswith("."):
                    self._add(entry.name.partition(".")[0])
        finally:
            os.close(descriptor)

    def _add(self, key: str) -> None:
        before = self._read(self._record(key))
        document = {"count": 1 + (before.count if before else 0), "last_s": int(self._now_s())}
        self._crashes.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OutputError), write_atomically(self._record(key), overwrite=True) as file:
            file.write(json.dumps(document).encode())

    def _record(self, key: str) -> Path:
        return self._crashes / f"{key}.json"

    @staticmethod
    def _read(path: Path) -> Crashes | None:
        """None where there is no record or it is damaged: a width is left out only on clear evidence."""
        try:
            document = json.loads(path.read_bytes())
            count, last_s = document["count"], document["last_s"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return Crashes(count=count, last_s=last_s) if type(count) is type(last_s) is int and count > 0 else None
