"""Two tables against each other: the ratio of the p50s, with a confidence interval for each row.

    samples of A in blocks ─┐  resample whole blocks, both sides, many times
    samples of B in blocks ─┴─► ratio B/A of the p50s ─► 95 % interval ─► same | faster | slower | unclear

Samples of one turn share a clock, a cache and a neighbour, so they are not independent; whole turns are drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from edgeslim.benchmark.board.validity import p50_resampled
from edgeslim.benchmark.table.table_file import RowKey, row_key
from edgeslim.core.latency import LatencyRow, LatencyTable
from edgeslim.errors import TableError

SAME = 0.05
"""A rerun within this is a good table."""
_RESAMPLES = 1000
_FORCE = "compare what you mean, or insist with --anyway"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRow:
    """``ratio``: p50 of B over that of A, below 1 where B is faster; ``verdict`` judges its interval."""

    artifact: str
    label: str
    target: str
    threads: int
    precision: str
    kind: str
    a_ms: float
    b_ms: float
    ratio: float
    ratio_low: float | None
    ratio_high: float | None
    verdict: str
    valid: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """``only_a`` and ``only_b`` name rows (with a p50) that the other table lacks; ``notes`` what else differs."""

    rows: tuple[ComparedRow, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    notes: tuple[str, ...]


def compare(a: LatencyTable, b: LatencyTable, *, anyway: bool = False, seed: int = 0) -> Comparison:
    """Match rows by artifact, threads and kind.

    Args:
        anyway: compare rows of different files, and rows of different kinds, all the same.

    Raises:
        TableError: nothing to compare, or (without ``anyway``) another file or another kind.
    """
    rows_a, rows_b = _timed(a, anyway), _timed(b, anyway)
    common = [key for key in rows_a if key in rows_b]
    if not common:
        kinds = {row.kind for row in a.rows}, {row.kind for row in b.rows}
        if kinds[0] and kinds[1] and not kinds[0] & kinds[1] and not anyway:
            raise TableError(f"one table is {_or(kinds[0])}, the other {_or(kinds[1])}", hint=_FORCE)
        raise TableError("the tables have no row in common", hint="the same artifacts with the same number of threads")
    for key in common:
        if rows_a[key].file_sha256 != rows_b[key].file_sha256 and not anyway:
            raise TableError(
                f"{_name(rows_a[key])} is another file in each table: "
                f"{rows_a[key].file_sha256[:12]}… and {rows_b[key].file_sha256[:12]}…",
                hint=_FORCE,
            )
    return Comparison(
        rows=tuple(_compared(rows_a[key], rows_b[key], seed) for key in common),
        only_a=tuple(_name(row) for key, row in rows_a.items() if key not in rows_b),
        only_b=tuple(_name(row) for key, row in rows_b.items() if key not in rows_a),
        notes=_notes([(rows_a[key], rows_b[key]) for key in common]),
    )


def _timed(table: LatencyTable, anyway: bool) -> dict[RowKey, LatencyRow]:
    found: dict[RowKey, LatencyRow] = {}
    for row in table.rows:
        if row.p50_ms is not None:
            key = row_key(row)
            found[(*key[:-1], "any") if anyway else key] = row
    return found


def _compared(a: LatencyRow, b: LatencyRow, seed: int) -> ComparedRow:
    assert a.p50_ms is not None
    assert b.p50_ms is not None
    low: float | None = None
    high: float | None = None
    if a.samples_ms and b.samples_ms:
        ratios = p50_resampled(blocks_of(b), seed=seed, resamples=_RESAMPLES) / p50_resampled(
            blocks_of(a), seed=seed + 1, resamples=_RESAMPLES
        )
        low, high = (float(bound) for bound in np.percentile(ratios, (2.5, 97.5)))
    ratio = b.p50_ms / a.p50_ms
    return ComparedRow(
        artifact=a.artifact,
        label=a.label,
        target=a.target,
        threads=a.runtime.threads,
        precision=a.precision,
        kind=a.kind if a.kind == b.kind else f"{a.kind}/{b.kind}",
        a_ms=a.p50_ms,
        b_ms=b.p50_ms,
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
        verdict=_verdict(ratio if low is None else low, ratio if high is None else high),
        valid=a.valid and b.valid,
    )


def _verdict(low: float, high: float) -> str:
    if low >= 1 - SAME and high <= 1 + SAME:
        return "same"
    if high < 1:
        return "faster"
    return "slower" if low > 1 else "unclear"


def blocks_of(row: LatencyRow) -> list[Sequence[float]]:
    """The row's samples turn by turn; in pieces of about √n where it does not say."""
    samples = row.samples_ms or ()
    sizes = row.block_runs
    if sizes is None:
        size = max(1, int(len(samples) ** 0.5))
        return [samples[start : start + size] for start in range(0, len(samples), size)]
    ends = np.cumsum(sizes)
    return [samples[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def _notes(pairs: Sequence[tuple[LatencyRow, LatencyRow]]) -> tuple[str, ...]:
    notes: dict[str, None] = {}
    for a, b in pairs:
        if a.device != b.device:
            notes[f"another device: {a.device.model} and {b.device.model}"] = None
        if (a.runtime.name, a.runtime.version) != (b.runtime.name, b.runtime.version):
            versions = (f"{row.runtime.name} {row.runtime.version}" for row in (a, b))
            notes[f"another runtime: {' and '.join(versions)}"] = None
        if a.file_sha256 != b.file_sha256:
            notes["other files"] = None
    doubtful = sum(not (a.valid and b.valid) for a, b in pairs)
    if doubtful:
        notes[f"{doubtful} of {len(pairs)} rows do not call themselves valid in both tables"] = None
    return tuple(notes)


def _name(row: LatencyRow) -> str:
    return f"{row.target} {row.label} ({row.kind}, {row.precision}, threads {row.runtime.threads})"


def _or(kinds: Iterable[str]) -> str:
    return " and ".join(sorted(kinds)) or "empty"
