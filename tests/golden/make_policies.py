"""Policies and power budgets as language-neutral values; make_controller.py writes them beside its scenarios.

policies.json      defaults, ranges, what must ascend, presets; documents that are read, and those that are refused
last_until.jsonl   battery and clock in, power budget out
reasons.jsonl      decisions in, codes with parameters and English sentences out
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from edgeslim.core.ladder import Ladder, Rung
from edgeslim.core.policy import ASCENDING, POLICY_VERSION, PRESETS, RANGES, Policy
from edgeslim.core.power_budget import PowerBudget
from edgeslim.core.reading import REASON_CODES, Decision
from edgeslim.core.strict_json import encode
from edgeslim.errors import PolicyError

# JSON texts, so that a reader's own parser is part of the test.
TEXTS = (
    '{"policy_version":1,"base":"balanced"}',
    '{"policy_version":1,"base":"quality","name":"kiosk","thermal_thirds":[3,3,1,0,0],"dwell_us":3000000}',
    '{"policy_version":1,"base":"fixed","max_rung":2}',
    '{"policy_version":1,"base":"balanced","headroom_milli":[850,850,850,850]}',
    '{"policy_version":1}',
    '{"base":"balanced"}',
    '{"policy_version":2,"base":"balanced"}',
    '{"policy_version":"1","base":"balanced"}',
    '{"policy_version":1,"base":"blanced"}',
    '{"policy_version":1,"base":7}',
    '{"policy_version":1,"base":"balanced","dwell":5}',
    '{"policy_version":1,"base":"balanced","dwell_us":"5"}',
    '{"policy_version":1,"base":"balanced","dwell_us":5.0}',
    '{"policy_version":1,"base":"balanced","dwell_us":true}',
    '{"policy_version":1,"base":"balanced","dwell_us":[5]}',
    '{"policy_version":1,"base":"balanced","dwell_us":-1}',
    '{"policy_version":1,"base":"balanced","k_start":100,"k_min":200}',
    '{"policy_version":1,"base":"balanced","thermal_thirds":[3,3,2,1]}',
    '{"policy_version":1,"base":"balanced","thermal_thirds":[3,3,2,1,2]}',
    '{"policy_version":1,"base":"balanced","thermal_thirds":[4,3,2,1,0]}',
    '{"policy_version":1,"base":"balanced","battery_permille":[100,50,200]}',
    '{"policy_version":1,"base":"balanced","latency_hold_us":[2000000,1000000]}',
    '{"policy_version":1,"base":"balanced","headroom_milli":[50,60,70,80]}',
    '{"policy_version":1,"base":"balanced","min_rung":3,"max_rung":2}',
    '{"policy_version":1,"base":"balanced","name":"Two words"}',
    '{"policy_version":1,"base":"balanced","base":"quality"}',
    '{"policy_version":1,"base":"balanced","dwell_us":NaN}',
    "[]",
    "{",
    "",
)


def policies() -> dict[str, Any]:
    default = encode(Policy())
    return {
        "policy_version": POLICY_VERSION,
        "fields": {
            name: {"default": default[name], "low": low, "high": high, "length": length}
            for name, (low, high, length) in RANGES.items()
        },
        "ascending": list(ASCENDING),
        "presets": {name: encode(policy) for name, policy in PRESETS.items()},
        "documents": [_read(text) for text in TEXTS],
    }


def _read(text: str) -> dict[str, Any]:
    try:
        return {"text": text, "policy": encode(Policy.from_json(text))}
    except PolicyError as error:
        return {"text": text, "rule": error.rule}


def policies_text() -> str:
    """One field, preset or document per line."""
    sections = []
    for name, value in policies().items():
        if isinstance(value, dict):
            items = ",\n".join(f"  {json.dumps(key)}: {_plain(item)}" for key, item in value.items())
            sections.append(f'"{name}": {{\n{items}\n}}')
        elif name == "documents":
            sections.append('"documents": [\n' + ",\n".join(f"  {_plain(item)}" for item in value) + "\n]")
        else:
            sections.append(f'"{name}": {_plain(value)}')
    return "{\n" + ",\n".join(sections) + "\n}\n"


HOUR_US = 3_600_000_000


def budgets() -> Iterator[dict[str, Any]]:
    """``{"capacity_mwh", "until_us", "base_mw", "in": [[now_us, battery_permille], …], "out": [power_mw, …]}``."""
    minute, second = HOUR_US // 60, 1_000_000
    charges = (500, 480, 499, 505, 506, 530, 531, 100, 101, 106, 1000)
    dance = [(i * 16 * second, charge) for i, charge in enumerate(charges)]
    gaps = [(0, -1), (second, 500), (20 * second, -1), (40 * second, 400)]
    evening = [(i * minute, 1000 - i) for i in range(0, 300, 7)]
    cases: tuple[tuple[str, int, int, int, list[tuple[int, int]]], ...] = (
        ("a steady afternoon", 15_000, 6 * HOUR_US, 1500, evening),
        ("reviewed every 15 s", 15_000, HOUR_US, 1500, [(i * second, 200 - i // 4) for i in range(0, 60, 3)]),
        ("lower at once, higher only from 5 %", 10_000, 4 * HOUR_US, 500, dance),
        ("unknown charge keeps the budget", 15_000, HOUR_US, 0, gaps),
        ("the moment passes", 15_000, 60 * second, 0, [(0, 10), (59_999_999, 10), (60_000_000, 10), (61_000_000, 10)]),
        ("less than the rest draws", 5_000, 10 * HOUR_US, 2000, [(0, 100), (30 * second, 100), (60 * second, 1000)]),
        ("more than any device draws", 1_000_000, 10 * second, 0, [(0, 1000), (9_999_999, 1000)]),
        ("nothing left", 15_000, HOUR_US, 0, [(0, 0), (16 * second, 0), (32 * second, 1)]),
        ("a clock far from zero", 15_000, (1 << 50) + HOUR_US, 1500, [(1 << 50, 900), ((1 << 50) + 16 * second, 890)]),
    )  # fmt: skip
    for about, capacity, until, base, readings in cases:
        budget = PowerBudget(capacity_mwh=capacity, until_us=until, base_mw=base)
        out = [budget.update(now, charge) for now, charge in readings]
        yield {
            "about": about,
            "capacity_mwh": capacity,
            "until_us": until,
            "base_mw": base,
            "in": readings,
            "out": out,
            "reachable": [[energy, rate, budget.reachable(_one(energy), rate)] for energy, rate in REACHES],
        }


REACHES = ((9_000, 30_000), (9_000, 0), (0, 30_000), (60_000, 1_000), (1_000_000_000, 10_000_000), (33_333, 30_000))


def _one(energy_uj: int) -> Ladder:
    return Ladder(rungs=(Rung(artifact="golden/0250", t_us=1, energy_uj=energy_uj, worth=1, label="0.25x"),))


def reasons(decisions: Iterable[Decision]) -> Iterator[dict[str, Any]]:
    """Every different one once: what a phone looks up its string resources by, and the sentence in English."""
    seen: set[tuple[Any, ...]] = set()
    for decision in decisions:
        direction = (decision.rung > decision.previous) - (decision.rung < decision.previous)
        key = (decision.bits, decision.previous < 0, direction, decision.skip > 1)
        if key in seen:
            continue
        seen.add(key)
        yield {
            "rung": decision.rung,
            "previous": decision.previous,
            "label": decision.label,
            "skip": decision.skip,
            "bits": decision.bits,
            "level": decision.level,
            "cap": decision.cap,
            "cap_label": decision.cap_label,
            "move": decision.move.document(),
            "reasons": [reason.document() for reason in decision.reasons],
            "sentence": decision.sentence(),
        }


def header() -> dict[str, Any]:
    return {"format": "edgeslim-reasons-golden", "version": 1, "codes": list(REASON_CODES)}


def lines(items: Iterable[dict[str, Any]]) -> str:
    return "".join(_plain(item) + "\n" for item in items)


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
