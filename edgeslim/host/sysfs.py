"""Heat and battery of a Linux board from sysfs, and of a Raspberry Pi with its firmware's tool.

    <root>/class/thermal/thermal_zone*/{type,temp,trip_point_*_type,trip_point_*_temp}   ─► status
    <root>/class/thermal/cooling_device*/{type,cur_state}                                 ─► status (throttled now)
    <root>/class/power_supply/*/{type,scope,capacity,status,online}                       ─► battery_permille, charging
    <root>/firmware/acpi/platform_profile                                                 ─► low_power

``root`` is ``/sys``, or a folder with the same tree. Linux has no headroom and no forecast: both stay unknown.
"""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from edgeslim.core.signals import (
    MODERATE_BELOW_TRIP_C,
    SEVERE,
    UNKNOWN,
    Signals,
    level_below_trip,
    pi_level,
)

# Zones that say nothing about what inference may draw.
_OTHER_ZONES = re.compile(r"batt|bms|charg|chg|usb|wifi|wlan|iwl|modem|nvme|ssd", re.IGNORECASE)
# A fan's or a charger's state is above 0 too; these three slow the processor.
_THROTTLES = re.compile(r"processor|(thermal-)?cpufreq.*|(thermal-)?devfreq.*", re.IGNORECASE)
_CHARGING = {"Charging", "Full", "Not charging"}  # "Not charging": on the charger, which holds back
_LOWEST_TRIP_C, _HIGHEST_C = 1.0, 200.0  # firmware fills unused trips with 0, -274 or huge values
_PASSIVE_BELOW_CRITICAL_C = 10.0
_TOOL_TIMEOUT_S = 2.0


class LinuxSource:
    """Reads ``root`` each time it is asked; every file may be missing."""

    def __init__(self, root: Path = Path("/sys")) -> None:
        self._root = root

    def read(self) -> Signals:
        battery_permille, charging = self._battery()
        profile = _text(self._root / "firmware/acpi/platform_profile")
        return Signals(
            status=self._level(), battery_permille=battery_permille, charging=charging, low_power=profile == "low-power"
        )

    def temperature_c(self) -> float:
        """The hottest zone in degrees Celsius; NaN if no zone tells."""
        return max((celsius for _, celsius in self._zones()), default=math.nan)

    def _level(self) -> int:
        levels = [_zone_level(zone, celsius) for zone, celsius in self._zones()]
        for device in _sorted(self._root / "class/thermal", "cooling_device*"):
            state = _number(device / "cur_state")
            if _THROTTLES.fullmatch(_text(device / "type")) and state > 0:
                levels.append(SEVERE)
        return max(levels, default=UNKNOWN)

    def _zones(self) -> Iterator[tuple[Path, float]]:
        for zone in _sorted(self._root / "class/thermal", "thermal_zone*"):
            celsius = _number(zone / "temp") / 1000
            if not _OTHER_ZONES.search(_text(zone / "type")) and -40 <= celsius <= _HIGHEST_C:
                yield zone, celsius

    def _battery(self) -> tuple[int, bool]:
        """The system's battery (not a mouse's), and whether power comes from outside."""
        battery_permille, charging = UNKNOWN, False
        for supply in _sorted(self._root / "class/power_supply", "*"):
            if _text(supply / "scope") == "Device":
                continue
            if _text(supply / "type") == "Battery":
                percent = _number(supply / "capacity")
                if battery_permille < 0 and 0 <= percent <= 100:
                    battery_permille = int(percent * 10)
                charging |= _text(supply / "status") in _CHARGING
            else:
                charging |= _number(supply / "online") >= 1
        return battery_permille, charging


class RaspberryPiSource:
    """A Pi: the firmware's throttle bits beside what Linux says.

    Args:
        root: sysfs.
        vcgencmd: answers ``get_throttled`` with the tool's output, or raises OSError where there is none.
    """

    def __init__(self, root: Path = Path("/sys"), vcgencmd: Callable[[str], str] | None = None) -> None:
        self._linux = LinuxSource(root)
        self._vcgencmd = vcgencmd or _run_vcgencmd

    def read(self) -> Signals:
        general = self._linux.read()
        level = pi_level(self._throttled(), self._linux.temperature_c())
        return Signals(
            status=max(level, general.status),
            battery_permille=general.battery_permille,
            charging=general.charging,
            low_power=general.low_power,
        )

    def _throttled(self) -> int:
        try:
            answer = self._vcgencmd("get_throttled")
        except (OSError, subprocess.SubprocessError):
            return UNKNOWN
        match = re.search(r"throttled=0x([0-9a-fA-F]{1,8})\b", answer)
        return int(match[1], 16) if match else UNKNOWN


def _run_vcgencmd(query: str) -> str:
    done = subprocess.run(["vcgencmd", query], capture_output=True, text=True, timeout=_TOOL_TIMEOUT_S, check=True)
    return done.stdout


def _zone_level(zone: Path, celsius: float) -> int:
    trips: dict[str, list[float]] = {}
    for file in zone.glob("trip_point_*_type"):
        limit = _number(file.with_name(file.name.replace("_type", "_temp"))) / 1000
        if _LOWEST_TRIP_C <= limit <= _HIGHEST_C:
            trips.setdefault(_text(file), []).append(limit)
    ends = trips.get("hot", []) + trips.get("critical", [])
    passive = trips.get("passive", [])
    if not passive and not ends:
        return UNKNOWN
    last = min(ends, default=math.inf)
    trip = min(passive) if passive else last - _PASSIVE_BELOW_CRITICAL_C
    return level_below_trip(celsius, trip, last - MODERATE_BELOW_TRIP_C)


def _sorted(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> float:
    try:
        return float(_text(path))
    except ValueError:
        return math.nan
