"""The golden decisions: repeated exactly, and they mean what their scenarios promise."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeslim.core import signals
from edgeslim.core.controller import WidthController
from edgeslim.core.policy import Policy
from edgeslim.core.reading import FORECAST, HOLD, INFEASIBLE, LATENCY, PANIC, REASON_CODES, WIDENED, Reading
from edgeslim.core.reasons import SENTENCES

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
import make_controller
import make_ladders
import make_widths

GOLDEN = Path(make_controller.__file__).parent
FILES = sorted((GOLDEN / "controller").glob("*.json*"))
OTHERS = {"adapters", "last_until", "policies", "reasons"}
SCENARIOS = [path.stem for path in FILES if path.stem not in OTHERS]


def load(name: str) -> tuple[dict[str, Any], list[list[int]]]:
    header, *rows = (json.loads(line) for line in (GOLDEN / "controller" / f"{name}.jsonl").read_text().splitlines())
    return header, rows


def steps(name: str) -> list[dict[str, int]]:
    """Every step as name → integer."""
    header, rows = load(name)
    names = header["in"] + header["out"]
    return [dict(zip(names, row, strict=True)) for row in rows]


@pytest.mark.parametrize("name", SCENARIOS)
def test_decisions_are_repeated(name: str) -> None:
    header, rows = load(name)
    pairs = list(zip(header["t_us"], header["energy_uj"], strict=True))
    controller = WidthController(make_controller.ladder_of(pairs), Policy.from_document(header["policy"]))
    inputs, outputs = len(header["in"]), header["out"]
    for number, row in enumerate(rows):
        values = dict(zip(header["in"], row, strict=False))
        for flag in ("charging", "low_power"):
            values[flag] = bool(values[flag])
        decision = controller.step(Reading(**values))
        answer = [decision.rung, decision.skip, decision.bits]
        answer += [getattr(controller.state, field) for field in outputs[3:]]
        assert answer == row[inputs:], f"step {number}: {dict(zip(outputs, answer, strict=True))}"


@pytest.mark.parametrize("maker", [make_ladders, make_widths])
def test_ladders_and_widths_are_what_their_generators_write(maker: Any) -> None:
    wanted = maker.documents()
    found = {path.name: path.read_text(encoding="utf-8") for path in GOLDEN.glob(maker.PATTERN)}
    assert found == wanted, f"run tests/golden/{maker.__name__}.py"


def test_every_reason_of_a_ladder_occurs() -> None:
    """And none that has no sentence; `not_loaded` is the session's."""
    decided = {"starts", "narrows", "widens", "stays", "skips", *REASON_CODES}
    seen = set()
    for path in (GOLDEN / "ladder").glob("*.json"):
        document = json.loads(path.read_text(encoding="utf-8")).get("ladder", {})
        seen |= {item["code"] for item in (*document.get("dropped", ()), *document.get("notes", ()))}
    assert seen == SENTENCES.keys() - decided - {"not_loaded"}


def test_files_are_what_the_generator_writes() -> None:
    texts = make_controller.documents()
    assert {path.name for path in FILES} == set(texts)
    for path in FILES:
        assert path.read_text() == texts[path.name], "run tests/golden/make_controller.py"


def test_steps_hold_integers_only() -> None:
    for name in SCENARIOS:
        header, rows = load(name)
        width = len(header["in"]) + len(header["out"])
        assert all(len(row) == width and all(type(value) is int for value in row) for row in rows)
        assert all(abs(value) < 1 << 63 for row in rows for value in row)


def test_adapters() -> None:
    for line in (GOLDEN / "controller" / "adapters.jsonl").read_text().splitlines():
        case = json.loads(line)
        function: Callable[..., int] = getattr(signals, case["f"])
        arguments = [float(x) if isinstance(x, str) else x for x in case["x"]]
        assert function(*arguments) == case["y"], case


def switches(rows: list[dict[str, int]]) -> list[tuple[int, int, int]]:
    """(time in µs, from, to) of every change after the first step."""
    pairs = itertools.pairwise(rows)
    return [(b["now_us"], a["rung"], b["rung"]) for a, b in pairs if a["rung"] != b["rung"]]


def at(rows: list[dict[str, int]], second: float) -> dict[str, int]:
    """The last step before a moment."""
    return [row for row in rows if row["now_us"] < second * 1e6][-1]


def test_cool_start_ramps_to_the_widest() -> None:
    assert [(a, b) for _, a, b in switches(steps("cool_start"))] == [(2, 3)]


def test_load_step_narrows_within_three_frames_and_comes_back() -> None:
    rows = steps("load_step")
    first = next(time for time, a, b in switches(rows) if time >= 3e6 and b < a)
    assert first <= 3e6 + 3 * 33_334
    assert at(rows, 12)["rung"] == at(rows, 3)["rung"]


def test_outliers_cause_no_switch() -> None:
    assert not switches(steps("outliers"))


def test_staircase_caps_by_level_and_skips_when_critical() -> None:
    rows = steps("thermal_staircase")
    assert [at(rows, 5 * i + 10)["rung"] for i in range(6)] == [3, 3, 2, 1, 0, 0]
    assert {row["skip"] for row in rows if row["level"] == 4} == {2}
    assert at(rows, 220)["rung"] > 0


def test_stuck_status_does_not_hide_headroom() -> None:
    rows = steps("status_stuck")
    assert max(row["level"] for row in rows) == 4
    assert at(rows, 175)["level"] == 4  # headroom unknown since 60 s: held for 120 s
    assert at(rows, 400)["level"] == 0


def test_unknown_heat_is_never_cool() -> None:
    assert steps("heat_turns_unknown")[-1]["level"] == 4
    assert {row["level"] for row in steps("heat_unknown")} == {0}


def test_a_forecast_narrows_before_it_is_hot() -> None:
    rows = steps("forecast_severe")
    before, during = at(rows, 8)["rung"], at(rows, 18)
    assert during["rung"] < before
    assert during["level"] == 0
    assert during["bits"] & FORECAST
    assert at(rows, 40)["rung"] < before  # the thermal back-off is still running


def test_flapping_heat_doubles_the_wait() -> None:
    waits = [row["thermal_wait"] // 1_000_000 for row in steps("moderate_flapping")]
    assert list(dict.fromkeys(waits)) == [30, 60, 120, 240, 480]


def test_moderate_for_good_comes_back_to_its_cap() -> None:
    rows = steps("moderate_for_good")
    assert at(rows, 12)["rung"] < 2
    assert at(rows, 60)["rung"] == 2


def test_a_noisy_gauge_narrows_three_times() -> None:
    assert [(a, b) for _, a, b in switches(steps("battery_drain"))] == [(2, 3), (3, 2), (2, 1), (1, 0)]
    assert steps("battery_unknown")[-1]["rung"] == 0


def test_a_charger_frees_step_by_step() -> None:
    moves = [(a, b) for time, a, b in switches(steps("plug_in")) if time < 14e6]
    assert moves == [(0, 1), (1, 2), (2, 3)]
    assert steps("plug_in")[-1]["rung"] == 0
    assert steps("charging_low")[-1]["rung"] == 3


def test_an_infeasible_deadline_is_said_and_frames_are_skipped() -> None:
    row = at(steps("infeasible_deadline"), 1)
    assert row["rung"] == 0
    assert row["bits"] & INFEASIBLE
    assert row["skip"] == 3


def test_an_optimistic_entry_is_probed_with_doubling_waits() -> None:
    ups = [time for time, a, b in switches(steps("optimistic_table")) if b > a]
    gaps = [round((late - early) / 1e6) for early, late in itertools.pairwise(ups)]
    assert gaps[:5] == [2, 4, 8, 16, 16]


def test_a_good_widening_resets_the_wait() -> None:
    waits = [row["latency_wait"] // 1_000_000 for row in steps("backoff_reset")]
    assert list(dict.fromkeys(waits))[:4] == [1, 2, 4, 8]
    assert waits[-1] == 2


def test_more_frames_narrow_at_once_and_fewer_widen_one_by_one() -> None:
    rows = steps("frame_rate")
    (time, a, b), *_ = [move for move in switches(rows) if move[0] >= 4e6]
    assert (time, b < a) == (4_000_000, True)
    assert all(b == a + 1 for time, a, b in switches(rows) if time >= 8e6)


def test_a_budget_of_nothing_is_the_narrowest() -> None:
    rows = steps("power_budget")
    assert at(rows, 29)["rung"] == 0
    assert at(rows, 40)["rung"] > 0


def test_misses_of_a_fitting_width_panic() -> None:
    assert any(row["bits"] & PANIC and row["bits"] & LATENCY for row in steps("panic"))


def test_a_backward_clock_neither_shortens_nor_restarts_a_dwell() -> None:
    rows = steps("clock_backwards")
    assert all(a["last_now"] <= b["last_now"] for a, b in itertools.pairwise(rows))
    assert any(row["bits"] & HOLD for row in rows)


def test_every_reason_occurs() -> None:
    seen = 0
    for name in SCENARIOS:
        for row in steps(name):
            seen |= row["bits"]
    assert seen == (WIDENED << 1) - 1


def test_where_narrower_is_not_faster_the_wide_rung_comes_back() -> None:
    rows = steps("queue")
    assert min(row["rung"] for row in rows[:200]) == 0
    assert rows[-1]["rung"] == 2
    assert any(row["flat"] for row in rows)


def test_a_probe_that_was_wrong_is_taken_back() -> None:
    rows = steps("queue_ends")
    assert sum(row["observed_us"] > row["deadline_us"] for row in rows) <= 20
    assert rows[-1]["rung"] < 2
