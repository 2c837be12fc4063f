"""What one step of the width controller costs.

    .venv/bin/python profiling/controller_step.py [--steps N] [--json]

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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "golden"))
import make_controller

from edgeslim.core.controller import ControllerState, WidthController
from edgeslim.core.policy import Policy
from edgeslim.core.reading import Reading

LIMIT_US = 20.0


def readings(scenario: make_controller.Scenario) -> list[Reading]:
    """The scenario's readings, as the controller saw them."""
    found = []
    for row in make_controller.steps(scenario):
        values = dict(zip(make_controller.INPUTS, row, strict=False))
        flags = {name: bool(values.pop(name)) for name in ("charging", "low_power")}
        found.append(Reading(**values, **flags))
    return found


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
    options = parser.parse_args()
    scenarios = {s.name: s for s in make_controller.SCENARIOS}
    figures: dict[str, float] = {}
    for name in ("cool_start", "drift", "thermal_staircase", "random_balanced", "random_battery_saver"):
        scenario = scenarios[name]
        told = readings(scenario)
        told *= max(1, options.steps // len(told))
        ladder = make_controller.ladder_of(scenario.rungs)
        policy = Policy.from_document(make_controller.policy_document(scenario))

        def steps(told: list[Reading] = told, ladder=ladder, policy=policy) -> int:  # type: ignore[no-untyped-def]
            step = WidthController(ladder, policy).step
            for reading in told:
                step(reading)
            return len(told)

        figures[f"step, {name}"] = best_us(steps, options.passes)

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
    if options.json:
        print(json.dumps({"python": platform.python_version(), "figures_us": figures, "limit_us": LIMIT_US}))
    else:
        for name, value in figures.items():
            print(f"{name:28s} {value:7.2f} µs")
        print(f"worst step {worst:.2f} µs, {worst / LIMIT_US:.2f}x of the limit of {LIMIT_US:g} µs")
    return int(worst > LIMIT_US)


if __name__ == "__main__":
    sys.exit(main())
