"""The one thread that loads and closes, and the gate that lets it work between two frames.

Runtimes do not like two loads at once (ExecuTorch before 1.4 raced while delegates were initialised), so every
session of a process shares one loading thread. Python's runtimes also hold the interpreter's lock while they load
(measured: 15 ms for MobileNetV2 1.0x, ExecuTorch and LiteRT alike), which would delay a frame that begins meanwhile:
``FrameGate`` makes the loader begin when a frame has just ended.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import ClassVar

_SWITCH_INTERVAL_S = 0.0005
_EXIT_WAIT_S = 10.0
_POLL_S = 0.05
_PAUSE_S = 0.25  # without a frame for so long, an app is not in a hurry
_log = logging.getLogger(__name__)


class LoadingThread:
    """Runs jobs one after the other; made on first use, ends with the process."""

    _shared: ClassVar[LoadingThread | None] = None
    _making: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="edgeslim-loading", daemon=True)
        self._thread.start()

    @classmethod
    def shared(cls) -> LoadingThread:
        with cls._making:
            if cls._shared is None:
                cls._shared = cls()
                atexit.register(cls._shared._end)
            return cls._shared

    @classmethod
    def _forget(cls) -> None:
        """A forked child has no such thread; it makes its own."""
        cls._shared = None
        cls._making = threading.Lock()

    def submit(self, job: Callable[[], None]) -> None:
        """Run ``job`` after those before it; it must not raise."""
        self._jobs.put(job)

    def wait_for(self, job: Callable[[], None]) -> None:
        """Run ``job`` there and come back when it is done."""
        if threading.current_thread() is self._thread:
            job()
            return
        done = threading.Event()

        def signalling() -> None:
            try:
                job()
            finally:
                done.set()

        self.submit(signalling)
        while not done.wait(_POLL_S):
            if not self._thread.is_alive():  # at the very end of the process
                return

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:  # a fault of ours; the thread serves other sessions too
                _log.exception("a job of the loading thread failed")

    def _end(self) -> None:
        """Python must not be torn down under a runtime that is loading."""
        self._jobs.put(None)
        self._thread.join(_EXIT_WAIT_S)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=LoadingThread._forget)


@contextlib.contextmanager
def brisk_switching() -> Iterator[None]:
    """Give the interpreter's lock back to frames within half a millisecond while this thread computes in Python.

    Python's default is 5 ms; the setting is the whole process's, so it is put back at once.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, _SWITCH_INTERVAL_S))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


class FrameGate:
    """Knows when a frame is being computed. ``begin`` and ``end`` cost under a microsecond."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._waiting = 0
        self._busy = False
        self._open = 0
        self.begun = 0
        """How many frames have begun."""
        self._ended_ns = 0
        self._idle_ns = 0

    def begin(self) -> None:
        self._busy = True
        self.begun += 1
        if self._ended_ns:
            self._idle_ns += (time.monotonic_ns() - self._ended_ns - self._idle_ns) >> 2

    def end(self) -> None:
        self._ended_ns = time.monotonic_ns()
        self._busy = False
        if self._waiting:
            with self._change:
                self._change.notify_all()

    @property
    def idle_ns(self) -> int:
        """How long the time between two frames has been lately."""
        return self._idle_ns

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """While nobody computes a frame but waits for the loader (or for the end): no gap is needed."""
        with self._change:
            self._open += 1
            self._change.notify_all()
        try:
            yield
        finally:
            self._open -= 1

    def wait_for_gap(self, need_s: float = 0.0, *, patience_s: float = 1.0) -> bool:
        """Return when ``need_s`` without a frame are likely, else when a frame has just ended; False: out of patience.

        Where frames follow each other without any pause there is no better moment than the end of one.
        """
        give_up = time.monotonic() + patience_s
        with self._change:
            seen = self._ended_ns
            self._waiting += 1
            try:
                while time.monotonic() < give_up:
                    if self._open:
                        return True
                    if not self._busy:
                        since_ns = time.monotonic_ns() - self._ended_ns
                        fits = since_ns + need_s * 1e9 <= self._idle_ns
                        if self._ended_ns != seen or fits or since_ns > _PAUSE_S * 1e9:
                            return True
                    self._change.wait(_POLL_S)
            finally:
                self._waiting -= 1
        return False
