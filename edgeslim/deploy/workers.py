"""Worker processes for exports: one job at a time each, and a crash names the job it took along.

    run_jobs ─► Worker ─ socket pair ─► python -m edgeslim.deploy.workers FD
       ▲                                    │ function(job)
       └── Done(job, value | error) ◄───────┘

Exporters are Python-bound, hold the interpreter for seconds, and may die of a signal, so they run in fresh
interpreters. However the parent ends, they end at once: an export takes minutes that nobody waits for any more. A plain
subprocess (rather than ``multiprocessing``'s spawn) is used so that a notebook or a
script without a ``__main__`` guard can call :func:`edgeslim.pack`. What a worker prints goes to the log.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from edgeslim.errors import EdgeslimError, ExportError
from edgeslim.registry import HandedOver

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How one job ended: ``value`` of the function, or ``error``."""

    index: int
    value: Any
    error: EdgeslimError | None
    seconds: float


class _Worker:
    """One child interpreter and the parent's end of its pipe."""

    def __init__(self, log: Path) -> None:
        ours, theirs = socket.socketpair()
        with theirs, open(log, "ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edgeslim.deploy.workers", str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                pass_fds=[theirs.fileno()],
            )
        self.pipe: Connection = Connection(ours.detach())
        self.pipe.send(HandedOver.now())
        self.index: int | None = None
        self.kind: str | None = None
        self.since = 0.0

    def start(self, index: int, function: str, job: Any) -> None:
        self.index, self.since = index, time.monotonic()
        self.pipe.send((function, job))

    def finish(self) -> Done:
        """The answer that is waiting in the pipe, or how the process died."""
        assert self.index is not None
        index, self.index = self.index, None
        seconds = time.monotonic() - self.since
        try:
            value, error = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            error = ExportError(f"the exporter's process died: {_fate(self.process.wait())}")
            return Done(index=index, value=None, error=error, seconds=seconds)
        return Done(index=index, value=value, error=error, seconds=seconds)

    def close(self, *, kill: bool) -> None:
        self.pipe.close()  # the child sees the end of its input and leaves
        if kill:
            self.process.kill()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _fate(returncode: int) -> str:
    if returncode >= 0:
        return f"exit code {returncode}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-returncode).name
        return f"signal {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"signal {-returncode}"


class _Queue:
    """What is still to do. A worker stays with one kind of job, so that few processes import each exporter."""

    def __init__(self, kinds: Sequence[str]) -> None:
        self.pending = list(enumerate(kinds))

    def take(self, last: str | None, elsewhere: set[str | None]) -> tuple[int, str]:
        """The first job of the kind ``last``, else of the kind with most left, preferring kinds not ``elsewhere``."""
        left = Counter(kind for _, kind in self.pending)
        kind = last if last in left else max(left, key=lambda k: (k not in elsewhere, left[k]))
        at = next(i for i, (_, k) in enumerate(self.pending) if k == kind)
        return self.pending.pop(at)


def run_jobs(
    function: str,
    jobs: Sequence[Any],
    *,
    workers: int,
    log: Path,
    kind: Callable[[Any], str] = lambda job: "",
) -> Iterator[Done]:
    """Run ``function`` (``"module:name"``) over ``jobs`` in ``workers`` processes; yield as they end.

    Jobs of one ``kind`` start in order; a worker prefers the kind it did last. Closing the iterator early kills what
    is running. Errors of the jobs are in :class:`Done`, not raised.
    """
    queue = _Queue([kind(job) for job in jobs])
    crew: list[_Worker] = []
    complete = False

    def start(worker: _Worker) -> None:
        others = {other.kind for other in crew if other is not worker and other.index is not None}
        index, worker.kind = queue.take(worker.kind, others)
        worker.start(index, function, jobs[index])

    try:
        crew = [_Worker(log) for _ in range(min(workers, len(jobs)))]
        for worker in crew:
            start(worker)
        while busy := {worker.pipe: worker for worker in crew if worker.index is not None}:
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                done = worker.finish()
                if queue.pending:
                    if worker.process.poll() is not None:
                        worker.close(kill=True)
                        crew[crew.index(worker)] = worker = _Worker(log)
                    start(worker)
                yield done
        complete = True
    finally:
        for worker in crew:
            worker.close(kill=not complete)


def _end_with(parent: int, pipe: Connection) -> None:
    """Die when ``parent`` does. Linux sees to that itself; elsewhere the pipe's other end closes, which is noticed as
    soon as the exporter lets the interpreter go."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before that
        os._exit(1)

    def watch() -> None:
        closed = select.poll()
        closed.register(pipe.fileno(), 0)  # no data, only POLLHUP
        closed.poll()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _serve(pipe: Connection) -> None:
    """The child's loop: until the parent closes the pipe or dies."""
    try:
        pipe.recv().take()  # plug-ins are found here as in the parent
    except EOFError:
        return
    while True:
        try:
            function, job = pipe.recv()
        except EOFError:
            return
        module, _, name = function.partition(":")
        answer: tuple[Any, EdgeslimError | None]
        try:
            answer = (getattr(importlib.import_module(module), name)(job), None)
        except EdgeslimError as error:
            traceback.print_exc()
            answer = (None, error)
        except Exception as error:
            traceback.print_exc()
            answer = (None, ExportError(f"{type(error).__name__}: {error}"))
        sys.stdout.flush()
        pipe.send(answer)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it closes our pipe
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    ours = Connection(int(sys.argv[1]))
    _end_with(int(sys.argv[2]), ours)
    _serve(ours)
