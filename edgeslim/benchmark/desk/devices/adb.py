"""An Android phone over adb: ``adb`` or ``adb:SERIAL``; the demo app's instrumentation measures.

adb devices ─► adb push bundle.slim, job.json ─► adb shell am instrument -r -w … ─► events ─► adb shell rm
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeslim.benchmark.desk.devices.app import AppPlan, Command, carry_out, output_of
from edgeslim.benchmark.desk.devices.base import DeviceOptions, running_on
from edgeslim.core.events import Sink
from edgeslim.core.job import Job
from edgeslim.errors import DeviceError, HostError, InternalError

PACKAGE = "dev.edgeslim.demo"
TEST_CLASS = f"{PACKAGE}.BenchmarkTest"
RUNNER = f"{PACKAGE}.test/androidx.test.runner.AndroidJUnitRunner"
_FOLDER = "/data/local/tmp"  # readable by apps under test, writable by adb
_STATUS = "INSTRUMENTATION_STATUS: event="
_STATES = {
    "unauthorized": "unlock the phone and allow USB debugging from this computer",
    "offline": "unplug and plug it in again, or: adb reconnect",
    "no permissions": "add a udev rule for the phone, or: adb kill-server; sudo adb start-server",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Phone:
    """One line of ``adb devices -l``."""

    serial: str
    state: str
    model: str


class AdbDevice:
    """A phone with the demo app."""

    def __init__(self, rest: str, options: DeviceOptions) -> None:
        self.name = f"adb:{rest}" if rest else "adb"
        self._serial = rest

    def runnable(self, targets: Sequence[str]) -> tuple[str, ...]:
        return running_on("android", targets)

    def measure(self, job: Job, bundle: Path | None, sink: Sink) -> None:
        if bundle is None:
            raise InternalError("a phone needs a bundle to rebuild from")
        adb = find_adb()
        phone = choose(parse_devices(output_of((adb, "devices", "-l"), self.name)), self._serial)
        if not output_of((adb, "-s", phone.serial, "shell", f"pm path {PACKAGE} || true"), self.name).strip():
            raise DeviceError(f"the demo app is not on {phone.model}", hint="cd android_demo && ./gradlew installDebug")
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(job.to_json())
            file.flush()
            plan = adb_plan(adb, phone.serial, bundle, Path(file.name), token=secrets.token_hex(4))
            carry_out(plan, phone.model, len(job.cells), sink)


def find_adb() -> str:
    """Raises ``HostError`` where there is no adb."""
    sdk = os.environ.get("ANDROID_HOME") or os.environ.get("ANDROID_SDK_ROOT")
    found = shutil.which("adb") or (shutil.which("adb", path=f"{sdk}/platform-tools") if sdk else None)
    if found is None:
        raise HostError("there is no adb here", hint="apt install adb, or install Android's platform-tools")
    return found


def parse_devices(text: str) -> list[Phone]:
    """``adb devices -l`` → phones; the state may have two words."""
    phones = []
    for line in text.splitlines()[1:]:
        serial, _, rest = line.partition(" ")
        if not serial or serial.startswith("*") or not rest.strip():
            continue
        words = rest.split()
        state = "no permissions" if words[:2] == ["no", "permissions"] else words[0]
        model = next((word.removeprefix("model:") for word in words if word.startswith("model:")), serial)
        phones.append(Phone(serial=serial, state=state, model=model))
    return phones


def choose(phones: Sequence[Phone], serial: str) -> Phone:
    """The phone asked for, or the only one.

    Raises:
        DeviceError: none, several, or one that is not ready.
    """
    listed = ", ".join(f"{phone.serial} ({phone.model})" for phone in phones) or "none"
    chosen = [phone for phone in phones if not serial or phone.serial == serial]
    if not chosen:
        wanted = f"no phone {serial!r}" if serial else "no phone"
        raise DeviceError(f"{wanted} is connected; there are: {listed}", hint="allow USB debugging; see: adb devices")
    if len(chosen) > 1:
        raise DeviceError(f"several phones are connected: {listed}", hint=f"name one: adb:{chosen[0].serial}")
    phone = chosen[0]
    if phone.state != "device":
        raise DeviceError(f"{phone.serial} is {phone.state}", hint=_STATES.get(phone.state))
    return phone


def adb_plan(adb: str, serial: str, bundle: Path, job: Path, *, token: str) -> AppPlan:
    """The command lines for one job; ``token`` keeps two hosts apart."""
    there = f"{_FOLDER}/edgeslim-{token}"
    on: Command = (adb, "-s", serial)
    instrument = f"am instrument -r -w -e class {TEST_CLASS} -e folder {there} {RUNNER}"
    return AppPlan(
        setup=(
            (*on, "shell", f"mkdir -p {there}"),
            (*on, "push", str(bundle), f"{there}/bundle.slim"),
            (*on, "push", str(job), f"{there}/job.json"),
            (*on, "shell", f"chmod -R a+rX {there}"),
        ),
        stream=(*on, "shell", instrument),
        cleanup=((*on, "shell", f"am force-stop {PACKAGE}; rm -rf {there}"),),
        event_of=event_of,
    )


def event_of(line: str) -> str | None:
    """The event in a line of ``am instrument -r``."""
    return line.removeprefix(_STATUS).strip() if line.startswith(_STATUS) else None
