"""A run killed at any moment and resumed is the unbroken run, bit by bit."""

from __future__ import annotations

import json
import random
import signal
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch
from small_run import start

from edgeslim.core.width import Width
from edgeslim.errors import CheckpointError, UsageError
from edgeslim.models.selection import Selection
from edgeslim.training.distributed import ALONE
from edgeslim.training.log import RunLog
from edgeslim.training.resume import RunFiles, RunState

STEPS = 40


def begin(out: Path) -> ForkServerProcess:
    return start(out, "us_mobilenet_v1", "batch", STEPS)


def lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill_somewhere(out: Path, chance: random.Random) -> None:
    """Start (or resume) and kill after some more lines of the log, or already before the first."""
    process = begin(out)
    goal = min(lines_in(RunFiles(out=out).log) + chance.choice([0, 10, 10, 20]), STEPS - 10)
    while process.is_alive() and lines_in(RunFiles(out=out).log) < goal:
        time.sleep(0.002)
    time.sleep(chance.uniform(0, 0.1))
    process.kill()
    process.join()
    assert process.exitcode in (-signal.SIGKILL, 0)


def test_killed_and_resumed_equals_unbroken(tmp_path: Path) -> None:
    unbroken, broken = tmp_path / "unbroken.pt", tmp_path / "broken.pt"
    whole = begin(unbroken)
    chance = random.Random()  # any moment
    for _ in range(2):
        kill_somewhere(broken, chance)
    last = begin(broken)
    for process in (whole, last):
        process.join()
        assert process.exitcode == 0
    assert RunFiles(out=broken).log.read_text() == RunFiles(out=unbroken).log.read_text()
    assert lines_in(RunFiles(out=broken).log) == STEPS
    one, other = (torch.load(path, weights_only=True) for path in (unbroken, broken))
    assert all(torch.equal(one[name], other[name]) for name in one)


def net(permille: int) -> Selection:
    return Selection.uniform((), Width(permille))


def test_later_lines_and_half_lines_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "run.log.jsonl"
    path.write_text('{"step": 0}\n{"step": 1}\n{"step": 2}\n{"ste')
    log = RunLog(path, ALONE, first_step=2)
    log.add(2, 0, 0.5, (net(500), net(250)), torch.tensor([1.0, 2.0]))
    log.flush()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 0},
        {"step": 1},
        {"step": 2, "epoch": 0, "lr": 0.5, "losses": {"500": 1.0, "250": 2.0}},
    ]


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run.log.jsonl", ALONE)
    log.add(0, 0, 0.5, (net(500),), torch.tensor([float("nan")]))
    with pytest.raises(UsageError, match="diverged: a loss of step 0"):
        log.flush()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "run.pt.resume"
    settings = {"epochs": 2, "optim": {"lr": 0.1}}
    RunState(settings=settings, step=3, model={"w": torch.ones(2)}, optimizer={}, teacher={}, source={}).save(path)
    return path


def test_the_state_comes_back(state: Path) -> None:
    loaded = RunState.load(state, {"epochs": 2, "optim": {"lr": 0.1}})
    assert (loaded.step, loaded.model["w"].tolist()) == (3, [1.0, 1.0])


def test_other_settings_are_named(state: Path) -> None:
    with pytest.raises(CheckpointError, match=r"optim.lr was 0.1, now 0.2"):
        RunState.load(state, {"epochs": 2, "optim": {"lr": 0.2}})


@pytest.mark.parametrize("content", [b"", b"not a file of torch", None])
def test_damaged_and_foreign_states_are_refused(state: Path, content: bytes | None) -> None:
    if content is None:
        torch.save({"model": {}}, state)
    else:
        state.write_bytes(content)
    with pytest.raises(CheckpointError):
        RunState.load(state, {})
