"""Heat and battery of a Linux machine, read in one place: what sessions react to and what tables note is the same.

    class/thermal/thermal_zone*/{type,temp,trip_point_*_type,trip_point_*_temp}   ┐
    class/thermal/cooling_device*/{type,cur_state}                                 ├─► heat()    ┐
    vcgencmd get_throttled (a Raspberry Pi's firmware)                             ┘             ├─► read(): Signals
    class/power_supply/*/{type,scope,capacity,status,online}                       ┐             │
    firmware/acpi/platform_profile                                                 ┴─► battery() ┘

Paths are below ``/sys``, or a folder with the same tree. Every file may be missing: what is not told is None, and
unknown in ``Signals``. Linux has no headroom and no forecast.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeslim.core.signals import (
    MODERATE_BELOW_TRIP_C,
    SEVERE,
    UNKNOWN,
    Signals,
    level_below_trip,
    pi_level,
)
from edgeslim.files import read_file

_MOST_BYTES = 1 << 16  # of one attribute; the kernel gives a page
SYS = Path("/sys")

# Zones that say nothing about what inference may draw.
_OTHER_ZONES = re.compile(r"batt|bms|charg|chg|usb|wifi|wlan|iwl|modem|nvme|ssd", re.IGNORECASE)
# A fan's or a charger's state is above 0 too; these three slow the processor.
_THROTTLES = re.compile(r"processor|(thermal-)?cpufreq.*|(thermal-)?devfreq.*", re.IGNORECASE)
_PLUGGED = {"Charging", "Full", "Not charging"}  # "Not charging": on the charger, which holds back
# power-profiles-daemon's power saver is "low-power", or "quiet" where the firmware has no such profile.
_SAVING_PROFILES = {"low-power", "quiet"}
_LOWEST_TRIP_C, _HIGHEST_C = 1.0, 200.0  # firmware fills unused trips with 0, -274 or huge values
_PASSIVE_BELOW_CRITICAL_C = 10.0
_TOOL = "vcgencmd"
_TOOL_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """The controller's thermal level 0..4, and the hottest zone in °C; None = the machine is silent."""

    level: int | None = None
    zone_c: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Battery:
    """None = no battery, or it does not say.

    ``plugged``: power comes from outside, so inference drains nothing. ``charging``: current flows into the battery,
    which warms the device; a full battery on its charger is plugged and not charging.
    """

    permille: int | None = None
    plugged: bool | None = None
    charging: bool | None = None
    low_power: bool | None = None


class LinuxSource:
    """Reads ``root`` each time it is asked.

    Args:
        root: sysfs.
        vcgencmd: on a Raspberry Pi: answers ``get_throttled`` with the tool's output, or raises OSError.
    """

    def __init__(self, root: Path = SYS, vcgencmd: Callable[[str], str] | None = None) -> None:
        self._root = root
        self._vcgencmd = vcgencmd

    @classmethod
    def here(cls) -> LinuxSource:
        """This machine, with its firmware's tool where there is one."""
        return cls(vcgencmd=_run_vcgencmd if shutil.which(_TOOL) else None)

    def read(self) -> Signals:
        """For the controller, to which "charging" means that inference drains no battery."""
        level, battery = self.heat().level, self.battery()
        return Signals(
            status=UNKNOWN if level is None else level,
            battery_permille=UNKNOWN if battery.permille is None else battery.permille,
            charging=bool(battery.plugged),
            low_power=bool(battery.low_power),
        )

    def heat(self) -> Heat:
        zones = list(self._zones())
        zone_c = max((celsius for _, celsius in zones), default=math.nan)
        levels = [_zone_level(zone, celsius) for zone, celsius in zones]
        for device in _sorted(self._root / "class/thermal", "cooling_device*"):
            if _THROTTLES.fullmatch(text(device / "type") or "") and (number(device / "cur_state") or 0) > 0:
                levels.append(SEVERE)
        if self._vcgencmd is not None:
            levels.append(pi_level(self._throttled(self._vcgencmd), zone_c))
        level = max(levels, default=UNKNOWN)
        return Heat(level=None if level < 0 else level, zone_c=None if math.isnan(zone_c) else zone_c)

    def battery(self) -> Battery:
        """The system's first battery (not a mouse's), and whether power comes from outside."""
        permille: int | None = None
        plugged: list[bool] = []
        charging: list[bool] = []
        for supply in _sorted(self._root / "class/power_supply", "*"):
            if text(supply / "scope") == "Device":
                continue
            if text(supply / "type") == "Battery":
                percent = number(supply / "capacity")
                if permille is None and percent is not None and 0 <= percent <= 100:
                    permille = int(percent * 10)
                status = text(supply / "status")
                if status is not None and status != "Unknown":
                    plugged.append(status in _PLUGGED)
                    charging.append(status == "Charging")
            elif (online := number(supply / "online")) is not None:
                plugged.append(online >= 1)
        profile = text(self._root / "firmware/acpi/platform_profile")
        return Battery(
            permille=permille,
            plugged=any(plugged) if plugged else None,
            charging=any(charging) if charging else None,
            low_power=None if profile is None else profile in _SAVING_PROFILES,
        )

    def discharging_uw(self) -> float | None:
        """What the batteries give now, in µW; None while none of them tells or discharges."""
        powers = [_power_uw(s) for s in _sorted(self._root / "class/power_supply", "*") if _is_system_battery(s)]
        known = [power for power in powers if power is not None]
        return sum(known) if known else None

    def _zones(self) -> Iterator[tuple[Path, float]]:
        for zone in _sorted(self._root / "class/thermal", "thermal_zone*"):
            milli_c = number(zone / "temp")
            if milli_c is None or _OTHER_ZONES.search(text(zone / "type") or ""):
                continue
            if -40 <= milli_c / 1000 <= _HIGHEST_C:
                yield zone, milli_c / 1000

    @staticmethod
    def _throttled(vcgencmd: Callable[[str], str]) -> int:
        try:
            answer = vcgencmd("get_throttled")
        except (OSError, subprocess.SubprocessError):
            return UNKNOWN
        match = re.search(r"throttled=0x([0-9a-fA-F]{1,8})\b", answer)
        return int(match[1], 16) if match else UNKNOWN


def text(path: Path) -> str | None:
    """What a file of sysfs or procfs says; None where there is none, or nothing in it."""
    try:
        return read_file(path, most_bytes=_MOST_BYTES).decode(errors="replace").strip("\0 \n\t") or None
    except OSError:
        return None


def number(path: Path) -> float | None:
    """The number that a file holds; None where there is none."""
    try:
        found = float(text(path) or "")
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _run_vcgencmd(query: str) -> str:
    done = subprocess.run([_TOOL, query], capture_output=True, text=True, timeout=_TOOL_TIMEOUT_S, check=True)
    return done.stdout


def _zone_level(zone: Path, celsius: float) -> int:
    trips: dict[str, list[float]] = {}
    for file in zone.glob("trip_point_*_type"):
        milli_c = number(file.with_name(file.name.replace("_type", "_temp")))
        if milli_c is not None and _LOWEST_TRIP_C <= milli_c / 1000 <= _HIGHEST_C:
            trips.setdefault(text(file) or "", []).append(milli_c / 1000)
    ends = trips.get("hot", []) + trips.get("critical", [])
    passive = trips.get("passive", [])
    if not passive and not ends:
        return UNKNOWN
    last = min(ends, default=math.inf)
    trip = min(passive) if passive else last - _PASSIVE_BELOW_CRITICAL_C
    return level_below_trip(celsius, trip, last - MODERATE_BELOW_TRIP_C)


def _is_system_battery(supply: Path) -> bool:
    return text(supply / "type") == "Battery" and text(supply / "scope") != "Device"


def _power_uw(supply: Path) -> float | None:
    if text(supply / "status") != "Discharging":
        return None
    power = number(supply / "power_now")
    if power is not None:
        return abs(power)
    current, voltage = number(supply / "current_now"), number(supply / "voltage_now")
    return None if current is None or voltage is None else abs(current) * voltage / 1e6


def _sorted(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []
