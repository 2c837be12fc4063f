"""The device model against numbers a reader can redo, and against what real phones were seen to do."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from edgeslim.errors import UsageError
from edgeslim.simulation.device import NOMINAL_V, OCV_V, Device, DeviceModel
from edgeslim.simulation.scenario import SCENARIOS, scenario, trace

ROOM = SCENARIOS["room"]
DT = 1 / 30


def run(device: Device, seconds: float, inference_w: float) -> None:
    for _ in range(round(seconds / DT)):
        device.advance(DT, inference_w * DT * 1000)


def test_starts_in_equilibrium_with_the_base_load() -> None:
    device = Device(DeviceModel(), ROOM)
    assert device.temperature_c == 25 + 6 * 1.5
    run(device, 60, 0)
    assert device.temperature_c == pytest.approx(34, abs=1e-6)
    assert device.clock == 1
    assert (device.status, device.headroom_milli, device.forecast_milli) == (0, 633, 633)


def test_a_step_of_power_follows_two_time_constants() -> None:
    device = Device(DeviceModel(), ROOM)
    run(device, 100, 0.5)  # stays below 39 °C: no throttling
    expected = 34 + 6 * 0.5 * (0.5 * (1 - math.exp(-100 / 25)) + 0.5 * (1 - math.exp(-100 / 460)))
    assert device.temperature_c == pytest.approx(expected, abs=0.01)


def test_the_governor_takes_small_steps_down_to_a_floor() -> None:
    device = Device(DeviceModel(), ROOM)
    clocks = []
    for _ in range(300):
        run(device, 1, 20)
        clocks.append(device.clock)
    assert clocks[-1] == pytest.approx(0.45)
    assert max(abs(a - b) for a, b in pairwise(clocks)) <= 0.08 + 1e-12


def test_throttling_like_published_phones() -> None:
    """Unlimited inference at 25 °C: an iPhone X fell from 23 to 13 frames per second in 2 minutes (0.57), another phone
    from 20 to 9 in 10 minutes (0.45)."""
    device = Device(DeviceModel(), ROOM)
    run(device, 120, 4.5)
    assert 0.5 < device.clock < 0.7
    run(device, 480, 4.5)
    assert 0.45 <= device.clock < 0.6


def test_status_rises_at_its_limits_and_falls_below_the_hysteresis() -> None:
    limits = (39, 43, 45, 46.5)
    device = Device(DeviceModel(), ROOM)
    for _ in range(1200):
        before = device.status
        run(device, 0.5, 12)
        if device.status > before:
            assert limits[before] <= device.temperature_c < limits[before] + 1
    assert device.status == 4
    for _ in range(1200):
        before = device.status
        run(device, 0.5, 0)
        if device.status < before:
            assert limits[device.status] - 2.4 < device.temperature_c < limits[device.status] - 1.9
    assert device.status == 0


def test_the_forecast_continues_the_last_half_minute() -> None:
    device = Device(DeviceModel(), ROOM)
    run(device, 10, 2)
    assert device.forecast_milli == device.headroom_milli  # no history yet
    run(device, 35, 2)
    assert device.forecast_milli > device.headroom_milli + 20


def test_the_battery_gives_its_energy_and_no_more() -> None:
    small = replace(ROOM, charge=1.0, capacity_wh=0.1)
    device = Device(DeviceModel(), small)
    seconds = 0.0
    while device.charge > 0:
        run(device, 1, 0)
        seconds += 1
    charge_wh = sum((a + b) / 2 for a, b in pairwise(OCV_V)) / 10 / NOMINAL_V * 0.1
    assert seconds == pytest.approx(charge_wh / 1.5 * 3600, rel=0.01)
    assert device.battery_permille == 0


def test_a_charger_fills_and_warms() -> None:
    place = SCENARIOS["charging_in_the_sun"]
    device = Device(DeviceModel(), place)
    assert device.temperature_c > Device(DeviceModel(), replace(place, charging_w=0.0)).temperature_c + 3
    run(device, 600, 0)
    assert device.charge > place.charge


def test_coarse_gauge() -> None:
    assert Device(DeviceModel(), replace(ROOM, charge=0.876, battery_step_permille=50)).battery_permille == 850


def test_noise_is_what_it_says() -> None:
    luck = trace(ROOM, 200_000, 3)
    logs = sorted(math.log(x) for x in luck.noise)
    assert logs[100_000] == pytest.approx(0, abs=0.001)
    assert logs[168_268] - logs[100_000] == pytest.approx(0.05, rel=0.05)
    assert sum(x > 1.4 for x in luck.noise) / 200_000 == pytest.approx(0.004, rel=0.15)
    assert sum(x > 1 for x in luck.burst) / 200_000 == pytest.approx(4 / 29, rel=0.2)
    assert set(luck.burst) == {1.0, 1.45}


def test_scenarios_by_name() -> None:
    assert all(scenario(name).name == name for name in SCENARIOS)
    with pytest.raises(UsageError):
        scenario("oven")
    assert scenario("video_call").deadline_us == 28_333
    assert scenario("room").at(fps=60).deadline_us == 16_666
    with pytest.raises(UsageError):
        scenario("video_call").at(fps=250)
