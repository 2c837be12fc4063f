"""Simulations: the same every time, fast, fair to every policy, and within the limits this project promises."""

from __future__ import annotations

import dataclasses
import time

import pytest

from edgeslim.core.ladder import Ladder, Rung
from edgeslim.core.policy import Policy
from edgeslim.errors import EdgeslimError, UsageError
from edgeslim.simulation import policies
from edgeslim.simulation.engine import Loader, Setting, simulate
from edgeslim.simulation.oracle import best_oracle
from edgeslim.simulation.scenario import SCENARIOS, Scenario
from edgeslim.simulation.simulation import Run, delivered_accuracy, miss_rate, summarise
from edgeslim.simulation.tables import BUILTIN, at_speed, percents


def setting(name: str, minutes: float = 2, **changes: object) -> Setting:
    return Setting(scenario=SCENARIOS[name], minutes=minutes, **changes)  # type: ignore[arg-type]


def run(policy: str, where: Setting, ladder: Ladder = BUILTIN) -> Run:
    return simulate(policies.chooser(policy, ladder), ladder, where)


@pytest.mark.parametrize("policy", ["balanced", "naive", "threshold", "indexer"])
def test_the_same_seed_is_the_same_run(policy: str) -> None:
    where = setting("room", seed=7)
    assert run(policy, where) == run(policy, where)
    assert run(policy, where) != run(policy, setting("room", seed=8))


def test_every_policy_meets_the_same_noise() -> None:
    where = setting("cool_desk", minutes=1)
    wide, narrow = run("widest", where), run("narrowest", where)
    ratios = {
        round(a / b, 2) for a, b, c, d in zip(wide.latency_us, narrow.latency_us, wide.clock, narrow.clock, strict=True)
        if c == d
    }  # fmt: skip
    assert ratios == {5.0}


def test_half_an_hour_takes_under_two_seconds() -> None:
    where = setting("room", minutes=30)
    before = time.process_time()
    found = run("balanced", where)
    assert time.process_time() - before < 2
    assert len(found.rung) == 54_000


def test_figures_by_hand() -> None:
    ladder = Ladder(
        rungs=(
            Rung(artifact="t/0", t_us=10_000, energy_uj=20_000, worth=600_000, label="0.5x"),
            Rung(artifact="t/1", t_us=20_000, energy_uj=40_000, worth=800_000, label="1.0x"),
        )
    )
    row = summarise(
        Run(
            policy="test",
            ladder=ladder,
            minutes=0.5,
            now_us=[0, 1, 2, 3, 4],
            deadline_us=[15_000] * 5,
            rung=[0, 1, -1, 0, 0],
            latency_us=[10_000, 20_000, 0, 15_000, 15_001],
            energy_mj=[20.0, 40.0, 0.0, 20.0, 20.0],
            charge=[1.0] * 5,
            temperature_c=[42.0, 43.0, 44.0, 45.0, 46.0],
            clock=[1.0, 1.0, 0.9, 0.9, 0.9],
        )
    )
    assert row.miss_rate == 0.5
    assert row.delivered_accuracy == (60 + 60) / 5
    assert row.mean_accuracy == (60 + 80 + 60 + 60) / 4
    assert row.energy_mj == 25
    assert row.switches_per_min == 4
    assert (row.throttled_share, row.share_43c, row.share_45c) == (0.6, 0.8, 0.4)
    assert row.p50_ms == pytest.approx(15.0005)
    assert row.score == 24 - 5 * 0.4
    assert row.regret is None


def test_loader_keeps_going_at_the_old_width() -> None:
    loader = Loader(300_000, prefetch=False)
    assert [loader.use(3, 0), loader.use(2, 10_000), loader.use(2, 309_999)] == [3, 3, 3]
    assert loader.use(2, 310_000) == 2
    assert loader.use(3, 320_000) == 3  # the other one is still in memory
    assert loader.use(1, 330_000) == 3
    assert loader.use(0, 340_000) == 3  # one at a time: 0 is loaded after 1
    assert loader.use(0, 630_000) == 3
    assert loader.use(0, 930_000) == 0


def test_prefetch_makes_narrowing_instant() -> None:
    loader = Loader(300_000, prefetch=True)
    assert [loader.use(3, 0), loader.use(3, 300_000), loader.use(2, 310_000)] == [3, 3, 2]


def test_load_times_delay_switches() -> None:
    fast, slow = run("threshold", setting("room")), run("threshold", setting("room", load_ms=300.0))
    assert fast.rung[:5] == slow.rung[:5]
    assert fast.rung != slow.rung


def test_skipped_frames_deliver_nothing_and_cost_nothing() -> None:
    hopeless = dataclasses.replace(SCENARIOS["room"], overhead_us=30_000)
    found = run("balanced", Setting(scenario=hopeless, minutes=0.2))
    assert found.rung.count(-1) > 100
    assert all(e == 0 for e, rung in zip(found.energy_mj, found.rung, strict=True) if rung < 0)
    assert summarise(found).p50_ms > 3.3


def test_a_battery_that_has_to_last_gets_a_budget() -> None:
    place = dataclasses.replace(SCENARIOS["battery_until_evening"], charge=0.2, capacity_wh=12.0, last_until_s=5400.0)
    found = run("balanced", Setting(scenario=place, minutes=1))
    assert max(found.rung) == 0
    assert max(run("balanced", setting("battery_until_evening")).rung) > 0


def test_the_oracle_is_ahead_and_misses_at_most_one_percent() -> None:
    where = setting("room", minutes=4)
    oracle = best_oracle(BUILTIN, where)
    assert miss_rate(oracle) <= 0.01
    for name in policies.names(BUILTIN)[:-1]:
        found = run(name, where)
        if miss_rate(found) <= 0.01:
            assert delivered_accuracy(found) <= delivered_accuracy(oracle) + 0.05, name


def test_names() -> None:
    assert policies.names(BUILTIN) == (
        "widest", "narrowest", "static:0.5x", "static:0.75x", "naive", "threshold", "indexer", "balanced",
        "battery_saver", "quality", "oracle",
    )  # fmt: skip
    for name in policies.names(BUILTIN)[:-1]:
        assert policies.chooser(name, BUILTIN).name == name
    for wrong in ("blanced", "static:0.6", "static:x", "nowhere.json"):
        with pytest.raises(EdgeslimError):
            policies.chooser(wrong, BUILTIN)
    with pytest.raises(UsageError) as caught:
        policies.chooser("blanced", BUILTIN)
    assert caught.value.hint == "did you mean 'balanced'?"


def test_a_policy_of_the_upper_rungs_learns_from_its_own() -> None:
    upper = policies.Controlled(BUILTIN, Policy(name="upper", min_rung=1))
    found = simulate(upper, BUILTIN, setting("hot"))
    assert min(found.rung) == 1
    assert upper.controller.state.k < 3072  # it was told about its inferences


def test_a_table_at_another_speed_keeps_its_ratios() -> None:
    slow = at_speed(BUILTIN, 60)
    assert [rung.t_us for rung in slow.rungs] == [12_000, 24_000, 40_000, 60_000]
    assert [rung.energy_uj for rung in slow.rungs] == [24_000, 48_000, 80_000, 120_000], "2 W"
    assert [rung.worth for rung in slow.rungs] == [rung.worth for rung in BUILTIN.rungs]


def test_worth_in_percent() -> None:
    assert percents(BUILTIN) == (54, 64, 69, 72)
    in_percent = tuple(dataclasses.replace(rung, worth=rung.worth * 100) for rung in BUILTIN.rungs)
    assert percents(dataclasses.replace(BUILTIN, rungs=in_percent)) == (54, 64, 69, 72)
    assert percents(dataclasses.replace(BUILTIN, metric="macs"))[-1] == 100
    errors = (-20_000_000, -10_000_000, -8_000_000, -5_000_000)
    rungs = tuple(dataclasses.replace(rung, worth=w) for rung, w in zip(BUILTIN.rungs, errors, strict=True))
    assert percents(dataclasses.replace(BUILTIN, rungs=rungs)) == (25, 50, 62.5, 100)


# What the state oracle delivers over 30 seeds (profiling/controller_score.py); it takes too long to search for here.
ORACLE = {"cool_desk": 68.7, "room": 68.3, "hot": 64.3}


@pytest.mark.parametrize("name", ORACLE)
def test_promised_limits(name: str) -> None:
    rows = [summarise(run("balanced", setting(name, minutes=30, seed=seed))) for seed in range(2)]
    mean = {f.name: sum(getattr(row, f.name) or 0.0 for row in rows) / 2 for f in dataclasses.fields(rows[0])[1:]}
    assert mean["delivered_accuracy"] >= ORACLE[name] - 1.0
    assert mean["miss_rate"] <= 0.006
    assert mean["switches_per_min"] <= 4
    assert mean["share_45c"] == 0


@pytest.mark.parametrize("place", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_no_scenario_overheats_or_flaps(place: Scenario) -> None:
    row = summarise(run("balanced", Setting(scenario=place, minutes=10)))
    assert row.switches_per_min < 8
    if place.name != "very_hot":  # hot before the first inference
        assert row.share_45c == 0
