"""The passport of the machine that measures: what it is, how hot, how charged, how fast, how much energy.

Everything is read from files below one root (``/``), so a folder tree can stand in for a board in tests:

    sys/class/dmi, proc/device-tree, proc/cpuinfo, etc/os-release   ─► device(), operating_system()
    sys/class/thermal, sys/class/power_supply (sysfs.py)            ─► heat(), battery()
    sys/devices/system/cpu/cpu*/cpufreq                             ─► clock_khz()
    sys/class/powercap/*, power_supply/*                            ─► EnergyMeter

A value the machine does not tell is None, never a guess.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path

from edgeslim.core.latency import EnergyMethod
from edgeslim.core.passport import DeviceInfo, OsInfo
from edgeslim.host.sysfs import Battery, Heat, LinuxSource, number, text

ROOT = Path("/")


def device(root: Path = ROOT) -> DeviceInfo:
    """Who made it, what it is called, which processor; the same on every call on one machine."""
    dmi = root / "sys/class/dmi/id"
    board = text(root / "proc/device-tree/model") or text(dmi / "product_name") or _mac_model()
    return DeviceInfo(
        manufacturer=text(dmi / "sys_vendor"),
        model=board or platform.machine() or "unknown",
        soc=_processor(root),
        cores=os.cpu_count() or 1,
        ram_bytes=_ram_bytes(root),
        cpu_max_khz=tuple(
            int(khz)
            for path in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/cpuinfo_max_freq"))
            if (khz := number(path))
        ),
    )


def _processor(root: Path) -> str | None:
    compatible = text(root / "proc/device-tree/compatible")
    if compatible:
        return compatible.split("\0")[-1]
    for line in (text(root / "proc/cpuinfo") or "").splitlines():
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
    for line in (text(root / "proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def memory_available_bytes(root: Path = ROOT) -> int | None:
    """What new processes may take without swapping."""
    for line in (text(root / "proc/meminfo") or "").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def operating_system(root: Path = ROOT) -> OsInfo:
    release = dict(
        line.split("=", 1) for line in (text(root / "etc/os-release") or "").splitlines() if line.count("=") == 1
    )
    name = release.get("ID", platform.system()).strip('"')
    version = release.get("VERSION_ID", platform.mac_ver()[0] or platform.release()).strip('"')
    return OsInfo(name=name, version=version, build=platform.release() or None)


def boot_id(root: Path = ROOT) -> str:
    """The same until the machine is started anew; empty where it does not say."""
    said = text(root / "proc/sys/kernel/random/boot_id")
    if said is None and platform.system() == "Darwin":
        done = subprocess.run(["sysctl", "-n", "kern.boottime"], capture_output=True, text=True, check=False)
        said = done.stdout.strip()
    return said or ""


def source(root: Path = ROOT) -> LinuxSource:
    """Heat and battery of this machine, or of a tree that stands for one."""
    return LinuxSource.here() if root == ROOT else LinuxSource(root / "sys")


def heat(root: Path = ROOT) -> Heat:
    return source(root).heat()


def battery(root: Path = ROOT) -> Battery:
    return source(root).battery()


def clock_khz(root: Path = ROOT) -> int | None:
    """The fastest core's clock now."""
    paths = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    return max((int(khz) for path in paths if (khz := number(path))), default=None)


class EnergyMeter:
    """Energy of the whole machine between two moments, where it can tell.

    RAPL packages first (counters in µJ that wrap around), else a discharging battery's power at both moments times
    the time between. The whole machine, not the inference alone: it includes what the machine draws at rest.
    """

    def __init__(self, root: Path = ROOT) -> None:
        zones = sorted((root / "sys/class/powercap").glob("*"))
        # since CVE-2020-8694 only root may read energies
        self._rapl = [
            z for z in zones if (text(z / "name") or "").startswith("package") and number(z / "energy_uj") is not None
        ]
        self._source = LinuxSource(root / "sys")
        by_battery = not self._rapl and self._source.discharging_uw() is not None
        self.method: EnergyMethod = "rapl" if self._rapl else "power_supply" if by_battery else "none"

    def read(self) -> tuple[float, ...]:
        """Counters now; give two of them to ``between_uj``."""
        if self._rapl:
            return tuple(number(zone / "energy_uj") or 0.0 for zone in self._rapl)
        if self.method == "power_supply":
            return (time.perf_counter(), self._source.discharging_uw() or 0.0)
        return ()

    def between_uj(self, earlier: tuple[float, ...], later: tuple[float, ...]) -> float | None:
        if self._rapl:
            total = 0.0
            for zone, start, end in zip(self._rapl, earlier, later, strict=True):
                wrap = number(zone / "max_energy_range_uj") or 0
                total += end - start if end >= start else end - start + wrap
            return total
        if self.method == "power_supply":
            return (later[0] - earlier[0]) * (earlier[1] + later[1]) / 2
        return None
