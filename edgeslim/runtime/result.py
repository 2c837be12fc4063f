"""What a session answers to a frame, and what it counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from edgeslim.core.reading import Decision, Reading
from edgeslim.core.width import Width
from edgeslim.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameResult:
    """One frame. ``outputs``: every output of the net by name, the caller's own."""

    outputs: Mapping[str, NDArray[Any]]
    artifact: str
    """Id of what ran; not yet ``decision.artifact`` while that one is being prepared."""
    width: Width
    """The width that ran."""
    latency_us: int
    """Of the runtime's call alone."""
    reading: Reading
    decision: Decision

    @property
    def output(self) -> NDArray[Any]:
        """The output of a net that has one, such as logits ``[1, classes]``.

        Raises:
            UsageError: it has several.
        """
        if len(self.outputs) != 1:
            raise UsageError(f"this net has the outputs {', '.join(self.outputs)}", hint="outputs[name]")
        return next(iter(self.outputs.values()))

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
