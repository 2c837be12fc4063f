"""This machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgeslim.benchmark.board import bootstrap
from edgeslim.benchmark.board.measuring import Session
from edgeslim.benchmark.desk.devices.base import DeviceOptions, running_on
from edgeslim.core.events import Sink
from edgeslim.core.job import Job
from edgeslim.targets import runtimes
from edgeslim.targets.info import this_platform

PREFIX = "edgeslim-bench-"


class HostDevice:
    """Measures in child processes of this one."""

    name = "host"

    def __init__(self, rest: str, options: DeviceOptions) -> None:
        """Needs neither."""

    def runnable(self, targets: Sequence[str]) -> tuple[str, ...]:
        return running_on(this_platform(), targets)

    def measure(self, job: Job, bundle: Path | None, sink: Sink) -> None:
        for target in sorted({cell.target for cell in job.cells}):
            runtimes.check(target)
        bootstrap.sweep(tempfile.gettempdir(), PREFIX)  # of runs that were killed
        with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as folder:
            Session(job, bundle=bundle, folder=Path(folder), sink=sink).run()
