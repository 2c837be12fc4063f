"""Recorded frames replayed: the same policy decides the same, another one is judged on the same slowdowns."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from edgeslim.core.policy import PRESETS
from edgeslim.core.reading import Reading
from edgeslim.core.strict_json import canonical, encode
from edgeslim.errors import UsageError
from edgeslim.simulation import policies
from edgeslim.simulation.engine import Setting, simulate
from edgeslim.simulation.oracle import best_oracle
from edgeslim.simulation.replay import LoggedDecision, LoggedFrame, read_log, repeats, replay
from edgeslim.simulation.scenario import SCENARIOS
from edgeslim.simulation.simulation import Run, miss_rate, summarise
from edgeslim.simulation.tables import BUILTIN


class Recorder(policies.Controlled):
    """A controller whose readings and decisions are kept."""

    def __init__(self) -> None:
        super().__init__(BUILTIN, PRESETS["balanced"])
        self.kept: list[tuple[Reading, LoggedDecision]] = []

    def choose(self, reading: Reading) -> tuple[int, int]:
        decision = self.controller.step(reading)
        kept = LoggedDecision(
            rung=decision.rung,
            artifact=decision.artifact,
            skip=decision.skip,
            reasons=decision.codes,
            level=decision.level,
            cap=decision.cap,
        )
        self.kept.append((reading, kept))
        return decision.rung, decision.skip


def recorded(minutes: float = 1.0) -> tuple[Run, tuple[LoggedFrame, ...]]:
    recorder = Recorder()
    run = simulate(recorder, BUILTIN, Setting(scenario=SCENARIOS["room"], minutes=minutes))
    frames = tuple(
        LoggedFrame(reading=reading, decision=decision, artifact=decision.artifact, latency_us=latency_us)
        for (reading, decision), latency_us in zip(recorder.kept, run.latency_us, strict=True)
    )
    return run, frames


def write(path: Path, frames: tuple[LoggedFrame, ...]) -> Path:
    path.write_text("".join(canonical(encode(frame)) + "\n" for frame in frames))
    return path


def test_the_same_policy_has_the_same_run(tmp_path: Path) -> None:
    run, frames = recorded()
    assert read_log(write(tmp_path / "log.jsonl", frames)) == frames
    again = replay(policies.chooser("balanced", BUILTIN), BUILTIN, frames)
    assert (again.rung, again.latency_us) == (run.rung, run.latency_us)
    assert again.minutes == pytest.approx(1, rel=0.001)
    assert repeats(PRESETS["balanced"], BUILTIN, frames) == len(frames)
    assert repeats(PRESETS["fixed"], BUILTIN, frames) < len(frames)


def test_another_policy_meets_the_same_slowdowns() -> None:
    run, frames = recorded()
    narrow = replay(policies.chooser("narrowest", BUILTIN), BUILTIN, frames)
    t = [rung.t_us for rung in BUILTIN.rungs]
    for rung, was, now in zip(run.rung, run.latency_us, narrow.latency_us, strict=True):
        assert now == pytest.approx(was * t[0] / t[rung], abs=1)
    row = summarise(narrow)
    assert (row.throttled_share, row.share_45c) == (None, None)
    assert miss_rate(best_oracle(BUILTIN, Setting(scenario=SCENARIOS["room"]), frames)) <= 0.01


def test_a_width_that_is_no_rung() -> None:
    _, frames = recorded(0.1)
    strange = (dataclasses.replace(frames[0], artifact="other/0600"), *frames[1:])
    with pytest.raises(UsageError, match="ran other/0600, which is no rung"):
        replay(policies.chooser("balanced", BUILTIN), BUILTIN, strange)


@pytest.mark.parametrize("change", ["", "{", "[]", '{"reading": {}}', "latency_us=0", "surprise"])
def test_a_line_that_is_no_frame_is_named(tmp_path: Path, change: str) -> None:
    _, frames = recorded(0.1)
    path = write(tmp_path / "log.jsonl", frames[:3])
    lines = path.read_text().splitlines()
    document = json.loads(lines[1])
    if change == "latency_us=0":
        change = json.dumps(document | {"latency_us": 0})
    elif change == "surprise":
        change = json.dumps(document | {"surprise": 1})
    path.write_text("\n".join([lines[0], change, lines[2]]))
    with pytest.raises(UsageError, match="line 2"):
        read_log(path)


def test_an_empty_or_missing_log(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(UsageError, match="no frame"):
        read_log(tmp_path / "log.jsonl")
    with pytest.raises(UsageError, match="cannot read"):
        read_log(tmp_path / "nowhere.jsonl")
