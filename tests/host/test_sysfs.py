"""Heat and battery: a folder stands in for a board's sysfs, a function for the Pi's tool."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edgeslim.core.signals import UNKNOWN, Signals
from edgeslim.host import machine
from edgeslim.host.sysfs import Battery, LinuxSource


def plant(root: Path, files: dict[str, object]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def zone(number: int, kind: str, milli_c: object, **trips: int) -> dict[str, object]:
    """A thermal zone with trips given as ``passive=95000``."""
    home = f"class/thermal/thermal_zone{number}"
    files: dict[str, object] = {f"{home}/type": kind, f"{home}/temp": milli_c}
    for i, (name, limit) in enumerate(trips.items()):
        files |= {f"{home}/trip_point_{i}_type": name.rstrip("_"), f"{home}/trip_point_{i}_temp": limit}
    return files


def test_nothing_there_is_unknown(tmp_path: Path) -> None:
    assert LinuxSource(tmp_path).read() == Signals()
    assert LinuxSource(tmp_path / "nowhere").read() == Signals()


@pytest.mark.parametrize(
    ("milli_c", "level"),
    [
        (79_999, 0),
        (80_000, 1),
        (89_999, 1),
        (90_000, 2),
        (95_000, 3),
        (104_999, 3),
        (105_000, 4),
        (-300_000, -1),
        ("?", -1),
    ],
)
def test_level_follows_the_trips(tmp_path: Path, milli_c: object, level: int) -> None:
    plant(tmp_path, zone(0, "cpu-thermal", milli_c, passive=95_000, passive_=97_000, critical=110_000, hot=120_000))
    assert LinuxSource(tmp_path).read().status == level


def test_trips_that_firmware_left_empty_do_not_count(tmp_path: Path) -> None:
    plant(tmp_path, zone(0, "x86_pkg_temp", 60_000, passive=0, passive_=-274_000, critical=100_000))
    assert LinuxSource(tmp_path).read().status == 0
    plant(tmp_path, zone(0, "x86_pkg_temp", 91_000, passive=0, passive_=-274_000, critical=100_000))
    assert LinuxSource(tmp_path).read().status == 3  # no passive trip: 10 °C below the critical one
    assert LinuxSource(tmp_path).heat().zone_c == 91.0


def test_a_zone_without_trips_says_nothing(tmp_path: Path) -> None:
    plant(tmp_path, zone(0, "cpu-thermal", 99_000))
    assert LinuxSource(tmp_path).read().status == UNKNOWN


def test_the_hottest_zone_counts_and_batteries_and_radios_do_not(tmp_path: Path) -> None:
    plant(tmp_path, zone(0, "cpu0-thermal", 50_000, passive=95_000))
    plant(tmp_path, zone(1, "gpu-thermal", 91_000, passive=95_000))
    plant(tmp_path, zone(2, "battery", 99_000, passive=45_000))
    plant(tmp_path, zone(3, "iwlwifi_1", 99_000, passive=45_000))
    assert LinuxSource(tmp_path).read().status == 2


@pytest.mark.parametrize(
    ("kind", "state", "level"),
    [("Processor", 0, 0), ("Processor", 3, 3), ("thermal-cpufreq-0", 1, 3), ("cpufreq", 1, 3),
     ("thermal-devfreq-0", 2, 3), ("pwm-fan", 4, 0), ("Fan", 1, 0), ("LCD", 9, 0)],
)  # fmt: skip
def test_only_what_slows_the_processor_is_throttling(tmp_path: Path, kind: str, state: int, level: int) -> None:
    plant(tmp_path, zone(0, "cpu-thermal", 50_000, passive=95_000))
    plant(tmp_path, {"class/thermal/cooling_device0/type": kind, "class/thermal/cooling_device0/cur_state": state})
    assert LinuxSource(tmp_path).read().status == level


def supply(name: str, **files: object) -> dict[str, object]:
    return {f"class/power_supply/{name}/{file}": text for file, text in files.items()}


@pytest.mark.parametrize(
    ("files", "permille", "plugged", "charging"),
    [
        (supply("BAT0", type="Battery", capacity=37, status="Discharging"), 370, False, False),
        (supply("BAT0", type="Battery", capacity=37, status="Charging"), 370, True, True),
        (supply("BAT0", type="Battery", capacity=100, status="Full"), 1000, True, False),
        (supply("BAT0", type="Battery", capacity=80, status="Not charging"), 800, True, False),
        (supply("BAT0", type="Battery", capacity="", status="Unknown"), None, None, None),
        (supply("BAT0", type="Battery", capacity=120, status="Unknown"), None, None, None),
        (supply("mouse", type="Battery", scope="Device", capacity=5, status="Discharging"), None, None, None),
        (supply("AC", type="Mains", online=1), None, True, None),
        (supply("usb", type="USB", online=0), None, False, None),
        (
            supply("AC", type="Mains", online=1) | supply("BAT0", type="Battery", capacity=50, status="Discharging"),
            500,
            True,
            False,
        ),
    ],
)
def test_sessions_and_tables_hear_the_same_battery(
    tmp_path: Path, files: dict[str, object], permille: int | None, plugged: bool | None, charging: bool | None
) -> None:
    plant(tmp_path / "sys", files)
    found = machine.battery(tmp_path)
    assert found == Battery(permille=permille, plugged=plugged, charging=charging)
    signals = LinuxSource(tmp_path / "sys").read()
    assert (signals.battery_permille, signals.charging) == (-1 if permille is None else permille, bool(plugged))


@pytest.mark.parametrize(("profile", "saving"), [("low-power", True), ("quiet", True), ("balanced", False)])
def test_sessions_and_tables_hear_the_same_power_saving(tmp_path: Path, profile: str, saving: bool) -> None:
    plant(tmp_path / "sys", {"firmware/acpi/platform_profile": profile})
    assert LinuxSource(tmp_path / "sys").read().low_power is saving
    assert machine.battery(tmp_path).low_power is saving


def answers(text: str) -> object:
    return lambda query: text if query == "get_throttled" else ""


@pytest.mark.parametrize(
    ("throttled", "celsius", "level"),
    [("0x0", 50, 0), ("0x0", 66, 1), ("0x8", 66, 2), ("0x4", 50, 3), ("0x2", 50, 3), ("0x50005", 50, 3),
     ("0x50000", 50, 0), ("0x1", 50, 0), ("0x0", 85, 4), ("nonsense", 76, 2)],
)  # fmt: skip
def test_raspberry_pi(tmp_path: Path, throttled: str, celsius: int, level: int) -> None:
    plant(tmp_path, zone(0, "cpu-thermal", celsius * 1000, critical=110_000))
    source = LinuxSource(tmp_path, answers(f"throttled={throttled}\n"))  # type: ignore[arg-type]
    assert source.read().status == level


@pytest.mark.parametrize("error", [FileNotFoundError(), subprocess.TimeoutExpired("vcgencmd", 2)])
def test_a_pi_without_its_tool_still_knows_its_temperature(tmp_path: Path, error: Exception) -> None:
    def fails(query: str) -> str:
        raise error

    plant(tmp_path, zone(0, "cpu-thermal", 81_000))
    assert LinuxSource(tmp_path, fails).read().status == 3
    assert LinuxSource(tmp_path / "nowhere", fails).read() == Signals()
