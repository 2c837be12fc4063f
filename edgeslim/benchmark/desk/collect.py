"""One device, one table: measures what the table lacks, keeps every finished row at once.

Job ─ missing cells ─► Device.measure ─► RowDone ─► TableFile
                         └─ rerun: once more, and rows that do not repeat within 5 % stop counting
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from edgeslim.benchmark.desk.devices.base import Device
from edgeslim.benchmark.table.compare import SAME
from edgeslim.benchmark.table.report import row_line
from edgeslim.benchmark.table.table_file import TableFile, row_key
from edgeslim.core.events import Event, Passport, RowDone, Sink
from edgeslim.core.job import Cell, Job
from edgeslim.core.latency import LatencyRow, LatencyTable
from edgeslim.core.prior import scale_prior
from edgeslim.errors import DeviceError, HostError, TableError

_PROBE_RUNS = 20
_PROBE_SECONDS = 0.5
_PROBES_AGREE = 1.25


def measure(device: Device, job: Job, bundle: Path | None, table: TableFile, *, rerun: bool, watch: Sink) -> None:
    """Fill ``table`` with the rows of ``job`` that it lacks.

    Args:
        rerun: measure everything twice; a row whose two p50 differ by more than 5 % does not count.

    Raises:
        HostError: no row at all could be measured (the table holds the reasons).
        EdgeslimError: whatever ``Device.measure`` raises; finished rows are in the table.
    """
    cells = table.missing(job.cells, job.kind)
    if not cells:
        return
    job = dataclasses.replace(job, cells=cells)
    first = _pass(device, job, bundle, table, {}, watch)
    if rerun:
        again = tuple(cell for cell in cells if first[cell].runs)
        if again:
            job = dataclasses.replace(job, cells=again, seed=job.seed + 1000)
            _pass(device, job, bundle, table, first, watch)
    if not any(row.runs for row in first.values()):
        cell, row = next(iter(first.items()))
        raise HostError(f"nothing could be measured on {device.name}; {cell}: {'; '.join(row.reasons)}")


def _pass(
    device: Device, job: Job, bundle: Path | None, table: TableFile, before: dict[Cell, LatencyRow], watch: Sink
) -> dict[Cell, LatencyRow]:
    by_key = {cell.key: cell for cell in job.cells}
    rows: dict[Cell, LatencyRow] = {}

    def take(event: Event) -> None:
        if isinstance(event, Passport):
            table.expect_device(event.device)
        if isinstance(event, RowDone):
            row = event.row
            cell = by_key.get(row_key(row)[:-1])
            if cell is None:
                raise DeviceError(f"{device.name} reported a row that was not asked for: {row_line(row)}")
            if cell in before:
                row = repeated(before[cell], row)
            rows[cell] = row
            table.add([row])
            event = RowDone(row=row)
        watch(event)

    device.measure(job, bundle, take)
    return rows


def repeated(first: LatencyRow, second: LatencyRow) -> LatencyRow:
    """The row of a rerun: the first one where the rerun agrees within 5 % in p50, else one that does not count."""
    if first.p50_ms is None or second.p50_ms is None:
        return second
    if not (first.valid and second.valid):  # one of them says why already
        return first if first.valid else second
    ratio = second.p50_ms / first.p50_ms
    words = f"p50 {first.p50_ms:.4g} ms, then {second.p50_ms:.4g} ms ({ratio - 1:+.1%})"
    if max(ratio, 1 / ratio) <= 1 + SAME:
        return dataclasses.replace(first, notes=(*first.notes, f"rerun agrees: {words}"))
    return dataclasses.replace(second, valid=False, reasons=(f"rerun: {words}",))


def measure_prior(
    device: Device, job: Job, bundle: Path | None, prior: LatencyTable, table: TableFile, watch: Sink
) -> str:
    """Time the narrowest and the widest cell of ``job`` that ``prior`` knows; scale its other rows by what that says.

    The two rows stand in the table as measured, the others as kind ``prior``. Returns what was done, in a sentence.

    Raises:
        TableError: ``job`` and ``prior`` have no artifact in common, or the probes could not be measured.
    """
    (target,) = {cell.target for cell in job.cells}
    (threads,) = {cell.threads for cell in job.cells}
    known = dataclasses.replace(prior, rows=prior.select(target=target, kind="burst", threads=threads))
    there = {row.artifact for row in known.rows if row.valid}
    common = [cell for cell in job.cells if cell.artifact in there]
    if not common:
        raise TableError(
            f"the prior table has no valid burst row of these artifacts on {target} with {threads} threads"
        )
    probes = tuple(dict.fromkeys((common[0], common[-1])))
    job = dataclasses.replace(job, cells=probes, runs=_PROBE_RUNS, seconds=_PROBE_SECONDS)
    rows = [row for row in _pass(device, job, bundle, table, {}, watch).values() if row.p50_ms is not None]
    if not rows:
        raise TableError("no probe could be measured; the table says why")
    scaled = scale_prior(
        known,
        {row.artifact: row.p50_ms for row in rows if row.p50_ms is not None},
        device=rows[0].device,
        os=rows[0].os,
        runtime=rows[0].runtime,
        created_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        target=target,
    )
    table.prior = scaled.prior
    assert scaled.prior is not None
    measured = {row.artifact for row in rows}
    wanted = {cell.artifact for cell in common} - measured
    table.add([row for row in scaled.rows if row.artifact in wanted])
    ratios = [probe.here_ms / probe.there_ms for probe in scaled.prior.probes]
    listed = ", ".join(f"{p.artifact} {r:.3f}" for p, r in zip(scaled.prior.probes, ratios, strict=True))
    words = f"scaled {len(wanted)} rows of {scaled.prior.device.model} by {scaled.prior.scale:.3f} (probes: {listed})"
    if max(ratios) > _PROBES_AGREE * min(ratios):
        words += "; the probes disagree, so measure this device instead"
    return words
