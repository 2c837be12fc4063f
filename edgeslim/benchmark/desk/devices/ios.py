"""An iPhone or iPad from a Mac: ``ios`` or ``ios:UDID``; the demo app measures.

devicectl list devices ─► device copy to (bundle.slim, job.json) ─► process launch --console ─► events
"""

from __future__ import annotations

import json
import platform
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeslim.benchmark.desk.devices.app import AppPlan, Command, carry_out, output_of
from edgeslim.benchmark.desk.devices.base import DeviceOptions, running_on
from edgeslim.core.events import Sink
from edgeslim.core.job import Job
from edgeslim.errors import DeviceError, HostError, InternalError

BUNDLE_ID = "dev.edgeslim.demo"
_FOLDER = "Documents/edgeslim-bench"  # inside the app's data container
_DEVICECTL: Command = ("xcrun", "devicectl")


class IosDevice:
    """A phone with the demo app, connected to this Mac."""

    def __init__(self, rest: str, options: DeviceOptions) -> None:
        self.name = f"ios:{rest}" if rest else "ios"
        self._udid = rest

    def runnable(self, targets: Sequence[str]) -> tuple[str, ...]:
        return running_on("ios", targets)

    def measure(self, job: Job, bundle: Path | None, sink: Sink) -> None:
        if bundle is None:
            raise InternalError("a phone needs a bundle to rebuild from")
        if platform.system() != "Darwin" or shutil.which("xcrun") is None:
            raise HostError("iOS devices are reached from a Mac only", hint="run this on macOS with Xcode 16 or newer")
        with tempfile.TemporaryDirectory(prefix="edgeslim-ios-") as name:
            folder = Path(name)
            listing = folder / "devices.json"
            output_of(list_command(listing), self.name)
            udid, model = choose(json.loads(listing.read_text()), self._udid)
            (folder / "job.json").write_text(job.to_json())
            plan = ios_plan(udid, bundle, folder / "job.json")
            carry_out(plan, model, len(job.cells), sink)


def list_command(out: Path) -> Command:
    return (*_DEVICECTL, "list", "devices", "--json-output", str(out))


def choose(listing: dict[str, Any], udid: str) -> tuple[str, str]:
    """(UDID, model) of the device asked for, or of the only one that is connected.

    Raises:
        DeviceError: none or several.
    """
    found = [
        (entry["hardwareProperties"]["udid"], entry["hardwareProperties"].get("marketingName", "iOS device"))
        for entry in listing.get("result", {}).get("devices", [])
        if entry.get("hardwareProperties", {}).get("platform") in ("iOS", "iPadOS")
        and entry.get("connectionProperties", {}).get("tunnelState") != "unavailable"
    ]
    chosen = [(identifier, model) for identifier, model in found if not udid or identifier == udid]
    listed = ", ".join(f"{identifier} ({model})" for identifier, model in found) or "none"
    if not chosen:
        raise DeviceError(
            f"no device {udid!r} is connected; there are: {listed}" if udid else "no iOS device is connected",
            hint="connect it, unlock it, switch on Developer Mode; see: xcrun devicectl list devices",
        )
    if len(chosen) > 1:
        raise DeviceError(f"several devices are connected: {listed}", hint=f"name one: ios:{chosen[0][0]}")
    return chosen[0]


def ios_plan(udid: str, bundle: Path, job: Path) -> AppPlan:
    """The command lines for one job. The app empties its folder itself when it has read the job."""

    def copy(source: Path, name: str) -> Command:
        return (
            *_DEVICECTL, "device", "copy", "to", "--device", udid, "--source", str(source),
            "--destination", f"{_FOLDER}/{name}", "--domain-type", "appDataContainer", "--domain-identifier", BUNDLE_ID,
        )  # fmt: skip

    return AppPlan(
        setup=(copy(bundle, "bundle.slim"), copy(job, "job.json")),
        stream=(
            *_DEVICECTL, "device", "process", "launch", "--device", udid, "--console", "--terminate-existing",
            BUNDLE_ID, "--edgeslim-bench", _FOLDER,
        ),
        cleanup=(),
        event_of=event_of,
    )  # fmt: skip


def event_of(line: str) -> str | None:
    """The app prints events as they are; the system's own lines are no JSON."""
    return line.strip() if line.startswith('{"') else None
