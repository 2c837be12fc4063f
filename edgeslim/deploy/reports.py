"""What the verbs of this room report: with ``--json`` each of these is the document, as it stands here.

    deploy/*, cli/* ─► report ─► core.strict_json.encode ─► stdout
                         └─► cli/schemas.py ─► cli/<verb>.schema.json

Nothing here needs PyTorch. What is said of bundles is in ``bundle_reports``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeslim.core.manifest import FileEntry
from edgeslim.core.strict_json import BESIDE, LEFT_OUT


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateReport:
    """What ``calibrate`` wrote."""

    checkpoint: Path
    """File with the statistics."""
    images: int
    """Whose statistics these are."""
    data_sha256: str
    """Hash of these images."""
    widths: tuple[int, ...]
    """Permille of every net that was calibrated, each by its smallest name."""
    aliases: Mapping[str, tuple[int, ...]]
    """Permille of the other asked names of each, by the smallest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """How good the net of one asked width, or one artifact, is. Other names of a net repeat its figures."""

    permille: int | None
    """The asked width; null: a vector of channels."""
    net: str
    """Id that a bundle gives the net."""
    artifact: str | None = field(default=None, metadata=LEFT_OUT)
    """Id, where an artifact of a bundle was measured."""
    precision: str
    """Of the artifact; fp32: a checkpoint in PyTorch."""
    metric: str
    """Which of the measured values counts."""
    value: float
    """In that metric; shares are 0 to 1."""
    values: Mapping[str, float] = field(metadata=BESIDE)
    """All that the task measures (of classification loss, top1, top5), by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateReport:
    """What ``evaluate`` measured."""

    data: str
    """Name of the data set."""
    images: int
    """How many of it were measured on."""
    rows: tuple[ScoreRow, ...]
    """By width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainReport:
    """What ``train`` made, and how good it is on the test images."""

    checkpoint: Path
    """The calibrated result."""
    epochs: int
    """How often every image was seen."""
    task: str
    """What the network learnt."""
    metric: str
    """Which of the measured values counts."""
    best: Path | None
    """The net after the epoch that was best on held-out images; null: none were held out."""
    rows: tuple[ScoreRow, ...]
    """By width of the ladder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """The artifact that ``export`` wrote."""

    path: Path
    """Where it lies."""
    artifact: str
    """Its id."""
    permille: int | None
    """Smallest width of its net; null: a vector of channels."""
    files: tuple[FileEntry, ...]
    """With their paths inside ``path``, where that is a directory."""
    seconds: float
    """That opening, rebuilding and checking took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRow:
    """One artifact, rebuilt and compared. Without the right bytes nothing was run, and the figures are null."""

    target: str
    """Name of the runtime it is for."""
    artifact: str
    """Its id."""
    permille: int | None
    """Smallest width of its net; null: a vector of channels."""
    net: str
    """Id of its net."""
    precision: str
    """Of its numbers: fp32, fp16, auto (both), w8 or int8."""
    runtime: str | None
    """What it ran in (``coreml-mil``: the saved program, evaluated operation by operation); null: it did not run."""
    hash_ok: bool
    """Whether the rebuilt bytes are the exporter's."""
    checked: bool
    """False where this machine cannot run it, which is no failure."""
    reason: str | None = field(default=None, metadata=LEFT_OUT)
    """Why it could not be run, where that is so."""
    images: int
    """That it was to be compared on."""
    sqnr_db: float | None
    """Against the folded PyTorch net: the worst output of the worst image."""
    max_abs_error: float | None
    """Over all outputs and images."""
    agreement: float | None
    """Share of the images with the same answer, as the bundle's task counts it."""
    tie_share: float | None
    """Share with another answer where PyTorch's two best lie closer than four times the rms error."""
    changed_share: float | None
    """Share with another answer that is no tie: what the precision breaks."""
    remedy: str | None = field(default=None, metadata=LEFT_OUT)
    """What to pack instead, where it is not ok and another precision is closer."""
    ok: bool
    """Right bytes, and close enough and no more answers changed than the precision may, where it was run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What ``verify`` found."""

    ok: bool
    """Whether every row is (with ``--strict``: and was run)."""
    data: str | None
    """Name of the data set whose images were compared on; null: seeded ones, made like photographs."""
    rows: tuple[VerifyRow, ...]
    """By variant and net."""
