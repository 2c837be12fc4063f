"""What a device reports while it measures, in order; the same for every kind of device.

    (Ready ─►) Passport ─► (Progress | RowDone | Note)* ─► Done
                       └─► Refused   instead of any of them: nothing more comes

``Ready`` comes only from a board that waits for the bundle. A row that is measured again comes a second time; the
later one counts. ``tests/golden/jobs`` has a line of every kind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgeslim.core.latency import LatencyRow
from edgeslim.core.passport import DeviceInfo, OsInfo
from edgeslim.core.wire import Vocabulary
from edgeslim.errors import (
    DeviceError,
    EdgeslimError,
    HostError,
    InternalError,
    MissingExtraError,
    UsageError,
    VerificationError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The board has what it needs, and waits for the bundle."""


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
    """An error of edgeslim's tree, by its parts. ``module`` and ``extra`` name what is not installed."""

    name: str
    message: str
    hint: str | None
    exit_code: int
    module: str | None = None
    extra: str | None = None

    @classmethod
    def of(cls, error: EdgeslimError) -> Refused:
        module, extra = (error.module, error.extra) if isinstance(error, MissingExtraError) else (None, None)
        return cls(
            name=error.name,
            message=error.message,
            hint=error.hint,
            exit_code=error.exit_code,
            module=module,
            extra=extra,
        )

    def error(self, where: str) -> EdgeslimError:
        """The error again, on the other side of the wire."""
        if self.module is not None and self.extra is not None:
            return MissingExtraError(self.module, self.extra, where=where)
        hint = None if self.hint is None else f"{where} says: {self.hint}"  # its words, not ours: do not just type them
        return _ERRORS.get(self.exit_code, InternalError)(f"{where}: {self.message}", hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Everything that could be measured has been."""


_ERRORS: dict[int, type[EdgeslimError]] = {2: UsageError, 4: VerificationError, 5: HostError, 6: DeviceError}

Event = Ready | Passport | Progress | RowDone | Note | Refused | Done
Sink = Callable[[Event], None]
EVENTS: Vocabulary[Event] = Vocabulary(
    Ready,
    Passport,
    Progress,
    RowDone,
    Note,
    Refused,
    Done,
    refusal=DeviceError,  # a device may be anything
)
