"""What happens in a session beside frames, for people and logs."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edgeslim.runtime.deployment import ArtifactPlan

Kind = Literal[
    "loaded",  # an artifact is ready; message says how long rebuild, load and warm-up took
    "repaired",  # a cached file was broken and has been rebuilt
    "left-out",  # loading an artifact has crashed processes lately
    "lost",  # an artifact cannot be used any more in this session
    "cache",  # the cache cannot be written; what the session does instead
    "table",  # which latency table is used
]
_KEPT = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEvent:
    """``at_s`` is Unix time; ``artifact`` (an id) and ``label`` (for people) where the event is about one."""

    at_s: float
    kind: Kind
    message: str
    artifact: str | None = None
    label: str | None = None


class EventLog:
    """The latest events; ``listener`` hears each once, on the thread where it happened."""

    def __init__(self, listener: Callable[[SessionEvent], None] | None = None) -> None:
        self._events: deque[SessionEvent] = deque(maxlen=_KEPT)
        self._listener = listener
        self._lock = threading.Lock()

    def add(self, kind: Kind, message: str, about: ArtifactPlan | None = None) -> None:
        event = SessionEvent(
            at_s=time.time(),
            kind=kind,
            message=message,
            artifact=None if about is None else about.artifact,
            label=None if about is None else about.label,
        )
        with self._lock:
            self._events.append(event)
        if self._listener is not None:
            self._listener(event)

    def all(self) -> tuple[SessionEvent, ...]:
        """Oldest first, at most 256."""
        with self._lock:
            return tuple(self._events)
