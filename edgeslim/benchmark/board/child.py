"""The process that measures one cell: ``python -m edgeslim.benchmark.board.child``; talks as ``messages.py`` says.

    stdin  ─► requests        stdout ─► replies (a copy of descriptor 1; what runtimes print goes to stderr, a log)

The road is the app's: rebuild the file from the bundle, load it, run it. The first inference takes its input with it;
the timed ones find it in place where the runtime allows that, as every vendor's benchmark does: the runtime's own time.
``load_cold``: the first load of a fresh process, the runtime's code already in memory, the file's pages dropped from
the system's cache (``posix_fadvise``; the file was fsynced after it was rebuilt). ``load_warm``: the second load.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from edgeslim.benchmark.board.messages import (
    MESSAGES,
    Block,
    Failed,
    Finish,
    Finished,
    Import,
    Imported,
    Message,
    Prepare,
    Prepared,
    Turn,
    Warm,
    Warmed,
)
from edgeslim.core.job import Cell
from edgeslim.errors import EdgeslimError, InternalError
from edgeslim.host.load import Counters
from edgeslim.host.machine import EnergyMeter
from edgeslim.host.sampling import baseline_ns, example_inputs, timed_runs
from edgeslim.targets import runtimes
from edgeslim.targets.base import InPlaceRunner, Runner

_PR_SET_PDEATHSIG = 1


class Measurer:
    """Answers one request after the other about one cell."""

    def __init__(self) -> None:
        self._runner: Runner | None = None
        self._call: Callable[[], object] = lambda: None
        self._meter = EnergyMeter()

    def answer(self, request: Message) -> Message:
        match request:
            case Import():
                runtimes.imported(request.target)
                return Imported()
            case Prepare():
                return self._prepare(request)
            case Warm():
                return self._warm(request)
            case Turn():
                return self._turn(request)
            case Finish():
                if self._runner is not None:
                    self._runner.close()
                return Finished(peak_rss_bytes=_peak_rss_bytes())
        raise InternalError(f"a child was asked for {type(request).__name__}")

    def _prepare(self, request: Prepare) -> Prepared:
        target = runtimes.imported(request.cell.target)
        path, rebuild_ms = _artifact(request.cell, request.bundle, Path(request.folder))
        _drop_cached_pages(path)
        _forget_peak_rss()
        start = time.perf_counter_ns()
        runner = target.load(path, threads=request.cell.threads)
        cold_ns = time.perf_counter_ns() - start
        inputs = example_inputs(runner.inputs)
        (first_ns,) = timed_runs(lambda: runner.run(inputs), 1)
        runner.close()
        start = time.perf_counter_ns()
        self._runner = runner = target.load(path, threads=request.cell.threads)
        warm_ns = time.perf_counter_ns() - start
        self._call = runner.bind(inputs) if isinstance(runner, InPlaceRunner) else lambda: runner.run(inputs)
        return Prepared(
            rebuild_ms=rebuild_ms,
            load_cold_ms=cold_ns / 1e6,
            load_warm_ms=warm_ns / 1e6,
            first_inference_ms=first_ns / 1e6,
            runtime=runner.describe(),
        )

    def _warm(self, request: Warm) -> Warmed:
        end = time.perf_counter() + request.seconds
        samples: list[int] = []
        while len(samples) < max(request.runs, 1) or time.perf_counter() < end:
            samples += timed_runs(self._call, 1)
        return Warmed(runs=len(samples), run_ms=statistics.median(samples[len(samples) // 2 :]) / 1e6)

    def _turn(self, request: Turn) -> Block:
        clock = baseline_ns()
        timed_runs(self._call, request.lead_in_runs)
        energy = self._meter.read()
        before = Counters.read()
        samples = timed_runs(self._call, request.runs)
        after = Counters.read()
        return Block(
            samples_ns=tuple(samples),
            baseline_ns=clock,
            load=after - before,
            energy_uj=self._meter.between_uj(energy, self._meter.read()),
            energy_method=self._meter.method,
        )


def _artifact(cell: Cell, bundle: str | None, folder: Path) -> tuple[Path, float | None]:
    """(the file, milliseconds to rebuild it)."""
    if cell.path is not None:
        return Path(cell.path), None
    if bundle is None:
        raise InternalError("a cell has neither a path nor a bundle")
    from edgeslim.core.bundle import SlimBundle

    start = time.perf_counter_ns()
    out = folder / f"{cell.artifact.replace('/', '-')}-{cell.threads}{cell.suffix}"
    with SlimBundle.open(bundle) as opened:
        opened.rebuild_artifact(cell.artifact, out)
    return out, (time.perf_counter_ns() - start) / 1e6


def _drop_cached_pages(path: Path) -> None:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    if not hasattr(os, "posix_fadvise"):
        return
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _forget_peak_rss() -> None:
    """From here on the peak is that of loading and running; needs Linux."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_rss_bytes() -> int:
    with contextlib.suppress(OSError, IndexError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer until ``Finish``, a failure, or the end of the input."""
    measurer = Measurer()
    for line in requests:
        request = MESSAGES.from_line(line)
        try:
            reply = measurer.answer(request)
        except Exception as error:
            name = error.name if isinstance(error, EdgeslimError) else type(error).__name__
            reply = Failed(stage=type(request).__name__, name=name, message=str(error))
        replies.write(MESSAGES.to_line(reply))
        replies.flush()
        if isinstance(reply, Failed | Finished):
            return


def main() -> None:
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, replies)
    os._exit(0)  # some runtimes crash while they are torn down; the work is done


if __name__ == "__main__":
    main()
