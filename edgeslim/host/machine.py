"""The passport of the machine that measures: what it is, how hot, how charged, how fast, how much energy.

Everything is read from files below one root (``/``), so a folder tree can stand in for a board in tests:

    sys/class/dmi, proc/device-tree, proc/cpuinfo, etc/os-release   ─► device(), operating_system()
    sys/class/thermal/thermal_zone*/{temp,trip_point_*}             ─► heat()      level 0..4, °C
    sys/class/power_supply/*/{type,capacity,status}                 ─► battery()
    sys/devices/system/cpu/cpu*/cpufreq                             ─► clock_khz()
    sys/class/powercap/*, power_supply/*                            ─► EnergyMeter

A value the machine does not tell is None, never a guess.
"""

from __future__ import annotations

import math
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeslim.core.latency import EnergyMethod
from edgeslim.core.passport import DeviceInfo, OsInfo
from edgeslim.host.sysfs import LinuxSource, RaspberryPiSource

ROOT = Path("/")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip("\0 \n\t") or None
    except OSError:
        return None


def _number(path: Path) -> int | None:
    try:
        return int(_text(path) or "")
    except ValueError:
        return None


def device(root: Path = ROOT) -> DeviceInfo:
    """Who made it, what it is called, which processor; the same on every call on one machine."""
    dmi = root / "sys/class/dmi/id"
    board = _text(root / "proc/device-tree/model") or _text(dmi / "product_name") or _mac_model()
    return DeviceInfo(
        manufacturer=_text(dmi / "sys_vendor"),
        model=board or platform.machine() or "unknown",
        soc=_processor(root),
        cores=os.cpu_count() or 1,
        ram_bytes=_ram_bytes(root),
        cpu_max_khz=tuple(
            khz
            for path in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/cpuinfo_max_freq"))
            if (khz := _number(path))
        ),
    )


def _processor(root: Path) -> str | None:
    compatible = _text(root / "proc/device-tree/compatible")
    if compatible:
        return compatible.split("\0")[-1]
    for line in (_text(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Hardware") and value.strip():
            return value.strip()
    return platform.processor() or None


def _mac_model() -> str | None:
    if platform.system() != "Darwin":
        return None
    done = subprocess.run(["sysctl", "-n", "hw.model"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def _ram_bytes(root: Path) -> int | None:
    for line in (_text(root / "proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def memory_available_bytes(root: Path = ROOT) -> int | None:
    """What new processes may take without swapping."""
    for line in (_text(root / "proc/meminfo") or "").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def operating_system(root: Path = ROOT) -> OsInfo:
    release = dict(
        line.split("=", 1) for line in (_text(root / "etc/os-release") or "").splitlines() if line.count("=") == 1
    )
    name = release.get("ID", platform.system()).strip('"')
    version = release.get("VERSION_ID", platform.mac_ver()[0] or platform.release()).strip('"')
    return OsInfo(name=name, version=version, build=platform.release() or None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """The controller's thermal level 0..4, and the hottest zone in °C; None = the machine is silent."""

    level: int | None = None
    zone_c: float | None = None


def heat(root: Path = ROOT) -> Heat:
    """As the controller's adapters read it (``core/linux_sysfs.py``), a Raspberry Pi's throttle bits included."""
    linux = LinuxSource(root / "sys")
    source = RaspberryPiSource(root / "sys") if root == ROOT and shutil.which("vcgencmd") else linux
    status, zone_c = source.read().status, linux.temperature_c()
    return Heat(level=None if status < 0 else status, zone_c=None if math.isnan(zone_c) else zone_c)


@dataclass(frozen=True, slots=True, kw_only=True)
class Battery:
    """Charge in permille, whether it is being charged, whether the system saves power; None = no battery, unknown."""

    permille: int | None = None
    charging: bool | None = None
    low_power: bool | None = None


def battery(root: Path = ROOT) -> Battery:
    profile = _text(root / "sys/firmware/acpi/platform_profile")
    low_power = None if profile is None else profile in ("low-power", "quiet")
    for supply in _batteries(root):
        capacity = _number(supply / "capacity")
        status = _text(supply / "status")
        return Battery(
            permille=None if capacity is None else max(0, min(1000, capacity * 10)),
            charging=None if status is None else status == "Charging",
            low_power=low_power,
        )
    return Battery(low_power=low_power)


def _batteries(root: Path) -> Iterator[Path]:
    for supply in sorted((root / "sys/class/power_supply").glob("*")):
        # batteries of mice and keyboards say scope Device
        if _text(supply / "type") == "Battery" and _text(supply / "scope") != "Device":
            yield supply


def clock_khz(root: Path = ROOT) -> int | None:
    """The fastest core's clock now."""
    paths = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    return max((khz for path in paths if (khz := _number(path))), default=None)


class EnergyMeter:
    """Energy of the whole machine between two moments, where it can tell.

    RAPL packages first (counters in µJ that wrap around), else a discharging battery's power at both moments times
    the time between. The whole machine, not the inference alone: it includes what the machine draws at rest.
    """

    def __init__(self, root: Path = ROOT) -> None:
        zones = sorted((root / "sys/class/powercap").glob("*"))
        self._rapl = [
            z for z in zones if (_text(z / "name") or "").startswith("package") and _can_read(z / "energy_uj")
        ]
        self._supplies = [] if self._rapl else [s for s in _batteries(root) if _power_uw(s) is not None]
        self.method: EnergyMethod = "rapl" if self._rapl else "power_supply" if self._supplies else "none"

    def read(self) -> tuple[float, ...]:
        """Counters now; give two of them to ``between_uj``."""
        if self._rapl:
            return tuple(float(_number(zone / "energy_uj") or 0) for zone in self._rapl)
        if self._supplies:
            return (time.perf_counter(), sum(_power_uw(supply) or 0.0 for supply in self._supplies))
        return ()

    def between_uj(self, earlier: tuple[float, ...], later: tuple[float, ...]) -> float | None:
        if self._rapl:
            total = 0.0
            for zone, start, end in zip(self._rapl, earlier, later, strict=True):
                wrap = _number(zone / "max_energy_range_uj") or 0
                total += end - start if end >= start else end - start + wrap
            return total
        if self._supplies:
            return (later[0] - earlier[0]) * (earlier[1] + later[1]) / 2
        return None


def _can_read(path: Path) -> bool:
    return _number(path) is not None  # since CVE-2020-8694 only root may


def _power_uw(supply: Path) -> float | None:
    """What the battery gives now, µW; None while it is being charged."""
    if _text(supply / "status") != "Discharging":
        return None
    power = _number(supply / "power_now")
    if power is not None:
        return float(abs(power))
    current, voltage = _number(supply / "current_now"), _number(supply / "voltage_now")
    return None if current is None or voltage is None else abs(current) * voltage / 1e6
