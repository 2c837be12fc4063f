"""What a device is: it takes a job and a bundle and reports events.

Job + bundle ─► Device.measure ─► Passport, Progress, RowDone …, Done   (events.py)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from edgeslim import targets
from edgeslim.core.events import Sink
from edgeslim.core.job import Job
from edgeslim.core.wire import MAX_LINE_BYTES
from edgeslim.errors import DeviceError
from edgeslim.targets.info import Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceOptions:
    """What some kinds of device need to know beyond their name."""

    board_python: str = "python3"
    """ssh: the Python on the board that has the runtime."""


def lines_of(stream: BinaryIO) -> Iterator[bytes]:
    """Its lines, each of at most 64 MiB: what comes from a device may be anything.

    Raises:
        DeviceError: a line without an end.
    """
    while line := stream.readline(MAX_LINE_BYTES):
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            raise DeviceError(f"a line of more than {MAX_LINE_BYTES >> 20} MiB came from the device")
        yield line


def running_on(platform: Platform | None, names: Sequence[str]) -> tuple[str, ...]:
    """Those of the targets ``names`` whose runtime runs on ``platform``; elsewhere files may be evaluated, which says
    nothing about time."""
    return tuple(name for name in names if platform in targets.get(name).info.platforms)


class Device(Protocol):
    """One place to measure. Making one contacts nothing."""

    name: str

    def runnable(self, targets: Sequence[str]) -> tuple[str, ...]:
        """Those of ``targets`` whose latency means something on this kind of device."""

    def measure(self, job: Job, bundle: Path | None, sink: Sink) -> None:
        """Run the whole job; returns after ``Done``. Leaves nothing behind on any way out.

        What ``sink`` raises stops the device and comes out of here.

        Raises:
            DeviceError: not there, or it went away; rows that were reported before are finished.
            HostError: this host cannot reach that kind of device, or the device cannot measure now (too hot).
            MissingExtraError: the runtime is not installed there.
            UsageError: the device refuses the job.
        """
