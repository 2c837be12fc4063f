"""A session over several variants of one target: other precisions and other inputs on one ladder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pretend import LARGE, NAME, SHAPE, PretendTarget, SimulatedClock, id_of, image, pretend_bundle, table_of

from edgeslim.core.signals import Signals
from edgeslim.errors import UsageError
from edgeslim.runtime.deployment import ArtifactPlan
from edgeslim.runtime.result import FrameResult
from edgeslim.runtime.session import SlimSession

FRAME_US = 60_000
SMALL_US = {250: 6_000, 500: 9_000, 750: 12_000}
LARGE_US = {750: 20_000, 1000: 30_000}
ACCURACIES = {250: "0.5", 500: "0.6", 750: "0.7", 1000: "0.8"}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """0.25x … 0.75x with a small input; 1.0x and 0.75x with a larger one."""
    times = {**SMALL_US, 1000: 50_000}
    return pretend_bundle(tmp_path / "b.slim", times_us=times, accuracies=ACCURACIES, large=LARGE_US)


class Stage:
    def __init__(self, bundle: Path, cache: Path, **options: Any) -> None:
        self.clock = SimulatedClock()
        self.target = PretendTarget(clock=self.clock)
        self.signals = Signals()
        self.asked: list[ArtifactPlan] = []
        self.fill_us = 0
        self.session = SlimSession(
            bundle, self.target, table_of(bundle), cache_dir=cache, budget_ms=FRAME_US / 1000,
            readings=lambda: self.signals, clock_us=self.clock, **options,
        )  # fmt: skip

    def fill(self, plan: ArtifactPlan) -> np.ndarray:
        self.asked.append(plan)
        self.clock.advance(self.fill_us)
        return np.ones(plan.input.shape, np.float32)

    def frames(self, count: int) -> FrameResult:
        """The last result of ``count`` frames, at least one."""
        for _ in range(count):
            start = self.clock.now_us
            result = self.session.run(self.fill)
            self.clock.now_us = max(self.clock.now_us, start + FRAME_US)
            with self.session._gate.opened():
                while not self.session._pool.idle():
                    pass
        return result


@pytest.fixture
def stage(bundle: Path, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(bundle, tmp_path / "cache")
    yield stage
    stage.session.close()


def test_one_ladder_of_several_variants(stage: Stage) -> None:
    assert stage.session.ladder.artifacts == (
        id_of(250), id_of(500), id_of(750), id_of(1000, f"{NAME}-fp16-12"),
    )  # fmt: skip
    assert stage.session.ladder.labels == ("fp32 0.25x @8", "fp32 0.5x @8", "fp32 0.75x @8", "fp16 1.0x @12")
    dropped = {item.artifact for item in stage.session.ladder.dropped}
    assert dropped == {id_of(1000), id_of(750, f"{NAME}-fp16-12")}, "slower and worth no more"


def test_a_function_is_told_what_runs_and_fills_its_input(stage: Stage) -> None:
    result = stage.frames(150)
    assert result.artifact == id_of(1000, f"{NAME}-fp16-12")
    assert result.label == "fp16 1.0x @12"
    assert stage.asked[-1].artifact == result.artifact
    assert stage.asked[-1].input.shape == LARGE
    stage.signals = Signals(status=4)
    result = stage.frames(10)
    assert result.artifact == id_of(250)
    assert stage.asked[-1].input.shape == SHAPE
    assert list(result.outputs) == ["logits"]
    assert result.output is result.outputs["logits"]


def test_while_an_artifact_is_prepared_the_function_fills_for_the_one_that_runs(stage: Stage) -> None:
    stage.frames(150)
    stage.target.load_s = 0.2
    stage.signals = Signals(status=4)
    result = stage.session.run(stage.fill)
    assert result.decision.artifact == id_of(250) != result.artifact
    assert stage.asked[-1].artifact == result.artifact


def test_the_time_of_the_function_is_taken_off_the_next_deadlines(stage: Stage) -> None:
    stage.fill_us = 7_000
    assert stage.session.run(stage.fill, overhead_us=1_000).reading.deadline_us == FRAME_US - 1_000
    result = stage.session.run(stage.fill, overhead_us=1_000)
    assert result.fill_us == 7_000
    assert result.reading.deadline_us == FRAME_US - 8_000
    stage.fill_us = 0
    assert FRAME_US - 8_000 < stage.frames(3).reading.deadline_us < FRAME_US


def test_an_array_does_where_all_take_the_same(bundle: Path, tmp_path: Path, stage: Stage) -> None:
    with pytest.raises(
        UsageError, match=r"inputs of this session's artifacts differ: \[1, 3, 8, 8\], \[1, 3, 12, 12\]"
    ):
        stage.session.run(image())
    small = Stage(bundle, tmp_path / "cache", variants=["fp32-8"])
    with small.session as session:
        assert session.inputs[0].shape == SHAPE
        assert session.ladder.labels == ("0.25x", "0.5x", "0.75x", "1.0x")
        np.testing.assert_array_equal(session.run(image()).output, session.run({"image": image()}).output)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"inputs \[\] were given, expected \['image'\]"),
        ({"picture": image()}, r"no input 'image' among \['picture'\]"),
        ({"image": None}, "input 'image' takes a numpy array, got NoneType"),
        (None, "input 'image' takes a numpy array, got NoneType"),
        (np.zeros((1, 3, 9, 9), np.float32), r"takes float32 \[1, 3, 8, 8\]"),
    ],
)
def test_what_a_function_returns_wrongly_is_the_callers_mistake(stage: Stage, given: Any, message: str) -> None:
    stage.signals = Signals(status=4)
    stage.frames(1)
    with pytest.raises(UsageError, match=message):
        stage.session.run(lambda plan: given)
    with pytest.raises(ZeroDivisionError):
        stage.session.run(lambda plan: 1 / 0)  # type: ignore[arg-type, return-value]
    assert stage.frames(1).artifact == id_of(250)
    assert len(stage.session.ladder.rungs) == 4
    assert not [event for event in stage.session.events if event.kind == "lost"]


def test_a_failed_run_asks_the_function_again_for_another_artifact(stage: Stage) -> None:
    stage.frames(150)
    stage.target.run_faults[1000] = "raise"
    stage.asked.clear()
    result = stage.session.run(stage.fill)
    assert [plan.artifact for plan in stage.asked] == [id_of(1000, f"{NAME}-fp16-12"), result.artifact]
    assert result.artifact == id_of(750)


def test_limits_by_id_or_label(stage: Stage) -> None:
    stage.session.limit(widest="fp32 0.5x @8")
    assert stage.frames(100).artifact == id_of(500)
    stage.session.limit(narrowest=id_of(750, f"{NAME}-fp16-12"))  # no rung itself: by its multiply-adds
    stage.signals = Signals(status=4)
    assert stage.frames(5).artifact == id_of(250), "caps of heat win"
    with pytest.raises(UsageError, match=r"no artifact '0\.5x'"):
        stage.session.limit(widest="0.5x")
