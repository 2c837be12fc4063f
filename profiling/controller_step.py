"""What one step of the width controller costs.

    python profiling/controller_step.py [--steps N] [--json] [--record]

Replays golden readings (every branch occurs) through one controller per scenario, several passes, and prints the best
pass: other work on the machine can only add time. Beside it, a Reading alone, and the JSON round trip of the state.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import record

from edgeslim.core.controller import ControllerState, WidthController
from edgeslim.core.ladder import Ladder, Rung
from edgeslim.core.policy import Policy
from edgeslim.core.reading import Reading

GOLDENS = Path(__file__).parents[1] / "tests" / "golden" / "controller"
LIMIT_US = 20.0


def scenario(name: str) -> tuple[Ladder, Policy, list[Reading]]:
    """Ladder, policy and readings of a golden file (its README.md says what is in one)."""
    first, *rows = map(json.loads, (GOLDENS / f"{name}.jsonl").read_text().splitlines())
    rungs = tuple(
        Rung(artifact=f"golden/{i:04d}", t_us=t, energy_uj=e, worth=i, label=str(i))
        for i, (t, e) in enumerate(zip(first["t_us"], first["energy_uj"], strict=True))
    )
    readings = []
    for row in rows:
        values: dict[str, Any] = dict(zip(first["in"], row, strict=False))
        flags = {name: bool(values.pop(name)) for name in ("charging", "low_power")}
        readings.append(Reading(**values, **flags))
    return Ladder(rungs=rungs), Policy.from_document(first["policy"]), readings


def replay(ladder: Ladder, policy: Policy, readings: list[Reading]) -> int:
    step = WidthController(ladder, policy).step
    for reading in readings:
        step(reading)
    return len(readings)


def best_us(run: Callable[[], int], passes: int) -> float:
    """Microseconds per unit of work in the fastest of ``passes``; ``run`` says how many units it did."""
    best = float("inf")
    for _ in range(passes):
        begin = time.perf_counter_ns()
        count = run()
        best = min(best, (time.perf_counter_ns() - begin) / count / 1000)
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000, help="steps per pass and scenario group")
    parser.add_argument("--passes", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    record.add_option(parser)
    options = parser.parse_args()
    passport = record.begin()
    figures: dict[str, float] = {}
    for name in ("cool_start", "drift", "thermal_staircase", "random_balanced", "random_battery_saver"):
        ladder, policy, readings = scenario(name)
        readings *= max(1, options.steps // len(readings))
        figures[f"step, {name}"] = best_us(partial(replay, ladder, policy, readings), options.passes)

    def build() -> int:
        for i in range(5000):
            Reading(
                now_us=i,
                deadline_us=33_333,
                observed_us=20_000,
                observed_rung=2,
                status=0,
                headroom_milli=700,
                forecast_milli=710,
                battery_permille=800,
            )
        return 5000

    state = ControllerState.at_start(Policy())

    def travel() -> int:
        for _ in range(500):
            ControllerState.from_json(state.to_json())
        return 500

    figures["a Reading"] = best_us(build, options.passes)
    figures["state to JSON and back"] = best_us(travel, options.passes)
    worst = max(value for name, value in figures.items() if name.startswith("step"))
    if options.record:
        steps = {name.removeprefix("step, "): value for name, value in figures.items() if name.startswith("step")}
        figure = record.Figure(
            aim="one step of the controller, the best of several passes",
            promised=record.Promise(comparison="<=", number=LIMIT_US, text=f"at most {LIMIT_US:g} µs"),
            measured=tuple(round(value, 2) for value in steps.values()),
            unit="µs",
            of=tuple(steps),
        )
        record.write("controller_step", [figure], passport)
    if options.json:
        print(json.dumps({"python": platform.python_version(), "figures_us": figures, "limit_us": LIMIT_US}))
    else:
        for name, value in figures.items():
            print(f"{name:28s} {value:7.2f} µs")
        print(f"worst step {worst:.2f} µs, {worst / LIMIT_US:.2f}x of the limit of {LIMIT_US:g} µs")
    return int(worst > LIMIT_US)


if __name__ == "__main__":
    sys.exit(main())
