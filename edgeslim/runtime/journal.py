"""Artifacts whose loading takes the process down, and the rule by which they are left out.

    loading/<key>.<random>   written and locked before a load, removed after it; the lock dies with the process
    crashes/<key>.json       how often loading it has crashed a process, and when last

The rule, the same in every language:

1. Around a load and its first run stands a mark. Whatever ends the load in an orderly way (success, an exception, a
   session that is closed, an interpreter that is shut down) clears the mark.
2. A mark whose process is dead is a strike if the process *crashed* by itself: a fatal signal of its own making
   (SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL). A kill by the user or the system (SIGKILL, SIGTERM, the out-of-memory
   killer, a reboot, a battery taken out) says nothing about the artifact and is none.
3. Two strikes leave the artifact out: for an hour after the second, a day after the third, a week after any later one.
   One is forgiven, because a crash may have had another cause.
4. The narrowest artifact is never left out: answering beats nothing.
5. A load that succeeds wipes the strikes.

How a process died is told by Python's fault handler, which leaves a trace in the mark as the last thing that a crashing
process does. Where an app has it in use already the mark says so (``watched`` is false), and such a death counts as a
crash unless the machine has been started anew since. Phones ask the system instead (ApplicationExitInfo, MetricKit).
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeslim.errors import OutputError
from edgeslim.files import write_atomically
from edgeslim.host.machine import boot_id
from edgeslim.runtime.locking import OWN_FILE, try_lock
from edgeslim.runtime.own_folder import OwnFolder

STRIKES = 2
PAUSES_S = (3600, 24 * 3600, 7 * 24 * 3600)
_NEWBORN_S = 60.0  # a marker is named only once it is locked; an unnamed one this old was left by a crash in between
_MARKER = re.compile(r"\.?([0-9a-f]{64})\.[0-9a-f]{8}")
_RECORD = re.compile(r"([0-9a-f]{64})\.json")
_MOST_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashes:
    """How often loading an artifact has crashed a process, and when last (Unix time)."""

    count: int
    last_s: int

    def until_s(self) -> int:
        """Until when it is left out; in the past where it is not."""
        if self.count < STRIKES:
            return 0
        return self.last_s + PAUSES_S[min(self.count - STRIKES, len(PAUSES_S) - 1)]


class LoadJournal:
    """The record of one folder; any number of processes write it.

    Nothing here ever raises for a disk that cannot be written: the artifact is then loaded without a marker.
    """

    def __init__(
        self, own: OwnFolder, *, now_s: Callable[[], float] = time.time, boot: Callable[[], str] = boot_id
    ) -> None:
        self._own = own
        self._now_s = now_s
        self._boot = boot()

    @property
    def _loading(self) -> Path:
        return self._own.path / "loading"

    @property
    def _crashes(self) -> Path:
        return self._own.path / "crashes"

    @contextlib.contextmanager
    def loading(self, key: str) -> Iterator[None]:
        """Around everything that may take the process down; an exception is no crash.

        Loads of one process follow each other (``LoadingThread``), so the fault handler has one trace to leave.
        """
        watched = not faulthandler.is_enabled()
        marker = self._mark(key, watched)
        if marker is None:
            yield
            return
        descriptor, path = marker
        if watched:
            faulthandler.enable(descriptor, all_threads=False)
        try:
            yield
        finally:
            if watched:
                faulthandler.disable()
            with contextlib.suppress(OSError):
                os.unlink(path)
            os.close(descriptor)

    def succeeded(self, key: str) -> None:
        """Forget what happened with ``key`` before."""
        with contextlib.suppress(OSError):
            self._record(key).unlink()

    def crashed(self) -> dict[str, Crashes]:
        """Every key that has a strike, by now."""
        found: dict[str, Crashes] = {}
        if not self._own.usable():
            return found
        self._collect()
        with contextlib.suppress(OSError):
            for entry in os.scandir(self._crashes):
                match = _RECORD.fullmatch(entry.name)
                crashes = self._read(Path(entry.path)) if match else None
                if match and crashes is not None:
                    found[match[1]] = crashes
        return found

    def left_out(self) -> dict[str, Crashes]:
        """Those of ``crashed`` that must not be tried yet."""
        now = self._now_s()
        return {key: crashes for key, crashes in self.crashed().items() if now < crashes.until_s()}

    def _mark(self, key: str, watched: bool) -> tuple[int, Path] | None:
        name = f"{key}.{secrets.token_hex(4)}"
        unnamed, path = self._loading / f".{name}", self._loading / name
        try:
            self._own.make()
            self._loading.mkdir(exist_ok=True)
            descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except (OSError, OutputError):
            return None
        try:
            if not try_lock(descriptor):  # without locks a marker would say nothing
                raise OSError
            os.write(descriptor, json.dumps({"boot": self._boot, "watched": watched}).encode() + b"\n")
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
                match = _MARKER.fullmatch(entry.name)
                if match:
                    with contextlib.suppress(OSError):
                        self._collect_one(Path(entry.path), match[1])

    def _collect_one(self, path: Path, key: str) -> None:
        unnamed = path.name.startswith(".")
        if unnamed and self._now_s() - path.lstat().st_mtime < _NEWBORN_S:
            return
        descriptor = os.open(path, os.O_RDWR | OWN_FILE)
        try:
            if try_lock(descriptor):
                crashed = not unnamed and self._is_strike(os.pread(descriptor, _MOST_BYTES, 0))
                os.unlink(path)  # raises where another process was first: it records the crash
                if crashed:
                    self._add(key)
        finally:
            os.close(descriptor)

    def _is_strike(self, mark: bytes) -> bool:
        head, _, trace = mark.partition(b"\n")
        document = _object(head)
        if document.get("watched") is True:
            return bool(trace)
        return document.get("watched") is False and document.get("boot") == self._boot

    def _add(self, key: str) -> None:
        before = self._read(self._record(key))
        document = {"count": 1 + (before.count if before else 0), "last_s": int(self._now_s())}
        self._crashes.mkdir(exist_ok=True)
        with contextlib.suppress(OutputError), write_atomically(self._record(key), overwrite=True) as file:
            file.write(json.dumps(document).encode())

    def _record(self, key: str) -> Path:
        return self._crashes / f"{key}.json"

    @staticmethod
    def _read(path: Path) -> Crashes | None:
        """None where there is no record or it is damaged: an artifact is left out only on clear evidence."""
        try:
            descriptor = os.open(path, os.O_RDONLY | OWN_FILE)
        except OSError:
            return None
        try:
            document = _object(os.read(descriptor, _MOST_BYTES))
        except OSError:
            return None
        finally:
            os.close(descriptor)
        count, last_s = document.get("count"), document.get("last_s")
        return Crashes(count=count, last_s=last_s) if type(count) is type(last_s) is int and count > 0 else None


def _object(text: bytes) -> dict[str, Any]:
    """The JSON object that ``text`` is; empty where it is none."""
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
