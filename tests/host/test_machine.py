"""The passport, read from folder trees that stand for boards."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeslim.host import machine
from edgeslim.host.load import Counters, Load
from edgeslim.host.machine import EnergyMeter
from edgeslim.host.sampling import baseline_ns, timed_runs
from edgeslim.host.sysfs import Battery, Heat


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def zone(index: int, kind: str, celsius: float, **trips: float) -> dict[str, str]:
    base = f"sys/class/thermal/thermal_zone{index}"
    files = {f"{base}/type": kind, f"{base}/temp": str(int(celsius * 1000))}
    for number, (name, limit) in enumerate(trips.items()):
        files[f"{base}/trip_point_{number}_type"] = name
        files[f"{base}/trip_point_{number}_temp"] = str(int(limit * 1000))
    return files


def test_this_machine_has_a_passport() -> None:
    first, second = machine.device(), machine.device()
    assert first == second
    assert first.cores >= 1
    assert first.model
    assert first.ram_bytes is None or first.ram_bytes > 1 << 28
    assert machine.operating_system().name


def test_a_board_is_read_from_its_device_tree(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
            "proc/device-tree/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0",
            "proc/meminfo": "MemTotal:        8245600 kB\nMemFree: 1 kB\nMemAvailable:    7000000 kB\n",
            "etc/os-release": 'PRETTY_NAME="Debian"\nID=debian\nVERSION_ID="12"\n',
            **{f"sys/devices/system/cpu/cpu{i}/cpufreq/cpuinfo_max_freq": "2400000\n" for i in range(4)},
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
            "sys/devices/system/cpu/cpu3/cpufreq/scaling_cur_freq": "2400000\n",
        },
    )
    info = machine.device(root)
    assert info.model == "Raspberry Pi 5 Model B Rev 1.0"
    assert info.soc == "brcm,bcm2712"
    assert info.ram_bytes == 8245600 * 1024
    assert info.cpu_max_khz == (2400000,) * 4
    assert machine.memory_available_bytes(root) == 7000000 * 1024
    assert machine.clock_khz(root) == 2400000
    assert (machine.operating_system(root).name, machine.operating_system(root).version) == ("debian", "12")


def test_a_silent_machine_says_nothing(tmp_path: Path) -> None:
    assert machine.heat(tmp_path) == Heat()
    assert machine.battery(tmp_path) == Battery()
    assert machine.clock_khz(tmp_path) is None
    meter = EnergyMeter(tmp_path)
    assert meter.method == "none"
    assert meter.between_uj(meter.read(), meter.read()) is None


@pytest.mark.parametrize(("celsius", "level"), [(64.9, 0), (65.0, 1), (75.0, 2), (80.0, 3), (95.0, 4)])
def test_heat_is_the_controllers_level(tmp_path: Path, celsius: float, level: int) -> None:
    root = tree(tmp_path, zone(0, "cpu-thermal", celsius, passive=80, critical=100))
    heat = machine.heat(root)
    assert heat.level == level
    assert heat.zone_c == celsius


def test_zones_without_limits_only_tell_degrees(tmp_path: Path) -> None:
    heat = machine.heat(tree(tmp_path, zone(0, "cpu-thermal", 55.0)))
    assert (heat.level, heat.zone_c) == (None, 55.0)


def test_the_battery(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "sys/class/power_supply/AC/type": "Mains",
            "sys/class/power_supply/AC/online": "1",
            "sys/class/power_supply/BAT0/type": "Battery",
            "sys/class/power_supply/BAT0/capacity": "83",
            "sys/class/power_supply/BAT0/status": "Charging",
            "sys/class/power_supply/mouse/type": "Battery",
            "sys/class/power_supply/mouse/scope": "Device",
            "sys/class/power_supply/mouse/capacity": "5",
            "sys/firmware/acpi/platform_profile": "low-power",
        },
    )
    assert machine.battery(root) == Battery(permille=830, plugged=True, charging=True, low_power=True)
    tree(root, {"sys/class/power_supply/BAT0/status": "Full", "sys/firmware/acpi/platform_profile": "balanced"})
    assert machine.battery(root) == Battery(permille=830, plugged=True, charging=False, low_power=False)


def rapl(root: Path, *energies_uj: int) -> Path:
    for index, energy in enumerate(energies_uj):
        base = f"sys/class/powercap/intel-rapl:{index}"
        tree(
            root,
            {
                f"{base}/name": f"package-{index}",
                f"{base}/energy_uj": str(energy),
                f"{base}/max_energy_range_uj": "1000",
            },
        )
    tree(root, {"sys/class/powercap/intel-rapl:0:0/name": "core", "sys/class/powercap/intel-rapl:0:0/energy_uj": "5"})
    return root


def test_rapl_packages_are_summed_and_wrap(tmp_path: Path) -> None:
    meter = EnergyMeter(rapl(tmp_path, 900, 100))
    before = meter.read()
    rapl(tmp_path, 50, 160)
    assert meter.method == "rapl"
    assert meter.between_uj(before, meter.read()) == pytest.approx((50 + 1000 - 900) + 60)


def test_a_discharging_battery_is_a_meter_and_a_charging_one_is_none(tmp_path: Path) -> None:
    base = "sys/class/power_supply/BAT0"
    files = {"type": "Battery", "status": "Discharging", "current_now": "-500000", "voltage_now": "4000000"}
    root = tree(tmp_path, {f"{base}/{name}": text for name, text in files.items()})
    meter = EnergyMeter(root)
    assert meter.method == "power_supply"
    assert meter.between_uj((10.0, 2e6), (10.5, 2e6)) == pytest.approx(1e6)  # 2 W for half a second
    assert meter.read()[1] == pytest.approx(2e6)
    tree(root, {f"{base}/status": "Charging"})
    assert EnergyMeter(root).method == "none"


def test_counters_become_shares() -> None:
    block = Load(wall_s=1.0, cores=2, own_cpu_s=0.9, busy_s=1.5, steal_s=0.1, waited_s=0.05, preemptions=3)
    span = Load.total([block, block])
    assert span.others_share == pytest.approx(0.3)  # (1.5 - 0.9) of 2 core-seconds
    assert span.steal_share == pytest.approx(0.05)
    assert span.waited_share == pytest.approx(0.05 / 0.95, abs=1e-5)  # 0.9 s had, 0.05 s waited for
    assert span.preemptions == 6
    silent = Load(wall_s=1.0, cores=2, own_cpu_s=0.9, busy_s=None, steal_s=None, waited_s=None, preemptions=0)
    assert Load.total([block, silent]).others_share is None


def test_counters_of_a_busy_block() -> None:
    before = Counters.read()
    timed_runs(lambda: sum(range(200_000)), 20)
    load = Counters.read() - before
    assert 0 < load.own_cpu_s <= load.wall_s * 1.5
    assert load.waited_s is None or load.waited_s >= 0


def test_counters_of_a_fake_proc(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {"stat": "cpu  100 10 50 1000 20 0 5 30 0 0\ncpu0 1 1 1\n", "self/task/1/schedstat": "5000 700 3\n",
         "self/task/2/schedstat": "9000 300 1\n"},
    )  # fmt: skip
    counters = Counters.read(root)
    assert counters.busy_s == pytest.approx(1.65)  # user, nice, system, softirq at 100 ticks per second
    assert counters.steal_s == pytest.approx(0.30)
    assert counters.waited_ns == 1000
    assert Counters.read(tmp_path / "self").waited_ns is None


def test_the_loop_keeps_order_and_count() -> None:
    seen: list[int] = []
    samples = timed_runs(lambda: seen.append(len(seen)), 100)
    assert seen == list(range(100))
    assert len(samples) == 100
    assert all(sample > 0 for sample in samples)
    assert baseline_ns() > 10_000
