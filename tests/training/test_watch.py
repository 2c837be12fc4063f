"""What a run tells, by a clock that the test moves; a stop loses nothing; the best validation is kept."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console
from small_run import BATCH, small_trainer

from edgeslim.cli.train_view import WholeTexts
from edgeslim.errors import MissingExtraError
from edgeslim.training.loop import Trainer
from edgeslim.training.resume import RunFiles, RunState
from edgeslim.training.tensorboard import TensorBoard
from edgeslim.training.watch import EpochDone, EpochLosses, Progress, Saved, StepLine, TrainEvent, Validation

STEPS = 8  # two epochs


def watched(tmp_path: Path, seconds_per_look: float, save_seconds: float = 1e9) -> tuple[Trainer, list[TrainEvent]]:
    trainer = small_trainer("us_mobilenet_v1", "none", STEPS, tmp_path / "us.pt")
    events: list[TrainEvent] = []
    clock = itertools.count(0, seconds_per_look)
    trainer.watch, trainer.clock, trainer.save_seconds = events.append, lambda: float(next(clock)), save_seconds
    return trainer, events


def validating(scores: list[float], larger_is_better: bool = True) -> Callable[[], Validation]:
    left = iter(scores)
    return lambda: Validation(
        metric="m", larger_is_better=larger_is_better, values={"125": {"m": next(left)}, "250": {"m": 0.0}}
    )


def test_a_slow_run_is_shown_at_every_step(tmp_path: Path) -> None:
    trainer, events = watched(tmp_path, seconds_per_look=1.0)
    assert trainer.run()
    shown = [event for event in events if isinstance(event, Progress)]
    assert [event.step for event in shown] == list(range(1, STEPS + 1))
    assert [line.step for event in shown for line in event.lines] == list(range(STEPS))


def test_a_fast_run_is_shown_at_first_and_where_epochs_end(tmp_path: Path) -> None:
    trainer, events = watched(tmp_path, seconds_per_look=1e-6)
    trainer.run()
    assert [event.step for event in events if isinstance(event, Progress)] == [1, 4, 8]
    assert [event.step for event in events if isinstance(event, Saved)] == [STEPS]  # and at the end
    assert len(trainer.files.log.read_text().splitlines()) == STEPS if trainer.files else False


def test_the_speed_is_images_by_the_clock(tmp_path: Path) -> None:
    trainer, events = watched(tmp_path, seconds_per_look=2.0)
    trainer.run()
    second = [event for event in events if isinstance(event, Progress)][1]
    # between two looks at the end of a step the clock is asked for: the wish to save, the wish to show, the look
    assert second.images_per_s == BATCH / (3 * 2.0)


def test_saved_by_the_clock(tmp_path: Path) -> None:
    trainer, events = watched(tmp_path, seconds_per_look=1.0, save_seconds=0.5)
    trainer.run()
    assert [event.step for event in events if isinstance(event, Saved)] == list(range(1, STEPS + 1))


def test_a_stop_in_the_first_step_keeps_it_and_the_run_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    whole = small_trainer("us_mobilenet_v1", "batch", STEPS, tmp_path / "whole.pt")
    assert whole.run()
    stopped = small_trainer("us_mobilenet_v1", "batch", STEPS, tmp_path / "us.pt")
    assert not stopped.run(stop=lambda: True)
    files = RunFiles(out=tmp_path / "us.pt")
    assert RunState.load(files.resume, stopped.settings()).step == 1
    assert len(files.log.read_text().splitlines()) == 1
    resumed = small_trainer("us_mobilenet_v1", "batch", STEPS, tmp_path / "us.pt")
    assert resumed.resume()
    assert resumed.run()
    assert files.log.read_bytes() == (tmp_path / "whole.log.jsonl").read_bytes()
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize(
    ("scores", "larger", "best"),
    [([0.5, 0.7], True, [True, True]), ([0.5, 0.5], True, [True, False]), ([0.5, 0.7], False, [True, False])],
)
def test_the_best_epoch_is_known(scores: list[float], larger: bool, best: list[bool], tmp_path: Path) -> None:
    trainer, events = watched(tmp_path, seconds_per_look=1.0)
    trainer.validate = validating(scores, larger)
    trainer.run()
    done = [event for event in events if isinstance(event, EpochDone)]
    assert [(event.epoch, event.step, event.best) for event in done] == [(1, 4, best[0]), (2, 8, best[1])]
    assert all(set(event.losses) == {"125", "250"} for event in done)  # the two that are in every step
    lines = [json.loads(line) for line in (tmp_path / "us.log.jsonl").read_text().splitlines()]
    assert [line["validation"]["125"]["m"] for line in lines if "validation" in line] == scores


def test_what_was_best_before_a_stop_still_counts(tmp_path: Path) -> None:
    trainer, _ = watched(tmp_path, seconds_per_look=1.0)
    trainer.validate = validating([0.9])
    trainer.run(stop=lambda: trainer.step == 5)
    resumed, events = watched(tmp_path, seconds_per_look=1.0)
    resumed.resume()
    resumed.validate = validating([0.8])
    resumed.run()
    assert [event.best for event in events if isinstance(event, EpochDone)] == [False]


def test_only_a_better_checkpoint_is_kept(tmp_path: Path) -> None:
    trainer, _ = watched(tmp_path, seconds_per_look=1.0)
    found = validating([0.7, 0.5])
    trainer.validate = lambda: dataclasses.replace(found(), checkpoint=trainer.checkpoint())
    trainer.run(stop=lambda: trainer.step == 4)
    best = tmp_path / "us.best.pt"
    kept = best.read_bytes()
    resumed, _ = watched(tmp_path, seconds_per_look=1.0)
    resumed.resume()
    resumed.validate = trainer.validate
    resumed.run()
    assert best.read_bytes() == kept


def test_mean_losses_are_of_nets_that_every_step_trains() -> None:
    losses = EpochLosses()
    losses.add((StepLine(step=0, epoch=0, lr=1.0, losses={"1000": 3.0, "250": 1.0}),))
    losses.add((StepLine(step=1, epoch=0, lr=1.0, losses={"1000": 1.0, "300": 1.0}),))
    assert losses.take() == {"1000": 2.0}
    assert losses.take() == {}


@pytest.mark.parametrize(
    ("columns", "shown"), [(9, ""), (10, "1.0x 2.134"), (22, "1.0x 2.134"), (23, "1.0x 2.134  0.25x 2.301")]
)
def test_losses_are_shown_whole_or_not_at_all(columns: int, shown: str) -> None:
    console = Console(width=columns, file=io.StringIO())
    with console.capture() as captured:
        console.print(WholeTexts(("1.0x 2.134", "0.25x 2.301")))
    assert captured.get().rstrip() == shown


class Written:
    """Stands in for TensorBoard's writer."""

    def __init__(self, folder: str, purge_step: int | None) -> None:
        self.scalars: list[tuple[str, float, int]] = []
        self.purge_step = purge_step

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))


def test_tensorboard_gets_every_step_and_every_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("torch.utils.tensorboard")
    monkeypatch.setattr(module, "SummaryWriter", Written, raising=False)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    board = TensorBoard(tmp_path, first_step=4)
    line = StepLine(step=4, epoch=1, lr=0.5, losses={"1000": 2.0})
    board(Progress(step=5, steps=8, lines=(line,), images_per_s=1.0))
    found = validating([0.7])()
    board(EpochDone(epoch=1, epochs=2, step=8, losses={}, seconds=1.0, validation=found, best=True))
    assert board.writer.purge_step == 4
    assert board.writer.scalars == [("lr", 0.5, 4), ("loss/1.0x", 2.0, 4), ("m/0.125x", 0.7, 8), ("m/0.25x", 0.0, 8)]


def test_without_tensorboard_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError) as caught:
        TensorBoard(tmp_path)
    assert caught.value.hint == 'pip install "edgeslim[tensorboard]"'
