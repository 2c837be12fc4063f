"""Device signals as values, and the power budget."""

from __future__ import annotations

from edgeslim.core.ladder import Ladder, Rung
from edgeslim.core.power_budget import PowerBudget
from edgeslim.core.reading import Reading
from edgeslim.core.signals import UNKNOWN, ManualSource, Signals


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
