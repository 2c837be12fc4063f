"""Writes tests/golden/controller/*: the expected decisions for every language.

    .venv/bin/python tests/golden/make_controller.py          writes them
    .venv/bin/python tests/golden/make_controller.py --check  exits 1 if they are not what this code decides

Format: tests/golden/controller/README.md.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import make_policies
from controller_scenarios import SCENARIOS, Scenario

from edgeslim.core import signals
from edgeslim.core.controller import ControllerState, WidthController
from edgeslim.core.ladder import Ladder, Rung
from edgeslim.core.latency import label_of
from edgeslim.core.policy import POLICY_VERSION, Policy
from edgeslim.core.reading import Decision, Reading
from edgeslim.core.width import net_id

FOLDER = Path(__file__).with_name("controller")
INPUTS = tuple(field.name for field in dataclasses.fields(Reading))
STATE = tuple(field.name for field in dataclasses.fields(ControllerState) if field.name not in ("started", "rung"))
OUTPUTS = ("rung", "skip", "bits", *STATE)


def ladder_of(rungs: Any) -> Ladder:
    """A ladder of (t_us, e_uj) pairs; artifacts are only names here."""
    count = len(rungs)
    return Ladder(
        rungs=tuple(
            Rung(artifact=f"golden/{net_id(width)}", t_us=t, energy_uj=e, worth=i, label=label_of(net_id(width)))
            for i, (t, e) in enumerate(rungs)
            for width in (1000 * (i + 1) // count,)
        )
    )


def policy_document(scenario: Scenario) -> dict[str, Any]:
    return {"policy_version": POLICY_VERSION, "base": scenario.base, **scenario.policy}


def reading_of(frame: dict[str, int], t_us: tuple[int, ...], ran: int) -> Reading:
    """The frame's fields, with the latency of the inference that ran before it."""
    fields: dict[str, Any] = dict(frame)
    slow, widest, late = fields.pop("slow", None), fields.pop("slow_widest", None), fields.pop("late_us", None)
    if ran >= 0 and slow is not None and "observed_us" not in fields:
        factor = widest if widest is not None and ran == len(t_us) - 1 else slow
        fields |= {"observed_us": late if late is not None else t_us[ran] * factor // 1000, "observed_rung": ran}
    for name in ("charging", "low_power"):
        fields[name] = bool(fields.get(name, 0))
    return Reading(**fields)


def steps(scenario: Scenario) -> Iterator[list[int]]:
    """One list of integers per step: the inputs, then the outputs."""
    for reading, decision, state in run(scenario):
        yield [int(getattr(reading, name)) for name in INPUTS] + [
            decision.rung, decision.skip, decision.bits, *(getattr(state, name) for name in STATE),
        ]  # fmt: skip


def run(scenario: Scenario) -> Iterator[tuple[Reading, Decision, ControllerState]]:
    """Step by step; the state is the controller's own and goes on changing."""
    policy = Policy.from_document(policy_document(scenario))
    controller = WidthController(ladder_of(scenario.rungs), policy)
    t_us = tuple(t for t, _ in scenario.rungs)
    ran = -1
    for frame in scenario.frames():
        reading = reading_of(frame, t_us, ran)
        decision = controller.step(reading)
        ran = decision.rung
        yield reading, decision, controller.state


def _decisions() -> Iterator[Decision]:
    """Every decision of every scenario, in order."""
    for scenario in SCENARIOS:
        yield from (decision for _, decision, _ in run(scenario))


def text_of(scenario: Scenario) -> str:
    header = {
        "format": "edgeslim-controller-golden",
        "version": 1,
        "scenario": scenario.name,
        "about": scenario.about,
        "t_us": [t for t, _ in scenario.rungs],
        "energy_uj": [e for _, e in scenario.rungs],
        "policy": policy_document(scenario),
        "in": INPUTS,
        "out": OUTPUTS,
    }
    lines = [
        json.dumps(header, separators=(",", ":")),
        *(json.dumps(row, separators=(",", ":")) for row in steps(scenario)),
    ]
    return "\n".join(lines) + "\n"


# JSON has no NaN and no infinity: such inputs are texts.
_HEADROOMS = (
    0.0, 0.0004999, 0.0005, 0.8494, 0.8495, 0.8499, 0.85, 0.95, 0.9999, 1.0, 1.15, 999.9999, 1000.0, 1e300,
    -0.0, -0.001, -1.0, math.nan, math.inf, -math.inf,
)  # fmt: skip
_FRACTIONS = (0.0, 0.0005, 0.05, 0.2, 0.35, 0.995, 1.0, 1.5, -1.0, math.nan, math.inf)
_TEMPERATURES = (-10.0, 64.9, 65.0, 74.9, 75.0, 79.9, 80.0, 84.9, 85.0, 120.0, math.nan)


def adapter_rows() -> Iterator[dict[str, Any]]:
    """``{"f": name, "x": [arguments], "y": result}``."""
    for value in _HEADROOMS:
        yield _adapter("headroom_milli", value)
    for value in _FRACTIONS:
        yield _adapter("battery_permille", value)
    for status in range(-1, 9):
        yield _adapter("android_level", status)
        yield _adapter("ios_level", status)
    for celsius in _TEMPERATURES:
        for throttled in (-1, 0, 0x1, 0x2, 0x4, 0x8, 0xE, 0x50000, 0xF0000):
            yield _adapter("pi_level", throttled, celsius)
        for trip, critical in ((80.0, 85.0), (95.0, 100.0), (75.0, 70.0)):
            yield _adapter("level_below_trip", celsius, trip, critical)


def _adapter(name: str, *arguments: float) -> dict[str, Any]:
    plain = [value if math.isfinite(value) else str(value) for value in arguments]
    return {"f": name, "x": plain, "y": getattr(signals, name)(*arguments)}


def documents() -> dict[str, str]:
    """File name → text."""
    files = {f"{scenario.name}.jsonl": text_of(scenario) for scenario in SCENARIOS}
    files["policies.json"] = make_policies.policies_text()
    files["last_until.jsonl"] = make_policies.lines(make_policies.budgets())
    files["reasons.jsonl"] = make_policies.lines([make_policies.header(), *make_policies.reasons(_decisions())])
    files["adapters.jsonl"] = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in adapter_rows())
    return files


def main(check: bool) -> int:
    found = {path.name: path.read_text() for path in FOLDER.glob("*.json*")}
    wanted = documents()
    if check:
        wrong = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
        print("\n".join(wrong) or "golden files are current")
        return int(bool(wrong))
    for name in found.keys() - wanted.keys():
        (FOLDER / name).unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text)
    rows = sum(text.count("\n") for text in wanted.values())
    print(f"{len(wanted)} files, {rows} lines, {sum(map(len, wanted.values())) / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
