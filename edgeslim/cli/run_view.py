"""The live table of ``edgeslim run``: redrawn eight times a second on stderr, where that is a terminal."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from types import TracebackType

import numpy as np
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edgeslim.cli.console import Console
from edgeslim.core.ladder import Rung
from edgeslim.core.reasons import sentence
from edgeslim.core.signals import UNKNOWN
from edgeslim.runtime.events import SessionEvent
from edgeslim.runtime.result import FrameResult
from edgeslim.runtime.session import SlimSession
from edgeslim.verbs.run import RunWatch

_PERIOD_S = 0.125
_WINDOW = 60  # frames that the shown latency is of
_LEVELS = ("none", "light", "moderate", "severe", "critical")
_TROUBLE = {"lost", "left-out", "cache", "repaired"}


class RunView(RunWatch):
    """Shows a session while it runs; without a terminal only what goes wrong is said."""

    def __init__(self, console: Console, budget_ms: float) -> None:
        self._console = console
        self._budget_ms = budget_ms
        self._live: Live | None = None
        self._recent: deque[int] = deque(maxlen=_WINDOW)
        self._drawn_s = 0.0

    def hear(self, event: SessionEvent) -> None:
        """An event of the session, on any thread."""
        text = event.message if event.label is None else f"{event.label}: {event.message}"
        if event.kind in _TROUBLE:
            self._console.warn(text)
        elif event.kind == "table":
            self._console.say(text)
        else:
            self._console.detail(text)

    def begin(self, session: SlimSession) -> None:
        self._session = session
        rungs = ", ".join(f"{rung.label} {rung.t_us / 1000:.3g} ms" for rung in session.ladder.rungs)
        self._console.say(f"ladder: {rungs}")
        for item in session.ladder.dropped:
            self._console.detail(f"not used: {item.label}, {sentence(item.reason)}")
        if self._console.words.is_terminal and not self._console.quiet:
            self._live = Live(console=self._console.words, auto_refresh=False, transient=True)
            self._live.start()

    def __enter__(self) -> RunView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, name: Path, result: FrameResult) -> None:
        self._recent.append(result.latency_us)
        now_s = time.monotonic()
        if self._live is not None and now_s - self._drawn_s >= _PERIOD_S:
            self._drawn_s = now_s
            self._live.update(self.table(name, result), refresh=True)

    def table(self, name: Path, result: FrameResult) -> Table:
        """The state after ``result``."""
        session, reading = self._session, result.reading
        counts = session.counts
        table = Table(show_header=False, title=f"{session.bundle.path.name} on {session.target}", title_justify="left")
        recent = sorted(self._recent)
        table.add_row("rung", Text("  ").join(self._marked(rung, result) for rung in session.ladder.rungs))
        table.add_row(
            "latency",
            f"{result.latency_us / 1000:6.2f} ms   median {recent[len(recent) // 2] / 1000:.2f} ms   "
            f"allowed {reading.deadline_us / 1000:.2f} of {self._budget_ms:.1f} ms",
        )
        table.add_row("heat", self._heat(result))
        table.add_row("battery", _battery(result))
        table.add_row("reason", result.reason)
        share = counts.misses / max(counts.frames, 1)
        table.add_row("misses", f"{counts.misses} of {counts.frames} ({share:.2%}), {counts.switches} switches")
        table.add_row("answer", f"{name.name}: {_answer(session, result)}")
        return table

    def _marked(self, rung: Rung, result: FrameResult) -> Text:
        if rung.artifact == result.artifact:
            return Text(f" {rung.label} ", "bold reverse")
        return Text(rung.label, "bold" if rung.artifact in self._session.loaded else "dim")

    def _heat(self, result: FrameResult) -> str:
        reading = result.reading
        if reading.status == UNKNOWN and reading.headroom_milli == UNKNOWN:
            return f"unknown (held: {_LEVELS[result.decision.level]})"
        headroom = "" if reading.headroom_milli == UNKNOWN else f"   headroom {reading.headroom_milli / 1000:.2f}"
        return _LEVELS[result.decision.level] + headroom


def _battery(result: FrameResult) -> str:
    reading = result.reading
    charge = "unknown" if reading.battery_permille == UNKNOWN else f"{reading.battery_permille / 10:.0f} %"
    return charge + (", charging" if reading.charging else "") + (", low-power mode" if reading.low_power else "")


def _answer(session: SlimSession, result: FrameResult) -> str:
    best = int(np.argmax(result.output[0]))
    labels = session.bundle.manifest.labels
    return labels[best] if labels else f"class {best}"
