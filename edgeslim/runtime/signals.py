"""Where a session hears about heat and battery.

"auto"     this machine, where it can tell (Linux)      ┐ read by a background thread every 2 s,
a path     a tree of files that stands for its /sys     ┘ between two frames
a callable () -> Signals, asked before every frame (an app that knows better; must answer at once)
None       nothing is known
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

from edgeslim.core.signals import Signals, SignalSource
from edgeslim.errors import UsageError
from edgeslim.host.sysfs import LinuxSource
from edgeslim.runtime.loading import FrameGate

Readings = Literal["auto"] | Path | Callable[[], Signals] | None
POLL_S = 2.0


class Listener(Protocol):
    """Has an answer at any moment."""

    def now(self) -> Signals: ...

    def close(self) -> None: ...


class AskingListener:
    """Asks before every frame."""

    def __init__(self, ask: Callable[[], Signals]) -> None:
        self._ask = ask

    def now(self) -> Signals:
        """What it raises goes to the caller of ``run``: the mistake is the app's, and no artifact's."""
        signals = self._ask()
        if not isinstance(signals, Signals):
            raise UsageError(f"readings answered {type(signals).__name__}, expected edgeslim.core.signals.Signals")
        return signals

    def close(self) -> None:
        pass


class PollingListener:
    """Reads ``source`` in the background; ``now`` gives the last answer."""

    def __init__(self, source: SignalSource, gate: FrameGate, *, period_s: float = POLL_S) -> None:
        self._source = source
        self._gate = gate
        self._period_s = period_s
        self._last = source.read()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="edgeslim-signals", daemon=True)
        self._thread.start()

    def now(self) -> Signals:
        return self._last

    def close(self) -> None:
        self._stop.set()
        with self._gate.opened():
            self._thread.join()

    def _work(self) -> None:
        while not self._stop.wait(self._period_s):
            self._gate.wait_for_gap()
            self._last = self._source.read()


def listen(readings: Readings, gate: FrameGate) -> Listener:
    """Raises ``UsageError``: a path that is no directory."""
    if callable(readings):
        return AskingListener(readings)
    if isinstance(readings, Path):
        if not readings.is_dir():
            raise UsageError(f"{readings} is no folder that could stand for /sys", hint="it holds class/thermal/…")
        return PollingListener(LinuxSource(readings), gate)
    if readings == "auto" and sys.platform == "linux":
        return PollingListener(LinuxSource.here(), gate)
    nothing = Signals()
    return AskingListener(lambda: nothing)
