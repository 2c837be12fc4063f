"""SlimSession on a simulated clock: what it runs, when it switches, what it survives."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pretend import (
    TIMES_US,
    PretendTarget,
    SimulatedClock,
    expected_answers,
    id_of,
    image,
    permille_of,
    pretend_bundle,
    table_of,
)

from edgeslim.core.reading import Decision
from edgeslim.core.reasons import sentence
from edgeslim.core.signals import Signals
from edgeslim.errors import HostError, UsageError
from edgeslim.runtime.loading import LoadingThread
from edgeslim.runtime.result import FrameResult
from edgeslim.runtime.session import SlimSession
from edgeslim.runtime.signals import AskingListener

FRAME_US = 40_000


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return pretend_bundle(tmp_path / "b.slim")


class Stage:
    """A session, its clock and its runtime, and frames at 25 per second."""

    def __init__(self, bundle: Path, cache: Path, **options: Any) -> None:
        self.clock = SimulatedClock()
        self.target: PretendTarget = options.pop("target", None) or PretendTarget(clock=self.clock)
        self.target.clock = self.clock
        self.signals = Signals()
        self.session = SlimSession(
            bundle,
            self.target,
            options.pop("table", table_of(bundle)),
            cache_dir=cache,
            budget_ms=FRAME_US / 1000,
            readings=lambda: self.signals,
            clock_us=self.clock,
            **options,
        )

    def frames(self, count: int, *, settled: bool = True) -> FrameResult:
        """The last result of ``count`` frames, at least one; ``settled`` waits for the loader after each."""
        for _ in range(count):
            start = self.clock.now_us
            result = self.session.run(image())
            self.clock.now_us = max(self.clock.now_us, start + FRAME_US)
            if settled:
                idle(self.session)
        return result


def idle(session: SlimSession) -> None:
    """Until the loader has nothing to do."""
    end = time.monotonic() + 10
    with session._gate.opened():  # simulated frames take no time, so there is no gap to wait for
        while not session._pool.idle():
            assert time.monotonic() < end, "the loader does not come to rest"
            time.sleep(0.0002)


@pytest.fixture
def stage(bundle: Path, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(bundle, tmp_path / "cache")
    yield stage
    stage.session.close()
    assert stage.target.alive == []


def test_runs_and_says_what_it_did(stage: Stage, bundle: Path, tmp_path: Path) -> None:
    result = stage.frames(1)
    assert result.label == "0.75x"  # 30 ms x (1 + 3/8) does not fit 40 ms, 20 ms does
    assert result.latency_us == TIMES_US[750]
    assert not result.missed
    assert isinstance(result.decision, Decision)
    assert "starts at 0.75x" in result.reason
    np.testing.assert_array_equal(result.output, expected_answers(bundle, tmp_path)[750])


def test_inputs_go_in_by_name_or_alone(stage: Stage) -> None:
    alone, named = stage.frames(1), stage.session.run({"image": image()})
    assert set(named.outputs) == {"logits"}
    np.testing.assert_array_equal(alone.output, named.outputs["logits"])
    for wrong in ({"picture": image()}, {}, {"image": image(), "mask": image()}, None, [1.0], {"image": [1.0]}):
        with pytest.raises(UsageError, match="input"):
            stage.session.run(wrong)  # type: ignore[arg-type]
    assert stage.session.run(image()).artifact == named.artifact  # the caller's mistakes count against none


def test_climbs_to_the_widest_that_fits_and_keeps_two_in_memory(stage: Stage) -> None:
    result = stage.frames(150)
    assert result.label == "1.0x"
    assert stage.session.counts.misses == 0
    assert stage.session.loaded == (id_of(750), id_of(1000))
    assert len(stage.target.alive) == 2


def test_the_deadline_is_less_the_overhead(stage: Stage) -> None:
    assert stage.session.run(image(), overhead_us=3_000).reading.deadline_us == FRAME_US - 3_000
    stage.session.budget_ms = 20
    assert stage.session.run(image()).reading.deadline_us == 20_000


def test_a_load_narrows_at_once_to_the_prefetched_width(stage: Stage) -> None:
    stage.frames(150)
    stage.target.slowdown = 1.5
    ran = [stage.frames(1, settled=False).label for _ in range(3)]
    assert ran[-1] != "1.0x"
    stage.target.slowdown = 1.0
    assert stage.frames(400).label == "1.0x"


def test_heat_caps_and_names_the_reason(stage: Stage) -> None:
    stage.frames(60)
    stage.signals = Signals(status=3)
    result = stage.frames(2)
    assert result.label == "0.5x"
    assert "thermal level 3 caps at 0.5x" in result.reason


def test_the_app_may_limit_widths(stage: Stage) -> None:
    stage.session.limit(widest="0.5x")
    assert stage.frames(100).label == "0.5x"
    stage.session.limit(narrowest="0.75x")
    assert stage.frames(100).label in ("0.75x", "1.0x")


def test_a_cold_switch_holds_no_frame_up(bundle: Path, tmp_path: Path) -> None:
    stage = Stage(bundle, tmp_path / "cache")
    with stage.session:
        stage.frames(100)
        stage.target.load_s = 0.3
        stage.signals = Signals(status=4)  # from 1.0x to 0.25x, which is not prefetched
        slowest = 0.0
        ran: list[str] = []
        started = time.monotonic()
        while not ran or ran[-1] != "0.25x":
            assert time.monotonic() - started < 5
            before = time.perf_counter()
            ran.append(stage.frames(1, settled=False).label)
            slowest = max(slowest, time.perf_counter() - before)
            time.sleep(0.01)
        assert len(ran) > 10, "frames did not go on while 0.3 s of loading went by"
        assert slowest < 0.1
        assert "0.25x" not in ran[:5]


def test_while_a_width_is_prepared_the_controller_learns_which_one_ran(stage: Stage) -> None:
    stage.frames(100)
    stage.target.load_s = 0.2
    stage.signals = Signals(status=4)
    first = stage.frames(1, settled=False)
    second = stage.frames(1, settled=False)
    assert first.decision.label == "0.25x" != first.label
    assert "while 0.25x is prepared" in first.reason
    assert second.reading.observed_rung == stage.session.ladder.index(first.artifact)
    assert second.reading.observed_us == TIMES_US[permille_of(first)]


def test_one_width_in_memory_loads_then_swaps(bundle: Path, tmp_path: Path) -> None:
    stage = Stage(bundle, tmp_path / "cache", max_loaded=1)
    with stage.session:
        most = 0
        for _ in range(150):
            stage.frames(1)
            most = max(most, len(stage.target.alive))
        assert stage.session.counts.last == id_of(1000)
        assert most <= 2
        stage.frames(1)
        assert len(stage.target.alive) == 1


def test_never_more_than_the_limit_in_memory(bundle: Path, tmp_path: Path) -> None:
    stage = Stage(bundle, tmp_path / "cache")
    rng = np.random.default_rng(0)
    with stage.session:
        for _ in range(400):
            stage.signals = Signals(status=int(rng.integers(-1, 5)), battery_permille=int(rng.integers(-1, 1000)))
            stage.target.slowdown = float(rng.uniform(0.5, 3))
            stage.frames(1, settled=bool(rng.integers(2)))
            assert len(stage.target.alive) <= 2


def test_a_width_that_throws_while_loading_leaves_the_ladder(bundle: Path, tmp_path: Path) -> None:
    target = PretendTarget(load_faults={1000: "raise"})
    stage = Stage(bundle, tmp_path / "cache", target=target)
    with stage.session:
        stage.frames(60)
        before = stage.session._controller.state.copy()
        result = stage.frames(140)
        assert result.label == "0.75x"
        assert "1.0x" not in stage.session.ladder.labels
        (dropped,) = [d for d in stage.session.ladder.dropped if d.label == "1.0x"]
        assert "RuntimeError" in sentence(dropped.reason)
        assert [e.kind for e in stage.session.events].count("lost") == 1
        assert stage.session._controller.state.xi == pytest.approx(before.xi, rel=0.2)
        assert stage.target.loads.count(1000) == 1


def test_a_width_that_throws_while_running_leaves_the_ladder_and_the_frame_is_answered(stage: Stage) -> None:
    stage.frames(150)
    stage.target.run_faults[1000] = "raise"
    result = stage.frames(1)
    assert result.label == "0.75x"
    assert "1.0x" not in stage.session.ladder.labels


def test_when_every_width_fails_it_says_so(bundle: Path, tmp_path: Path) -> None:
    target = PretendTarget(load_faults=dict.fromkeys(TIMES_US, "raise"))
    with pytest.raises(HostError, match="no artifact"):
        Stage(bundle, tmp_path / "cache", target=target)
    assert target.alive == []


def test_a_wrong_input_is_the_callers_mistake_and_changes_nothing(stage: Stage) -> None:
    with pytest.raises(UsageError, match="takes float32"):
        stage.session.run(np.zeros((1, 3, 9, 9), np.float32))
    assert stage.frames(1).label == "0.75x"
    assert len(stage.session.ladder.rungs) == 4


@pytest.mark.parametrize("x", [None, [1.0], "image.jpg", 7, object()])
def test_what_is_no_array_is_the_callers_mistake(stage: Stage, x: Any) -> None:
    with pytest.raises(UsageError, match=f"input 'image' takes a numpy array, got {type(x).__name__}"):
        stage.session.run(x)
    assert stage.frames(1).label == "0.75x"
    assert len(stage.session.ladder.rungs) == 4
    assert not [event for event in stage.session.events if event.kind == "lost"]


class OwnError(Exception):
    pass


def test_readings_that_fail_are_the_callers_mistake(stage: Stage, bundle: Path, tmp_path: Path) -> None:
    good = stage.signals
    stage.signals = None  # type: ignore[assignment]
    with pytest.raises(UsageError, match="readings answered NoneType"):
        stage.session.run(image())

    def fails() -> Signals:
        raise OwnError

    stage.session._signals = AskingListener(fails)
    with pytest.raises(OwnError):
        stage.session.run(image())
    stage.session._signals = AskingListener(lambda: good)
    assert stage.frames(1).label == "0.75x"
    assert len(stage.session.ladder.rungs) == 4
    target = PretendTarget()
    with pytest.raises(OwnError):
        SlimSession(bundle, target, table_of(bundle), cache_dir=tmp_path / "c", readings=fails)
    assert target.alive == []


@pytest.mark.parametrize("budget", [float("nan"), float("inf"), -1, 0, None, "33", 1e9])
def test_a_budget_that_is_no_time_is_refused(stage: Stage, bundle: Path, tmp_path: Path, budget: Any) -> None:
    with pytest.raises(UsageError, match="is no time"):
        stage.session.budget_ms = budget
    assert stage.session.budget_ms == FRAME_US / 1000
    with pytest.raises(UsageError, match="is no time"):
        SlimSession(bundle, PretendTarget(), table_of(bundle), cache_dir=tmp_path / "c", budget_ms=budget)


@pytest.mark.parametrize("overhead", [float("nan"), 1.5, -1, "1", 10**12])
def test_an_overhead_that_is_no_time_is_refused(stage: Stage, overhead: Any) -> None:
    with pytest.raises(UsageError, match="is no time"):
        stage.session.run(image(), overhead_us=overhead)
    assert stage.frames(1).label == "0.75x"


def test_closing_frees_everything_and_twice_is_nothing(bundle: Path, tmp_path: Path) -> None:
    stage = Stage(bundle, tmp_path / "cache")
    stage.frames(50)
    stage.session.close()
    stage.session.close()
    assert stage.target.alive == []
    with pytest.raises(UsageError, match="closed"):
        stage.session.run(image())


def test_closing_in_the_middle_of_a_load(bundle: Path, tmp_path: Path) -> None:
    stage = Stage(bundle, tmp_path / "cache")
    stage.target.load_s = 0.2
    stage.signals = Signals(status=4)
    stage.frames(2, settled=False)
    stage.session.close()
    LoadingThread.shared().wait_for(lambda: None)
    assert stage.target.alive == []


def test_a_forgotten_session_is_freed(bundle: Path, tmp_path: Path) -> None:
    target = PretendTarget(clock=SimulatedClock())
    session = SlimSession(bundle, target, table_of(bundle), cache_dir=tmp_path / "cache", readings=None)
    session.run(image())
    assert target.alive
    del session
    deadline = time.monotonic() + 5
    while target.alive and time.monotonic() < deadline:
        time.sleep(0.01)
    assert target.alive == []


def test_frames_from_several_threads_take_turns(stage: Stage, bundle: Path, tmp_path: Path) -> None:
    answers = expected_answers(bundle, tmp_path)
    wrong: list[object] = []

    def work() -> None:
        for _ in range(100):
            result = stage.session.run(image())
            if not np.array_equal(result.output, answers[permille_of(result)]):
                wrong.append(result)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert stage.session.counts.frames == 400


def test_two_sessions_share_cache_and_loading_thread(bundle: Path, tmp_path: Path) -> None:
    first, second = Stage(bundle, tmp_path / "cache"), Stage(bundle, tmp_path / "cache")
    with first.session, second.session:
        assert first.frames(100).label == second.frames(100).label
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("edgeslim-loading") == 1


def test_a_policy_from_the_bundle(tmp_path: Path) -> None:
    bundle = pretend_bundle(tmp_path / "b.slim", policy={"policy_version": 1, "base": "fixed", "max_rung": 1})
    stage = Stage(bundle, tmp_path / "cache")
    with stage.session:
        assert stage.frames(3).label == "0.5x"
        assert stage.session.ladder.labels == ("0.5x",)


def test_a_fixed_width_that_fails_gives_way_to_another(tmp_path: Path) -> None:
    bundle = pretend_bundle(tmp_path / "b.slim")
    target = PretendTarget(run_faults={1000: "raise"})
    stage = Stage(bundle, tmp_path / "cache", target=target, policy="fixed")
    with stage.session:
        assert stage.frames(1).label == "0.75x"
