"""What parent and child say to each other: one JSON object per line, a reply for every request.

    parent                                             child (one per cell)
      Import(target)                ────────────────►  the runtime's code, for all children of a group at once
                                    ◄────────────────  Imported()
      Prepare(cell, bundle, folder) ────────────────►  rebuild, load cold, first run, load warm
                                    ◄────────────────  Prepared(rebuild_ms, load_cold_ms, …, runtime)
      Warm(runs, seconds)           ────────────────►
                                    ◄────────────────  Warmed(runs, run_ms)
      Turn(lead_in_runs, runs)      ────────────────►  lead-in, baseline, counters, timed runs, counters
        (again and again)           ◄────────────────  Block(samples_ns, baseline_ns, load, energy_uj)
      Finish()                      ────────────────►
                                    ◄────────────────  Finished(peak_rss_bytes), end of the process
                                      or Failed(...)   for any exception

On the wire as ``wire.py`` says.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeslim.core.job import Cell
from edgeslim.core.latency import EnergyMethod
from edgeslim.core.passport import RuntimeInfo
from edgeslim.core.wire import Vocabulary
from edgeslim.host.load import Load


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """Load the code of the target's runtime; an app has it linked in, so it is in no figure."""

    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """Make the cell's file (from ``bundle``, unless it has a path) inside ``folder`` and load it."""

    cell: Cell
    bundle: str | None
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    rebuild_ms: float | None
    load_cold_ms: float
    load_warm_ms: float
    first_inference_ms: float
    runtime: RuntimeInfo
    """As it describes itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    runs: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmed:
    """``run_ms``: the median of the last half, an estimate for planning."""

    runs: int
    run_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    lead_in_runs: int
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One turn's samples, in order."""

    samples_ns: tuple[int, ...]
    baseline_ns: int
    load: Load
    energy_uj: float | None
    energy_method: EnergyMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    peak_rss_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An exception in the child: ``name`` and ``message`` of the error, ``stage`` is the request it came from."""

    stage: str
    name: str
    message: str


Message = Import | Imported | Prepare | Prepared | Warm | Warmed | Turn | Block | Finish | Finished | Failed
MESSAGES: Vocabulary[Message] = Vocabulary(
    Import, Imported, Prepare, Prepared, Warm, Warmed, Turn, Block, Finish, Finished, Failed
)
