"""Which cells of a job the runtimes that are installed here can measure."""

from __future__ import annotations

import dataclasses

from edgeslim.core.events import Note, Sink
from edgeslim.core.job import Job
from edgeslim.errors import MissingExtraError
from edgeslim.targets import runtimes


def installed_part(job: Job, *, leave_out: bool, sink: Sink) -> Job:
    """``job`` without the cells of targets whose runtime is missing, each target told to ``sink``.

    Args:
        leave_out: whether that is allowed; a target that somebody asked for by name is not left out.

    Raises:
        MissingExtraError: a runtime is missing and may not be left out, or no cell remains.
    """
    missing: dict[str, MissingExtraError] = {}
    for target in sorted({cell.target for cell in job.cells}):
        try:
            runtimes.check(target)
        except MissingExtraError as error:
            missing[target] = error
    cells = tuple(cell for cell in job.cells if cell.target not in missing)
    if missing and not (leave_out and cells):
        raise next(iter(missing.values()))
    for target, why in missing.items():
        sink(Note(text=f"left out: {target}, {why.message}; {why.hint}"))
    return dataclasses.replace(job, cells=cells)
