"""What a session answers to a frame, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeslim.core.reading import Decision, Reading
from edgeslim.core.width import Width


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameResult:
    """One frame. ``output``: logits ``[1, classes]``, float32, the caller's own."""

    output: NDArray[np.float32]
    artifact: str
    """Id of what ran; not yet ``decision.artifact`` while that one is being prepared."""
    width: Width
    """The width that ran."""
    latency_us: int
    """Of the runtime's call alone."""
    reading: Reading
    decision: Decision

    @property
    def missed(self) -> bool:
        """Whether the inference took longer than the budget less the app's own work."""
        return self.latency_us > self.reading.deadline_us

    @property
    def skip(self) -> int:
        """m: run one frame of m from here on (1: every frame)."""
        return self.decision.skip

    @property
    def reason(self) -> str:
        """For people, like ``narrowed to 0.75x: thermal level 2 caps at 0.75x``."""
        sentence = self.decision.sentence()
        if self.artifact == self.decision.artifact:
            return sentence
        return f"{sentence}; ran at {self.width}x while {self.decision.label} is prepared"


@dataclass(slots=True, kw_only=True)
class SessionCounts:
    """Since the session began."""

    frames: int = 0
    misses: int = 0
    switches: int = 0
    frames_at: dict[Width, int] = field(default_factory=dict)
    last: Width | None = None

    def add(self, result: FrameResult) -> None:
        width = result.width
        self.frames += 1
        self.misses += result.missed
        self.switches += self.last is not None and width != self.last
        self.last = width
        self.frames_at[width] = self.frames_at.get(width, 0) + 1
