"""Phones: the demo app measures, commands on this host carry files there and events back.

    AppPlan: ready? ─► setup (push bundle.slim, job.json) ─► stream (start the app, read its lines) ─► cleanup, always

The app reads ``job.json`` (``Job``) and ``bundle.slim`` from one folder, measures as ``profiling/README.md`` says and
prints the events of ``events.py``, one JSON object per line.
"""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edgeslim.benchmark.desk.devices.base import lines_of
from edgeslim.core.events import EVENTS, Done, Event, Refused, RowDone, Sink
from edgeslim.errors import DeviceError

Command = tuple[str, ...]
_COMMAND_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class AppPlan:
    """Command lines, made by a pure function; ``event_of`` finds the event in a line of ``stream``'s output."""

    setup: tuple[Command, ...]
    stream: Command
    cleanup: tuple[Command, ...]
    event_of: Callable[[str], str | None]


def output_of(command: Sequence[str], board: str) -> str:
    """What a command prints on stdout.

    Raises:
        DeviceError: it fails; the message ends with its last words.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise DeviceError(f"{board} does not answer: {' '.join(command[:4])} … took too long") from None
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise DeviceError(f"{board}: {words}", hint="is it still connected?")
    return done.stdout


def carry_out(plan: AppPlan, board: str, cells: int, sink: Sink) -> None:
    """Run a plan; the clean-up runs on every way out.

    Raises:
        DeviceError: a command fails, or the app ends before ``Done``.
        EdgeslimError: what the app itself refuses.
    """
    rows, finished = 0, False
    try:
        for command in plan.setup:
            output_of(command, board)
        for event in _events(plan):
            if isinstance(event, Refused):
                raise event.error(board)
            rows += isinstance(event, RowDone)
            finished = finished or isinstance(event, Done)
            sink(event)
    finally:
        for command in plan.cleanup:
            subprocess.run(command, capture_output=True, timeout=_COMMAND_TIMEOUT_S, check=False)
    if not finished:
        raise DeviceError(
            f"the app on {board} ended after {rows} of {cells} rows",
            hint="finished rows are in the table; go on with --resume",
        )


def _events(plan: AppPlan) -> Iterator[Event]:
    with subprocess.Popen(plan.stream, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert isinstance(process.stdout, io.BufferedReader)
        try:
            for line in lines_of(process.stdout):
                text = plan.event_of(line.decode(errors="replace"))
                if text is not None:
                    yield EVENTS.from_line(text)
        finally:
            if process.poll() is None:
                process.terminate()
