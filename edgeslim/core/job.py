"""What is to be measured, as a value that travels: to the session here, to a board, to an app.

    bundle + options ─► Job(cells) ─► JSON ─► session.measure

A cell is one row of the table to be: (artifact, threads). Its file comes out of the bundle, or lies on the disk.
``tests/golden/jobs`` has jobs and events as they travel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeslim.core.strict_json import StrictJsonError, canonical, decode, encode, parse
from edgeslim.errors import UsageError

BURST_LIMIT_S = 10.0
SUSTAINED_SECONDS = 60.0
SUSTAINED_RUNS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One row to be: an artifact and a thread count.

    ``artifact`` is its id ``<variant>/<net>``, ``label`` its name for people, ``width_permille`` the net's width where
    it is one. ``file_sha256`` is what the row is bound to.
    """

    artifact: str
    label: str
    width_permille: int | None
    target: str
    threads: int
    precision: str
    input_shape: tuple[int, ...]
    file_sha256: str
    suffix: str = ""
    backend: str | None = None
    path: str | None = None
    """An artifact that is already on the disk; None: rebuilt from the bundle."""

    def __str__(self) -> str:
        plural = "s" if self.threads > 1 else ""
        return f"{self.target} {self.label}, {self.threads} thread{plural}"

    @property
    def variant(self) -> str:
        return self.artifact.partition("/")[0]

    @property
    def net(self) -> str:
        return self.artifact.partition("/")[2]

    @property
    def key(self) -> tuple[str, int]:
        """What tells rows of one table and kind apart."""
        return self.artifact, self.threads


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The cells, and how they are measured.

    ``runs`` and ``seconds`` are both reached for every cell unless ``limit_s`` of measuring come first.
    """

    kind: Literal["burst", "sustained"]
    cells: tuple[Cell, ...]
    bundle_sha256: str | None
    runs: int
    seconds: float
    limit_s: float
    seed: int = 0
    warmup_runs: int = 10
    warmup_s: float = 0.5
    block_s: float = 0.1
    lead_in_runs: int = 2
    """Runs at the start of every turn that warm the caches again; they count as warm-up."""
    together: int = 16
    """Cells that take turns, each in a live process."""
    cool_wait_s: float = 300.0
    hang_s: float = 60.0
    """Silence of a child beyond what its work should take, after which it counts as hung."""
    retries: int = 1
    """How often a cell that calls itself invalid because something else ran is measured again."""

    def __post_init__(self) -> None:
        if not self.cells:
            raise UsageError("nothing to measure: no artifact chosen")
        if self.runs < 1 or self.warmup_runs < 0:
            raise UsageError(f"cannot measure {self.runs} runs: at least 1", hint="--runs 50")
        if not (self.seconds >= 0 and self.limit_s > 0 and self.block_s > 0):
            raise UsageError("times to measure are above 0 seconds")
        if any(cell.threads < 1 for cell in self.cells):
            raise UsageError("threads are at least 1")
        for cell in self.cells:
            if not cell.variant or not cell.net:
                raise UsageError(f"artifact {cell.artifact!r} is not <variant>/<net>")

    def to_json(self) -> str:
        return canonical(encode(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Job:
        """Raises ``UsageError`` on anything that is not exactly a job."""
        try:
            return decode(cls, parse(text))
        except StrictJsonError as error:
            raise UsageError(f"not a job: {error}") from None
