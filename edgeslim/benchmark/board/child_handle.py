"""The parent's end of a measuring process: start, ask, and say by name how it failed.

Child(cell) ──ask(request)──► reply
                          └─► ChildError("killed by SIGSEGV while …" | "no answer for 60 s while …" | "raised …")
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from edgeslim.benchmark.board.messages import MESSAGES, Failed, Finish, Import, Message, Prepare, Turn, Warm

COMMAND = (sys.executable, "-P", "-m", "edgeslim.benchmark.board.child")
_DOING = {
    Import: "loading its runtime's code",
    Prepare: "preparing",
    Warm: "warming up",
    Turn: "measuring",
    Finish: "finishing",
}
_CHUNK_BYTES = 1 << 16


class ChildError(Exception):
    """One cell's process failed; the message says how and while doing what."""


class Child:
    """A live process for one cell. Use as a context manager: leaving kills whatever still runs."""

    def __init__(self, log: Path) -> None:
        self._log = log
        with open(log, "wb") as sink:
            self._process = subprocess.Popen(
                COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, start_new_session=True
            )
        self._received = b""
        self._doing = "starting"

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def ask(self, request: Message, *, timeout_s: float) -> Message:
        """The child's reply.

        Raises:
            ChildError: it died, raised, or did not answer within ``timeout_s``.
        """
        self.tell(request)
        return self.hear(timeout_s=timeout_s)

    def tell(self, request: Message) -> None:
        """Ask without waiting; ``hear`` brings the reply, or what became of the child."""
        self._doing = _DOING.get(type(request), "working")
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(MESSAGES.to_line(request))
            self._process.stdin.flush()

    def hear(self, *, timeout_s: float) -> Message:
        """The reply to the last request; raises as ``ask``."""
        doing = self._doing
        line = self._line(timeout_s)
        if line is None:
            raise ChildError(f"hung: no answer for {timeout_s:.0f} s while {doing}")
        if not line:
            raise ChildError(f"crashed: {self._death()} while {doing}")
        reply = MESSAGES.from_line(line)
        if isinstance(reply, Failed):
            raise ChildError(f"failed while {doing}: {reply.name}: {reply.message}")
        return reply

    def _line(self, timeout_s: float) -> bytes | None:
        """One line; empty at the end of the output; None when time is up."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        end = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while b"\n" not in self._received:
                if not selector.select(max(0.0, end - time.monotonic())):
                    return None
                chunk = os.read(descriptor, _CHUNK_BYTES)
                if not chunk:
                    return b""
                self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _death(self) -> str:
        """How it ended, with the last words of its log."""
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "its output ended"
        how = f"killed by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        words = self.last_words()
        return f"{how} ({words})" if words else how

    def last_words(self) -> str:
        """The last line of its log, at most 200 characters."""
        try:
            lines = self._log.read_text(errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
