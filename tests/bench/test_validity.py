"""When a row counts, in numbers a reader can redo."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from fake_bundle import cell_fields

from edgeslim.benchmark.board import validity
from edgeslim.benchmark.board.messages import Block
from edgeslim.core.job import Cell, Job
from edgeslim.core.passport import BatterySpan, ClockSpan, LoadSpan, RuntimeInfo, ThermalSpan
from edgeslim.host.load import Load

CELL = Cell(**cell_fields())
JOB = Job(kind="burst", cells=(CELL,), bundle_sha256=None, runs=20, seconds=0.1, limit_s=10.0)
RUNTIME = RuntimeInfo(
    name="fake", version="1", delegate_requested="cpu", delegate_actual="cpu", threads=1, load_mode="file"
)
QUIET = LoadSpan(others_share=0.02, steal_share=0.0, waited_share=0.01, preemptions=3)


def blocks(
    values_ms: Sequence[float], *, runs: int = 10, wall_s: float = 0.1, baseline_ns: int = 570_000
) -> list[Block]:
    load = Load(wall_s=wall_s, cores=2, own_cpu_s=wall_s, busy_s=wall_s, steal_s=0.0, waited_s=0.0, preemptions=0)
    return [
        Block(
            samples_ns=(int(value * 1e6),) * runs,
            baseline_ns=baseline_ns,
            load=load,
            energy_uj=None,
            energy_method="none",
        )
        for value in values_ms
    ]


def reasons(values: Sequence[float] = (1.0,) * 8, job: Job = JOB, **changes: Any) -> list[str]:
    """The first words of the reasons."""
    facts: dict[str, Any] = {
        "thermal": ThermalSpan(level_start=0, level_end=0, level_max=0),
        "battery": BatterySpan(),
        "clock": ClockSpan(baseline_ms_reference=0.57, baseline_ms_start=0.57, baseline_ms_end=0.57),
        "load": QUIET,
        "runtime": RUNTIME,
        "threads_used": 1,
    }
    made = validity.reasons(job, blocks(values), **facts | changes)
    return [reason.partition(":")[0] for reason in made]


def test_a_quiet_row_counts() -> None:
    assert reasons() == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"load": LoadSpan(others_share=0.07)}, "load"),
        ({"load": LoadSpan(waited_share=0.06)}, "wait"),
        ({"load": LoadSpan(steal_share=0.04)}, "steal"),
        ({"thermal": ThermalSpan(level_start=1, level_max=1)}, "thermal"),
        ({"thermal": ThermalSpan(level_start=0, level_max=2)}, "thermal"),
        ({"battery": BatterySpan(charging=True)}, "charging"),
        ({"battery": BatterySpan(low_power=True)}, "power-save"),
        ({"clock": ClockSpan(baseline_ms_reference=0.57, baseline_ms_start=0.57, baseline_ms_end=0.60)}, "clock"),
        ({"runtime": dataclasses.replace(RUNTIME, delegate_actual="builtin")}, "delegate"),
        ({"threads_used": 2}, "threads"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_reason(change: dict[str, Any], word: str) -> None:
    assert reasons(**change) == [word]


def test_nothing_known_is_no_reason() -> None:
    assert reasons(load=LoadSpan(), thermal=ThermalSpan(), clock=ClockSpan()) == []


def test_too_few_samples() -> None:
    assert reasons((1.0, 1.0), job=dataclasses.replace(JOB, runs=21)) == ["samples"]


def test_a_p50_that_wanders_is_unstable() -> None:
    assert reasons((1.0, 1.0, 1.0, 1.0, 1.2, 1.2, 1.2, 1.2)) == ["unstable"]
    assert reasons((1.0,) * 20 + (1.5,) * 2) == []  # two slow turns of 22 leave the p50 alone


def test_sustained_rows_show_heat_and_do_not_fail_by_it() -> None:
    job = dataclasses.replace(JOB, kind="sustained", runs=1024, seconds=60.0, limit_s=600.0)
    many = blocks((1.0,) * 60 + (1.4,) * 60, runs=100, wall_s=0.5)
    made = validity.reasons(
        job,
        many,
        thermal=ThermalSpan(level_start=0, level_max=3),
        battery=BatterySpan(),
        clock=ClockSpan(baseline_ms_reference=0.5, baseline_ms_start=0.5, baseline_ms_end=0.7),
        load=QUIET,
        runtime=RUNTIME,
        threads_used=1,
    )
    assert made == ()
    short = validity.reasons(
        job, many[:20], thermal=ThermalSpan(), battery=BatterySpan(), clock=ClockSpan(), load=QUIET, runtime=RUNTIME,
        threads_used=1,
    )  # fmt: skip
    assert any("a sustained table takes 1024 runs and 60 s" in reason for reason in short)


def test_settled_needs_enough_quiet_blocks() -> None:
    assert validity.settled(blocks((1.0,) * 6))
    assert not validity.settled(blocks((1.0,) * 5))
    noisy = Load(wall_s=0.1, cores=2, own_cpu_s=0.1, busy_s=0.2, steal_s=0.0, waited_s=0.0, preemptions=0)
    assert not validity.settled([dataclasses.replace(block, load=noisy) for block in blocks((1.0,) * 6)])


def test_the_interval_covers_the_true_p50() -> None:
    """95 % intervals over blocks with a common error each: at least 85 of 100 hold the truth (binomial, p < 1e-5)."""
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(100):
        drawn = [rng.normal(10 + rng.normal(0, 0.3), 0.1, 15) for _ in range(20)]
        low, high = validity.p50_interval([list(block) for block in drawn], seed=seed)
        held += low <= 10 <= high
    assert held >= 85


def test_thirds() -> None:
    assert validity.third_medians_ms([1_000_000] * 3 + [2_000_000] * 3 + [4_000_000] * 3) == (1.0, 4.0)
