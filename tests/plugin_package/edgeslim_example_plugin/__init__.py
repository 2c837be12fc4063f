"""A target that writes the reference format under a name of its own, and a device that is always busy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgeslim.benchmark.desk.devices.base import DeviceOptions
from edgeslim.core.events import Sink
from edgeslim.core.job import Job
from edgeslim.errors import DeviceError
from edgeslim.targets.info import Platform
from edgeslim.targets.reference import ReferenceTarget

PLATFORMS: tuple[Platform, ...] = ("linux", "macos", "windows")


class ExampleTarget(ReferenceTarget):
    """What a plug-in's author has to write is a file like ``targets/reference.py``; this one borrows it."""

    info = replace(
        ReferenceTarget.info,
        name="example",
        aliases=("exemplar",),
        suffix=".example",
        platforms=PLATFORMS,
        preference=40,
        options={"colour": "any; does nothing"},
    )


class ShelfDevice:
    """A kind of device."""

    def __init__(self, rest: str, options: DeviceOptions) -> None:
        self.name = f"shelf:{rest}"

    def runnable(self, targets: Sequence[str]) -> tuple[str, ...]:
        return tuple(targets)

    def measure(self, job: Job, bundle: Path | None, sink: Sink) -> None:
        raise DeviceError(f"{self.name} is busy")
