"""The controller's promises beyond the golden files: words, state, heirs, no floats, invariants on random steps."""

from __future__ import annotations

import ast
import copy
import dataclasses
import inspect
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslim import WidthController
from edgeslim.core import controller as module
from edgeslim.core.controller import ONE, ControllerState
from edgeslim.core.ladder import Ladder, Rung
from edgeslim.core.policy import PRESETS, Policy
from edgeslim.core.reading import INFEASIBLE, LATENCY, PANIC, REASON_CODES, WIDENED, Decision, Reading
from edgeslim.core.reasons import Reason
from edgeslim.errors import TableError

sys.path.insert(0, str(Path(__file__).parent))
from latency_rows import table, timed

SECOND = 1_000_000

CAPS = {"thermal", "forecast", "battery", "low_power", "power_budget", "user"}


def ladder_of(*t_us: int) -> Ladder:
    return Ladder(
        rungs=tuple(
            Rung(artifact=f"t/{i}", t_us=t, energy_uj=t * 2, worth=i, label=f"r{i}") for i, t in enumerate(t_us)
        )
    )


FOUR = ladder_of(6_000, 12_000, 20_000, 30_000)


def frame(second: float, **changes: Any) -> Reading:
    values: dict[str, Any] = {"now_us": round(second * SECOND), "deadline_us": 40_000, "status": 0}
    return Reading(**values | changes)


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_takes_a_table_or_a_ladder() -> None:
    rows = table(timed(500, 12.0), timed(1000, 30.0))
    assert WidthController(rows).ladder.labels == ("0.5x", "1.0x")
    assert WidthController(FOUR).step(frame(0)).label == "r2"
    with pytest.raises(TableError):
        WidthController(table())


def test_a_policy_chooses_its_rungs() -> None:
    fixed = WidthController(FOUR, dataclasses.replace(PRESETS["fixed"], max_rung=2))
    decision = fixed.step(frame(0, deadline_us=10_000))
    assert (decision.artifact, decision.label, decision.rung, decision.codes) == ("t/2", "r2", 0, ("infeasible",))


def test_sentences() -> None:
    controller = WidthController(FOUR)
    assert controller.step(frame(0)).sentence() == "starts at r2"
    hot = controller.step(frame(1, status=3))
    assert hot.sentence() == "narrowed to r1: thermal level 3 caps at r1"
    assert (hot.move, hot.reasons) == (Reason.of("narrows", to="r1"), (Reason.of("thermal", level=3, cap="r1"),))
    assert controller.step(frame(2, status=3)).sentence() == "stays at r1: thermal level 3 caps at r1"
    slow = controller.step(frame(3, status=3, deadline_us=3_000))
    assert slow.sentence() == (
        "narrowed to r0: thermal level 3 caps at r1, no rung meets the deadline; runs one frame of 3"
    )
    for second in range(4, 40):
        last = controller.step(frame(second, status=3))
    assert last.sentence() == "stays at r0: thermal level 3 caps at r1, a wider net would fit but waits"


def test_every_reason_has_a_phrase() -> None:
    controller = WidthController(FOUR)
    decision = controller.step(frame(0))
    for bit, name in enumerate(REASON_CODES):
        told = dataclasses.replace(decision, bits=1 << bit)
        assert told.codes == (name,)
        assert ": " in told.sentence()
    assert "two misses" in dataclasses.replace(decision, bits=LATENCY | PANIC).sentence()
    assert dataclasses.replace(decision, previous=0, rung=1).sentence().startswith("widened")


def test_equal_decisions_are_one_object() -> None:
    controller = WidthController(FOUR)
    controller.step(frame(0))
    assert controller.step(frame(1)) is controller.step(frame(2))


# ── state ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_state_travels_as_json_and_copies() -> None:
    one = WidthController(FOUR)
    for reading in random_readings(random.Random(1), 500, 4):
        one.step(reading)
    other = WidthController(FOUR)
    other.state = ControllerState.from_json(one.state.to_json())
    assert other.state == one.state
    third = WidthController(FOUR)
    third.state = one.state.copy()
    for reading in random_readings(random.Random(2), 500, 4):
        assert one.step(reading) == other.step(reading) == third.step(reading)
    with pytest.raises(TableError):
        ControllerState.from_json('{"xi": 1.5}')


def test_an_heir_keeps_what_was_learned() -> None:
    old = WidthController(FOUR)
    for reading in random_readings(random.Random(3), 300, 4):
        old.step(reading)
    heir = WidthController(FOUR.without("t/3", Reason.of("not_loaded", why="the runtime crashed")), heir_of=old)
    names = ("xi", "dev", "k", "level", "band")
    assert [getattr(heir.state, n) for n in names] == [getattr(old.state, n) for n in names]
    fresh = dataclasses.replace(ControllerState.at_start(Policy()), **{n: getattr(old.state, n) for n in names})
    assert heir.state == fresh


# ── no float ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_float_in_the_source() -> None:
    """No float literal, no true division, no call that could make one."""
    allowed = {"min", "max", "range", "len", "dict", "tuple", "zip"}
    for node in ast.walk(ast.parse(inspect.getsource(WidthController))):
        assert not isinstance(node, ast.Constant) or not isinstance(node.value, float | complex)
        if isinstance(node, ast.BinOp | ast.AugAssign):
            assert not isinstance(node.op, ast.Div | ast.Pow | ast.Mod)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id in allowed or node.func.id[0].isupper() or node.func.id in ("isinstance", "ladder")
    assert "math" not in vars(module)
    assert "numpy" not in vars(module)


class Whole(int):
    """An integer that refuses to become or to meet a float, and stays itself in every operation."""

    def __float__(self) -> float:
        raise AssertionError("an integer became a float")

    __truediv__ = __rtruediv__ = __float__  # type: ignore[assignment]


def _closed(name: str) -> Any:
    plain = getattr(int, name)

    def operation(self: int, *others: Any) -> Any:
        assert all(type(other) in (int, bool, Whole) for other in others), (name, others)
        result = plain(self, *others)
        assert result is NotImplemented or type(result) in (int, bool)
        assert result is NotImplemented or abs(result) < 1 << 54, (name, self, others)
        return Whole(result) if type(result) is int else result

    return operation


_OPERATIONS = (
    "add", "radd", "sub", "rsub", "mul", "rmul", "floordiv", "rfloordiv", "lshift", "rlshift", "rshift", "neg", "and",
    "rand", "or", "ror", "lt", "le", "gt", "ge",
)  # fmt: skip
for _name in _OPERATIONS:
    setattr(Whole, f"__{_name}__", _closed(f"__{_name}__"))


def whole(value: Any) -> Any:
    return Whole(value) if type(value) is int else value


def test_no_float_and_no_overflow_at_run_time() -> None:
    """Every number in the step watched: no float, and no intermediate beyond 2^54 even for extreme inputs."""
    extreme = (-(1 << 63), -1, 0, 1, 1000, 60_000_000, 60_000_001, (1 << 52) + 5, (1 << 63) - 1)
    dice = random.Random(4)
    hardest = Policy(k_start=8192, k_min=8192, k_max=8192, dev_attack_shift=0, dev_release_shift=10, mean_shift=10)
    for policy in (Policy(), hardest):
        controller = WidthController(ladder_of(1, 60_000, 59_999_999, 60_000_000), policy)
        controller._t = tuple(map(whole, controller._t))
        controller._e = tuple(map(whole, (0, 1, 999_999_999, 1_000_000_000)))
        for field in dataclasses.fields(ControllerState):
            setattr(controller.state, field.name, whole(getattr(controller.state, field.name)))
        for i in range(3000):
            fields: dict[str, Any] = {
                field.name: dice.choice(extreme) for field in dataclasses.fields(Reading) if field.type == "int"
            }
            if i % 3:
                fields |= {"now_us": i * SECOND, "observed_rung": dice.randrange(4)}
            flags = {"charging": dice.random() < 0.1, "low_power": dice.random() < 0.1}
            decision = controller.step(Reading(**{name: whole(value) for name, value in fields.items()}, **flags))
            assert 0 <= decision.rung <= 3
            state = controller.state
            assert ONE >> 3 <= state.xi <= ONE << 4
            assert 0 < state.dev < ONE << 4
            assert 0 <= state.level <= 4


def test_the_controller_needs_the_standard_library_only() -> None:
    code = "import sys, edgeslim.core.controller; print({'numpy', 'safetensors', 'torch'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


# ── invariants ───────────────────────────────────────────────────────────────────────────────────────────────────────


def random_readings(dice: random.Random, count: int, rungs: int) -> Any:
    """Plausible and implausible readings; regimes change now and then."""
    now, slow, heat, deadline = 0, 1.0, 0.6, 33_333
    for _ in range(count):
        if dice.random() < 0.02:
            slow, heat = dice.uniform(0.4, 3.0), dice.uniform(0.4, 1.3)
            deadline = dice.choice((33_333, 16_666, 50_000, 100_000, 3_000))
        now += dice.choice((33_333, 33_334, 16_667, 100_000)) if dice.random() < 0.99 else dice.randrange(30 * SECOND)
        known = dice.random()
        yield Reading(
            now_us=now,
            deadline_us=deadline,
            observed_us=int(dice.randrange(4_000, 40_000) * slow) if dice.random() < 0.95 else -1,
            observed_rung=dice.randrange(-1, rungs + 1),
            status=min(max(int(heat * 10) - 7, 0), 4) if known < 0.6 else -1,
            headroom_milli=int(heat * 1000) + dice.randrange(40) if known > 0.3 else -1,
            forecast_milli=int(heat * 1000) + dice.randrange(-50, 90) if known > 0.5 else -1,
            battery_permille=dice.choice((-1, 10, 60, 120, 190, 215, 500, 900)),
            charging=dice.random() < 0.05,
            low_power=dice.random() < 0.05,
            power_mw=dice.randrange(-1, 3000) if dice.random() < 0.2 else -1,
            inferences_per_ks=30_000,
            user_cap=dice.randrange(-1, rungs + 1) if dice.random() < 0.1 else -1,
            user_min=dice.randrange(rungs) if dice.random() < 0.1 else 0,
        )


def predicted(controller: WidthController, rung: int, deadline_us: int) -> bool:
    state, t = controller.state, controller.ladder.rungs[rung].t_us
    usable = deadline_us - (deadline_us >> controller.policy.headroom_shift)
    return bool(t * (state.xi + ((state.k * state.dev) >> 10)) <= usable << 20)


@pytest.mark.parametrize(("seed", "name"), list(enumerate(["balanced", "battery_saver", "quality", "balanced"])))
def test_invariants_on_200_000_random_steps(seed: int, name: str) -> None:
    """50,000 steps for each of four controllers (200,000 in all)."""
    dice = random.Random(seed)
    sizes = (4, 8, 3, 7)
    ladder = ladder_of(*(int(4_000 * 1.4**i) for i in range(sizes[seed])))
    controller = WidthController(ladder, PRESETS[name])
    top, ups, downs, last_change_us = len(ladder.rungs) - 1, 0, 0, 0
    previous = None
    for reading in random_readings(dice, 50_000, top + 1):
        decision = controller.step(reading)
        low = min(max(reading.user_min, 0), decision.cap)
        assert low <= decision.rung <= decision.cap
        assert bool(CAPS & set(decision.codes)) == (decision.cap < top)
        if reading.power_mw >= 0 and decision.rung > 0:
            assert ladder.rungs[decision.rung].energy_uj * reading.inferences_per_ks <= reading.power_mw * 1_000_000
        fitting = [rung for rung in range(decision.cap + 1) if predicted(controller, rung, reading.deadline_us)]
        assert bool(decision.bits & INFEASIBLE) == (not fitting)
        if fitting and decision.rung > low and not decision.bits & PANIC:
            assert decision.rung in fitting
        if previous is not None and decision.rung != previous:
            if decision.bits & WIDENED:
                assert decision.rung == previous + 1
                assert controller.state.last_now - last_change_us >= SECOND
            elif decision.rung > previous:
                assert decision.rung == low  # only the app's floor lifts at once
            ups += max(decision.rung - previous, 0)
            downs += decision.rung < previous
            last_change_us = controller.state.last_now
        assert 1 <= decision.skip <= 8
        previous = decision.rung
    assert ups > 100
    assert downs <= ups + top  # so switches <= 2 x widenings + n - 1 (a floor may widen several rungs at once)


fields: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "deadline_us": st.integers(-5, 80_000),
        "observed_us": st.integers(-1, 120_000),
        "observed_rung": st.integers(-1, 4),
        "status": st.integers(-1, 5),
        "headroom_milli": st.integers(-1, 1300),
        "forecast_milli": st.integers(-1, 1300),
        "battery_permille": st.integers(-1, 1000),
        "charging": st.booleans(),
        "low_power": st.booleans(),
        "power_mw": st.integers(-1, 3000),
        "inferences_per_ks": st.integers(0, 60_000),
        "user_cap": st.integers(-1, 4),
        "user_min": st.integers(-1, 4),
    }
)
gaps = st.one_of(st.integers(0, 100_000), st.integers(0, 200 * SECOND))


@st.composite
def situations(draw: st.DrawFn) -> tuple[WidthController, Reading]:
    """A controller with a past, and the reading that comes next."""
    controller = WidthController(FOUR, PRESETS[draw(st.sampled_from(["balanced", "battery_saver", "quality"]))])
    now = 0
    for past in draw(st.lists(st.tuples(gaps, fields), max_size=12)):
        now += past[0]
        repeat = draw(st.integers(1, 20))
        for _ in range(repeat):
            controller.step(Reading(now_us=now, **past[1]))
            now += 33_333
    return controller, Reading(now_us=now, **draw(fields))


def answer(controller: WidthController, reading: Reading) -> int:
    decision: Decision = copy.deepcopy(controller).step(reading)
    return decision.rung


@settings(max_examples=300, deadline=None)
@given(situations(), st.data())
def test_worse_news_never_gives_a_wider_width(situation: tuple[WidthController, Reading], data: st.DataObject) -> None:
    """One step from the same state; whole trajectories may cross, because a narrowing also starts a wait."""
    controller, reading = situation
    rung = answer(controller, reading)
    worse: dict[str, Any] = {
        "status": data.draw(st.integers(max(reading.status, 0), 5)),
        "headroom_milli": data.draw(st.integers(max(reading.headroom_milli, 0), 1400)),
        "forecast_milli": data.draw(st.integers(reading.forecast_milli, 1400)),
        "low_power": True,
    }
    if reading.battery_permille >= 0:
        worse["battery_permille"] = data.draw(st.integers(0, reading.battery_permille))
    if reading.observed_us >= 0:
        worse["observed_us"] = data.draw(st.integers(reading.observed_us, 200_000))
    for name, value in worse.items():
        if name in ("status", "headroom_milli") and getattr(reading, name) < 0:
            continue  # unknown holds a level that may be higher than any news
        assert answer(controller, dataclasses.replace(reading, **{name: value})) <= rung, (name, value)


@settings(max_examples=150, deadline=None)
@given(situations())
def test_replay_is_exact(situation: tuple[WidthController, Reading]) -> None:
    controller, reading = situation
    twin = copy.deepcopy(controller)
    assert controller.step(reading) == twin.step(reading)
    assert controller.state == twin.state
