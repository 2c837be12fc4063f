"""What a device reports while it measures, in order; the same for every kind of device.

    Passport ─► (Progress | RowDone | Note)* ─► Done
            └─► Refused   instead of any of them: nothing more comes

A row that is measured again comes a second time; the later one counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgeslim.bench.wire import Vocabulary
from edgeslim.core.latency import DeviceInfo, LatencyRow, OsInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Passport:
    """The machine that measures."""

    device: DeviceInfo
    os: OsInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """``left_s``: seconds still to go, an estimate that gets better."""

    doing: str
    done: int
    of: int
    left_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDone:
    row: LatencyRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A sentence for people."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An error of edgeslim's tree, by its parts."""

    name: str
    message: str
    hint: str | None
    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Everything that could be measured has been."""


Event = Passport | Progress | RowDone | Note | Refused | Done
Sink = Callable[[Event], None]
EVENTS: Vocabulary[Event] = Vocabulary(Passport, Progress, RowDone, Note, Refused, Done)
