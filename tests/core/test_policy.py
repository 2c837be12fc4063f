"""Policies: presets, overrides in JSON, and every rule has a policy that breaks it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslim import WidthController
from edgeslim.core.ladder import Ladder, Rung
from edgeslim.core.policy import PRESETS, RANGES, Policy, preset
from edgeslim.core.reading import Reading
from edgeslim.errors import PolicyError

LADDER = Ladder(
    rungs=tuple(Rung(artifact=f"t/{i}", t_us=6_000 * i, energy_uj=i, worth=i, label=f"r{i}") for i in range(1, 5))
)


def test_balanced_is_the_default() -> None:
    assert PRESETS["balanced"] == Policy()
    assert list(PRESETS) == ["balanced", "battery_saver", "quality", "fixed"]
    assert all(policy.name == name for name, policy in PRESETS.items())


def test_presets_differ_where_they_say() -> None:
    warm, low = (
        Reading(now_us=0, deadline_us=100_000, status=2),
        Reading(now_us=0, deadline_us=100_000, battery_permille=250),
    )
    rungs = {
        name: (WidthController(LADDER, policy).step(warm).rung, WidthController(LADDER, policy).step(low).rung)
        for name, policy in PRESETS.items()
    }
    assert rungs == {"balanced": (2, 3), "battery_saver": (1, 1), "quality": (3, 3), "fixed": (0, 0)}


@pytest.mark.parametrize("policy", PRESETS.values(), ids=PRESETS.keys())
def test_round_trip(policy: Policy) -> None:
    assert Policy.from_json(policy.to_json()) == policy
    assert Policy.from_json(policy.to_json()).to_json() == policy.to_json()


def test_overrides_a_preset() -> None:
    text = '{"policy_version": 1, "base": "quality", "name": "kiosk", "thermal_thirds": [3, 3, 1, 0, 0], "dwell_us": 5}'
    expected = dataclasses.replace(PRESETS["quality"], name="kiosk", thermal_thirds=(3, 3, 1, 0, 0), dwell_us=5)
    assert Policy.from_json(text) == expected


BROKEN: list[tuple[str, Any]] = [
    ("policy-not-json", "{"),
    ("policy-not-json", '{"policy_version": 1, "policy_version": 1}'),
    ("policy-not-json", '{"policy_version": NaN}'),
    ("policy-wrong-type", "[]"),
    ("policy-unknown-version", {}),
    ("policy-unknown-version", {"policy_version": 2}),
    ("policy-unknown-version", {"policy_version": True}),
    ("policy-unknown-preset", {"base": "turbo"}),
    ("policy-unknown-preset", {"base": ["balanced"]}),
    ("policy-unknown-field", {"dwel_us": 1}),
    ("policy-wrong-type", {"dwell_us": 1.0}),
    ("policy-wrong-type", {"dwell_us": True}),
    ("policy-wrong-type", {"name": 5}),
    ("policy-wrong-type", {"thermal_thirds": 3}),
    ("policy-wrong-type", {"thermal_thirds": [3, 3, 2, 1, "0"]}),
    ("policy-out-of-range", {"name": "Kiosk"}),
    ("policy-out-of-range", {"thermal_thirds": [3, 3, 2, 1]}),
    ("policy-out-of-range", {"thermal_thirds": [4, 3, 2, 1, 0]}),
    ("policy-out-of-range", {"k_max": 8193}),
    ("policy-out-of-range", {"headroom_hysteresis_milli": 850}),
    ("policy-not-ascending", {"thermal_thirds": [0, 1, 2, 3, 3]}),
    ("policy-not-ascending", {"battery_permille": [100, 50, 200]}),
    ("policy-not-ascending", {"latency_hold_us": [2, 1]}),
    ("policy-not-ascending", {"k_min": 4096}),
    ("policy-not-ascending", {"min_rung": 2, "max_rung": 1}),
]


@pytest.mark.parametrize(("rule", "document"), BROKEN)
def test_a_broken_policy_names_its_rule(rule: str, document: Any) -> None:
    if isinstance(document, dict) and "policy_version" not in document and document:
        document = {"policy_version": 1} | document
    with pytest.raises(PolicyError) as caught:
        Policy.from_json(document if isinstance(document, str) else json.dumps(document))
    assert caught.value.name == rule


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.from_json('{"policy_version": 1, "panic_miss": 1}')
    assert caught.value.hint == "did you mean 'panic_misses'?"
    with pytest.raises(PolicyError) as caught:
        preset("balance")
    assert "balanced" in (caught.value.hint or "")


@pytest.mark.parametrize("field", RANGES)
def test_every_range_is_kept(field: str) -> None:
    low, high, length = RANGES[field]
    for value in (low - 1, high + 1):
        with pytest.raises(PolicyError, match="policy-out-of-range"):
            changes: dict[str, Any] = {field: (value,) * length if length else value}
            dataclasses.replace(Policy(), **changes)


def test_every_field_but_the_name_has_a_range() -> None:
    assert set(RANGES) == {field.name for field in dataclasses.fields(Policy)} - {"name"}


def test_rungs_within_a_policy() -> None:
    middle = Policy(min_rung=1, max_rung=2)
    assert middle.select(LADDER).labels == ("r2", "r3")
    assert dataclasses.replace(middle, fixed=1).select(LADDER).labels == ("r3",)
    assert Policy(min_rung=9).select(LADDER).labels == ("r4",), "a shorter ladder gives its widest"


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any valid policy."""
    values: dict[str, Any] = {}
    for name, (low, high, length) in RANGES.items():
        drawn = [draw(st.integers(low, high)) for _ in range(length or 1)]
        values[name] = tuple(sorted(drawn, reverse=name == "thermal_thirds")) if length else drawn[0]
    values["k_min"], values["k_start"], values["k_max"] = sorted((values["k_min"], values["k_start"], values["k_max"]))
    values["min_rung"], values["max_rung"] = sorted((values["min_rung"], values["max_rung"]))
    values["headroom_hysteresis_milli"] = min(values["headroom_hysteresis_milli"], values["headroom_milli"][0] - 1)
    return Policy(**values)


@given(st.data())
def test_any_valid_policy_steps_and_travels(data: st.DataObject) -> None:
    policy = data.draw(policies())
    assert Policy.from_json(policy.to_json()) == policy
    controller = WidthController(LADDER, dataclasses.replace(policy, min_rung=0, max_rung=1000))
    for i in range(40):
        decision = controller.step(
            Reading(
                now_us=i * 33_333,
                deadline_us=20_000,
                observed_us=900 * i,
                observed_rung=i % 4,
                headroom_milli=40 * i,
                battery_permille=20 * i,
            )
        )
        assert 0 <= decision.rung < len(controller.ladder.rungs)
