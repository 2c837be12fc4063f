"""Ctrl-C as a question, so that what is under way ends where it can be gone on with."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class Interrupt:
    """Inside the block the first Ctrl-C only sets ``asked``, so that the step under way is finished and kept; the
    second interrupts as ever. With ``terminates`` a SIGTERM asks as well, and never interrupts.

    ``on_ask`` is called once, in the main thread. Where Ctrl-C is ignored (a job in the background of a script), or
    handled by somebody else, it stays so; a thread that is not the main one hears nothing.
    """

    asked = False

    def __init__(self, *, terminates: bool = False, on_ask: Callable[[], None] = lambda: None) -> None:
        self._terminates, self._on_ask = terminates, on_ask
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._hear)
            if self._terminates and signal.getsignal(signal.SIGTERM) not in (signal.SIG_IGN, None):
                self._before[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._hear)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.asked:
            self.asked = True
            self._on_ask()
