"""What ``edgeslim.run`` reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgeslim.core.ladder import Rung
from edgeslim.core.reasons import Reason
from edgeslim.core.strict_json import BESIDE
from edgeslim.runtime.events import SessionEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """How often one artifact ran."""

    artifact: str
    """Its id."""
    label: str
    """Its name for people."""
    frames: int
    """That it ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedRow:
    """An artifact that the ladder does not use."""

    artifact: str
    """Its id."""
    label: str
    """Its name for people."""
    reason: Reason = field(metadata=BESIDE)
    """Why not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What a run adds up to. Latencies are of the runtime's call alone; null: no frame ran."""

    bundle: Path
    """The file."""
    target: str
    """Name of the runtime that was used."""
    table: Path | None
    """The latency table that was used; null: one that could not be kept."""
    policy: str
    """Its name."""
    budget_ms: float
    """Time of a frame, of which preparing the image is taken off."""
    frames: int
    """That ran."""
    skipped: int
    """Frames left out as the controller asked."""
    fps: float
    """Frames that ran per second."""
    misses: int
    """Frames whose inference took longer than what was left of the budget."""
    switches: int
    """How often another artifact took over."""
    p50_ms: float | None
    """Half of the frames took no longer."""
    p95_ms: float | None
    """95 of 100 took no longer."""
    p99_ms: float | None
    """99 of 100 took no longer."""
    mean_ms: float | None
    """Mean latency."""
    prepare_ms: float | None
    """Mean time from image file to input."""
    rows: tuple[RunRow, ...]
    """The artifacts that ran."""
    ladder: tuple[Rung, ...]
    """From narrow to wide."""
    dropped: tuple[DroppedRow, ...]
    """Artifacts that the ladder does not use, and why: ``code`` and ``params`` of core/reasons.py."""
    events: tuple[SessionEvent, ...]
    """What else happened, oldest first, at most 256."""
    log: Path | None
    """Where ``--log`` put the frames; null: nowhere."""
