"""Phones: the command lines as pure functions, and the whole road with a fake ``adb`` program in the path."""

from __future__ import annotations

import platform
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_bundle import write_bundle

from edgeslim.benchmark.desk.cells import cells as cells_of
from edgeslim.benchmark.desk.devices import adb, get, ios
from edgeslim.benchmark.desk.devices.app import NO_APP_YET
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.events import Done, Event, Note, RowDone
from edgeslim.core.job import Job
from edgeslim.errors import DeviceError, HostError

LISTING = """List of devices attached
R5CT10XXXXX            device usb:1-1 product:o1sxeea model:SM_G991B device:o1s transport_id:3
192.168.1.20:5555      offline transport_id:4
ZY22              unauthorized usb:1-2 transport_id:5
FA8X      no permissions (missing udev rules? user is in the plugdev group); see [http://x] usb:3-2

"""


def test_adb_devices_are_parsed() -> None:
    phones = adb.parse_devices(LISTING)
    assert [(phone.serial, phone.state, phone.model) for phone in phones] == [
        ("R5CT10XXXXX", "device", "SM_G991B"),
        ("192.168.1.20:5555", "offline", "192.168.1.20:5555"),
        ("ZY22", "unauthorized", "ZY22"),
        ("FA8X", "no permissions", "FA8X"),
    ]
    assert adb.parse_devices("List of devices attached\n\n") == []


@pytest.mark.parametrize(
    ("serial", "message"),
    [("", "several phones"), ("nope", "no phone 'nope'"), ("ZY22", "unauthorized"), ("192.168.1.20:5555", "offline")],
)
def test_adb_phones_that_cannot_be_used(serial: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message) as caught:
        adb.choose(adb.parse_devices(LISTING), serial)
    assert caught.value.hint


def test_adb_command_lines() -> None:
    made = adb.adb_plan("adb", "R5", Path("a.slim"), Path("job.json"), token="ab12")
    there = "/data/local/tmp/edgeslim-ab12"
    assert made.setup[1] == ("adb", "-s", "R5", "push", "a.slim", f"{there}/bundle.slim")
    assert made.stream[:4] == ("adb", "-s", "R5", "shell")
    assert made.stream[4].startswith("am instrument -r -w ")
    assert f"-e folder {there}" in made.stream[4]
    assert made.cleanup[-1][-1].endswith(f"rm -rf {there}")
    assert made.event_of('INSTRUMENTATION_STATUS: event={"is":"Done"}\n') == '{"is":"Done"}'
    assert made.event_of("INSTRUMENTATION_CODE: -1\n") is None


FAKE_ADB = """#!{python}
import os, subprocess, sys, pathlib, time
words = sys.argv[1:]
state = pathlib.Path({folder!r})
with open(state / "calls", "a") as calls: calls.write(" ".join(words) + "\\n")
if words[:1] == ["devices"]:
    print("List of devices attached\\nR5 device model:Fake_Phone")
elif "pm path" in words[-1]:
    print("package:/data/app/base.apk" if (state / "installed").exists() else "")
elif words[2] == "push":
    (state / pathlib.Path(words[-1]).name).write_bytes(pathlib.Path(words[-2]).read_bytes())
elif "am instrument" in words[-1]:
    from edgeslim.core.events import EVENTS, RowDone
    from edgeslim.core.job import Job
    from edgeslim.benchmark.board.measuring import Session
    def emit(event):
        print("INSTRUMENTATION_STATUS: event=" + EVENTS.to_line(event).decode(), end="", flush=True)
        if isinstance(event, RowDone) and (state / "cable").exists():
            sys.exit(1)
    print("INSTRUMENTATION_STATUS_CODE: 0")
    job = Job.from_json((state / "job.json").read_text())
    Session(job, bundle=state / "bundle.slim", folder=state, sink=emit).run()
"""


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The fake phone's storage; ``adb`` is in the path."""
    folder = tmp_path / "phone"
    folder.mkdir()
    program = tmp_path / "bin" / "adb"
    program.parent.mkdir()
    program.write_text(FAKE_ADB.format(python=sys.executable, folder=str(folder)))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return folder


def measure(tmp_path: Path, sink: Any) -> None:
    bundle = write_bundle(tmp_path / "fake.slim", {250: {"burn_ms": 0.5}, 500: {"burn_ms": 0.5}})
    with SlimBundle.open(bundle) as opened:
        cells = cells_of(opened, ["fake"], widths=None, threads=[1])
    job = Job(
        kind="sustained", cells=cells, bundle_sha256=None, runs=5, seconds=0.01, limit_s=5, warmup_s=0.0, warmup_runs=1
    )
    get("adb:R5").measure(job, bundle, sink)


def test_a_phone_measures_through_the_app(phone: Path, tmp_path: Path) -> None:
    (phone / "installed").touch()
    events: list[Event] = []
    measure(tmp_path, events.append)
    assert sum(isinstance(event, RowDone) for event in events) == 2
    assert isinstance(events[-1], Done)
    assert "rm -rf /data/local/tmp/edgeslim-" in (phone / "calls").read_text().splitlines()[-1]


def test_a_cable_pulled_keeps_the_finished_rows(phone: Path, tmp_path: Path) -> None:
    (phone / "installed").touch()
    (phone / "cable").touch()
    events: list[Event] = []
    with pytest.raises(DeviceError, match="after 1 of 2 rows"):
        measure(tmp_path, events.append)
    assert sum(isinstance(event, RowDone) for event in events) == 1
    assert "rm -rf" in (phone / "calls").read_text().splitlines()[-1]


def test_a_phone_without_the_app(phone: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="demo app is not on Fake_Phone") as caught:
        measure(tmp_path, Note)
    assert caught.value.hint == NO_APP_YET


def test_it_is_true_that_there_is_no_phone_app() -> None:
    """README and the hint say so; whoever adds one (its manifest, or its Xcode project) changes both."""
    root = Path(__file__).resolve().parents[2]
    readme = (root / "README.md").read_text(encoding="utf-8")
    apps = [*root.glob("*_demo/app/**/AndroidManifest.xml"), *root.glob("*_demo/**/*.xcodeproj")]
    assert ("phone apps" in readme and "not here yet" in readme) == (not apps)
    assert ("no phone app yet" in NO_APP_YET) == (not apps)


def test_no_adb_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ANDROID_HOME", raising=False)
    monkeypatch.delenv("ANDROID_SDK_ROOT", raising=False)
    with pytest.raises(HostError, match="no adb") as caught:
        adb.find_adb()
    assert caught.value.exit_code == 5
    assert "apt install adb" in (caught.value.hint or "")


def ios_listing(*states: str) -> dict[str, Any]:
    devices = [
        {
            "hardwareProperties": {"platform": "iOS", "udid": f"0000-{index}", "marketingName": "iPhone 15"},
            "connectionProperties": {"tunnelState": state},
        }
        for index, state in enumerate(states)
    ]
    watch = {"hardwareProperties": {"platform": "watchOS", "udid": "w"}, "connectionProperties": {}}
    return {"result": {"devices": [*devices, watch]}}


def test_ios_devices_are_chosen() -> None:
    assert ios.choose(ios_listing("connected", "unavailable"), "") == ("0000-0", "iPhone 15")
    with pytest.raises(DeviceError, match="several"):
        ios.choose(ios_listing("connected", "connected"), "")
    with pytest.raises(DeviceError, match="no iOS device"):
        ios.choose(ios_listing(), "")
    with pytest.raises(DeviceError, match="0000-7"):
        ios.choose(ios_listing("connected"), "0000-7")


def test_ios_command_lines() -> None:
    made = ios.ios_plan("0000-1", Path("a.slim"), Path("job.json"))
    assert made.setup[0][:5] == ("xcrun", "devicectl", "device", "copy", "to")
    assert "Documents/edgeslim-bench/bundle.slim" in made.setup[0]
    assert "--console" in made.stream
    assert made.stream[-3:] == ("dev.edgeslim.demo", "--edgeslim-bench", "Documents/edgeslim-bench")
    assert made.event_of('{"is":"Done"}\n') == '{"is":"Done"}'
    assert made.event_of("Launched application\n") is None


@pytest.mark.skipif(platform.system() == "Darwin", reason="a Mac may have a phone")
def test_ios_needs_a_mac(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "fake.slim", {250: {"burn_ms": 0.5}})
    with SlimBundle.open(bundle) as opened:
        cells = cells_of(opened, ["fake"], widths=None, threads=[1])
    job = Job(kind="burst", cells=cells, bundle_sha256=None, runs=1, seconds=0.1, limit_s=1)
    with pytest.raises(HostError, match="Mac"):
        get("ios").measure(job, bundle, lambda event: None)


@pytest.mark.parametrize("name", ["hots", "sssh://x", "host:1", "usb", ""])
def test_devices_that_are_none(name: str) -> None:
    with pytest.raises(DeviceError) as caught:
        get(name)
    assert caught.value.exit_code == 6
    if name == "hots":
        assert "host" in (caught.value.hint or "")
