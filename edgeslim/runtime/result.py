"""What a session answers to a frame, and what it counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from edgeslim.core.reading import Decision, Reading
from edgeslim.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameResult:
    """One frame. ``outputs`` by name, the caller's own (a classifier's: ``logits``, ``[1, classes]``, float32)."""

    outputs: Mapping[str, NDArray[Any]]
    artifact: str
    """Id of what ran; not yet ``decision.artifact`` while that one is being prepared."""
    label: str
    """Its name for people: ``0.75x``, ``int8 0.75x @192``."""
    latency_us: int
    """Of the runtime's call alone."""
    fill_us: int = 0
    """What the function given to ``run`` took."""
    reading: Reading
    decision: Decision

    @property
    def output(self) -> NDArray[Any]:
        """The only output.

        Raises:
            UsageError: there are several.
        """
        if len(self.outputs) != 1:
            raise UsageError(f"there are {len(self.outputs)} outputs: take one of {', '.join(self.outputs)} by name")
        (only,) = self.outputs.values()
        return only

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
        return f"{sentence}; ran at {self.label} while {self.decision.label} is prepared"


@dataclass(slots=True, kw_only=True)
class SessionCounts:
    """Since the session began; artifacts by id."""

    frames: int = 0
    misses: int = 0
    switches: int = 0
    frames_at: dict[str, int] = field(default_factory=dict)
    last: str | None = None

    def add(self, result: FrameResult) -> None:
        artifact = result.artifact
        self.frames += 1
        self.misses += result.missed
        self.switches += self.last is not None and artifact != self.last
        self.last = artifact
        self.frames_at[artifact] = self.frames_at.get(artifact, 0) + 1
