"""Device signals: a folder stands in for a board's sysfs, a function for the Pi's tool."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edgeslim.core.ladder import Ladder, Rung
from edgeslim.core.power_budget import PowerBudget
from edgeslim.core.reading import Reading
from edgeslim.core.signals import UNKNOWN, ManualSource, Signals
from edgeslim.host.sysfs import LinuxSource, RaspberryPiSource


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
    assert LinuxSource(tmp_path).temperature_c() == 91.0


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
    ("files", "battery_permille", "charging"),
    [
        (supply("BAT0", type="Battery", capacity=37, status="Discharging"), 370, False),
        (supply("BAT0", type="Battery", capacity=37, status="Charging"), 370, True),
        (supply("BAT0", type="Battery", capacity=100, status="Full"), 1000, True),
        (supply("BAT0", type="Battery", capacity="", status="Unknown"), -1, False),
        (supply("BAT0", type="Battery", capacity=120, status="Unknown"), -1, False),
        (supply("mouse", type="Battery", scope="Device", capacity=5, status="Discharging"), -1, False),
        (supply("AC", type="Mains", online=1), -1, True),
        (supply("usb", type="USB", online=0), -1, False),
    ],
)
def test_battery(tmp_path: Path, files: dict[str, object], battery_permille: int, charging: bool) -> None:
    signals = LinuxSource(plant(tmp_path, files)).read()
    assert (signals.battery_permille, signals.charging) == (battery_permille, charging)


@pytest.mark.parametrize(("profile", "saving"), [("low-power", True), ("balanced", False)])
def test_low_power(tmp_path: Path, profile: str, saving: bool) -> None:
    plant(tmp_path, {"firmware/acpi/platform_profile": profile})
    assert LinuxSource(tmp_path).read().low_power is saving


def answers(text: str) -> object:
    return lambda query: text if query == "get_throttled" else ""


@pytest.mark.parametrize(
    ("throttled", "celsius", "level"),
    [("0x0", 50, 0), ("0x0", 66, 1), ("0x8", 66, 2), ("0x4", 50, 3), ("0x2", 50, 3), ("0x50005", 50, 3),
     ("0x50000", 50, 0), ("0x1", 50, 0), ("0x0", 85, 4), ("nonsense", 76, 2)],
)  # fmt: skip
def test_raspberry_pi(tmp_path: Path, throttled: str, celsius: int, level: int) -> None:
    plant(tmp_path, zone(0, "cpu-thermal", celsius * 1000, critical=110_000))
    source = RaspberryPiSource(tmp_path, answers(f"throttled={throttled}\n"))  # type: ignore[arg-type]
    assert source.read().status == level


@pytest.mark.parametrize("error", [FileNotFoundError(), subprocess.TimeoutExpired("vcgencmd", 2)])
def test_a_pi_without_its_tool_still_knows_its_temperature(tmp_path: Path, error: Exception) -> None:
    def fails(query: str) -> str:
        raise error

    plant(tmp_path, zone(0, "cpu-thermal", 81_000))
    assert RaspberryPiSource(tmp_path, fails).read().status == 3
    assert RaspberryPiSource(tmp_path / "nowhere", fails).read() == Signals()


def test_manual_and_the_reading_made_of_it() -> None:
    source = ManualSource()
    source.signals = Signals(
        status=2, headroom_milli=900, forecast_milli=950, battery_permille=400, charging=True, low_power=True
    )
    reading = Reading.of(
        source.read(),
        now_us=5,
        deadline_us=6,
        observed_us=7,
        observed_rung=1,
        power_mw=8,
        inferences_per_ks=9,
        user_cap=2,
        user_min=1,
    )
    assert reading == Reading(
        now_us=5, deadline_us=6, observed_us=7, observed_rung=1, status=2, headroom_milli=900, forecast_milli=950,
        battery_permille=400, charging=True, low_power=True, power_mw=8, inferences_per_ks=9, user_cap=2, user_min=1,
    )  # fmt: skip


HOUR_US = 3_600_000_000


def test_power_budget_until_evening() -> None:
    budget = PowerBudget(capacity_mwh=15_000, until_us=4 * HOUR_US, base_mw=800)
    assert budget.update(0, -1) == UNKNOWN
    assert budget.update(0, 400) == 15_000 * 400 // 1000 // 4 - 800  # 6 Wh over 4 h, less the base load
    assert budget.update(14_999_999, 300) == 700  # reviewed every 15 s
    assert budget.update(15_000_000, 300) == 326  # lower at once
    assert budget.update(30_000_000, 303) == 326  # 338 would be 4 % more: not yet
    assert budget.update(45_000_000, 310) == 366
    assert budget.update(60_000_000, 10) == 0
    assert budget.update(5 * HOUR_US, 10) == UNKNOWN


def test_power_budget_says_when_the_narrowest_is_too_much() -> None:
    ladder = Ladder(rungs=(Rung(artifact="t/0", t_us=6_000, energy_uj=9_000, worth=1, label="0.25x"),))
    budget = PowerBudget(capacity_mwh=10_000, until_us=HOUR_US, base_mw=0)
    assert budget.reachable(ladder, 30_000)
    budget.update(0, 27)  # 270 mW for an hour; 9 mJ 30 times a second are 270 mW
    assert budget.reachable(ladder, 30_000)
    assert not budget.reachable(ladder, 30_001)
