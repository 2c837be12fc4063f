"""The training loop.

batch ─► widths of the step ─► gradients of every width ─► one all-reduce ─► clip ─► one optimiser step
  ▲                                                                                       │
  └─ step + 1 ◄─ resume file by the clock ◄─ validation per epoch ◄─ log and report by the clock ◄┘

Losses stay on the device between two looks at them. Whoever asks to stop is heard after every step, and what is saved
then is that step, whole.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from edgeslim import __version__, tasks
from edgeslim.data.batch_plan import BatchPlan
from edgeslim.data.images import ImageSet
from edgeslim.data.source import ImageSource, Source
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.models.selection import Selection
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.tasks.base import Target, Task
from edgeslim.training.config import TrainConfig
from edgeslim.training.distributed import ALONE, Ranks
from edgeslim.training.log import RunLog
from edgeslim.training.optim import set_lr
from edgeslim.training.resume import RunFiles, RunState
from edgeslim.training.sandwich import Sampler
from edgeslim.training.step import accumulate_gradients
from edgeslim.training.teachers import Teacher
from edgeslim.training.watch import (
    DISPLAY_SECONDS,
    EpochDone,
    EpochLosses,
    Progress,
    Saved,
    TrainEvent,
    Validation,
    Watcher,
)


class Trainer:
    """Trains ``model`` on ``data``; everything it does follows from ``config`` and the step number.

    ``task``, ``sampler`` and ``source`` stand in for what ``config`` says: another task, nets chosen by another rule
    than the sandwich of widths (any ``Selection``), batches from anywhere (``data`` then only describes the input).
    ``validate`` is asked after every epoch, in the first process; the best answer's checkpoint is kept.
    """

    def __init__(
        self,
        model: SlimmableModel,
        data: ImageSet,
        config: TrainConfig,
        *,
        task: Task | None = None,
        sampler: Sampler | None = None,
        source: Source | None = None,
        teacher: Teacher | None = None,
        ranks: Ranks = ALONE,
        files: RunFiles | None = None,
        device: torch.device | str = "cpu",
        save_seconds: float = 60.0,
        validate: Callable[[], Validation] | None = None,
        watch: Watcher = lambda event: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.device = torch.device(device)
        self.model = model.to(device=self.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.data, self.config, self.teacher, self.ranks, self.files = data, config, teacher, ranks, files
        self.task: Task = task or config.make_task()
        self.sampler: Sampler = sampler or config.sandwich
        self.source: Source = source or ImageSource(
            data=data,
            plan=BatchPlan(
                images=len(data), batch_size=config.batch_size, seed=config.seed, rank=ranks.rank, ranks=ranks.count
            ),
            augment=config.augment,
        )
        self.steps = config.epochs * self.source.steps_per_epoch
        self.optimizer = config.optim.build(model)
        self.step = 0
        self.save_seconds, self.validate, self.watch, self.clock = save_seconds, validate, watch, clock
        if teacher is not None:
            teacher.to(self.device)
        ranks.share_weights(model)

    def run(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Train to the end, or to the end of the step in which ``stop`` says so; whether it is the end of training.

        Raises:
            UsageError: the loss is not finite any more.
        """
        log = RunLog(self.files.log if self.files else None, self.ranks, first_step=self.step)
        stream = self.source.batches(range(self.step, self.steps), self.device)
        per_epoch, losses_of = self.source.steps_per_epoch, EpochLosses()
        saved = flushed = began = self.clock()
        shown = -math.inf  # the first step is shown at once
        for images, target in stream:
            step, epoch = self.step, self.step // per_epoch
            lr = self.config.optim.lr_at(step, self.steps, per_epoch)
            losses = self.train_step(images, target, lr)
            log.add(step, epoch, lr, self.nets_at(step), losses)
            self.step += 1
            stopping, epoch_ends = stop(), self.step % per_epoch == 0
            last = stopping or self.step == self.steps
            if last or epoch_ends or self.clock() - shown >= DISPLAY_SECONDS:
                lines, now = log.flush(), self.clock()
                losses_of.add(lines)
                speed = len(lines) * self.source.examples_per_step / max(now - flushed, 1e-9)
                self._tell(Progress(step=self.step, steps=self.steps, lines=lines, images_per_s=speed))
                shown = flushed = now
            if epoch_ends:
                self._end_epoch(log, losses_of.take(), self.clock() - began)
                flushed = began = self.clock()  # what validation takes is not training
            if last or self.clock() - saved >= self.save_seconds:
                self.save()
                saved = self.clock()
            if stopping:
                break
        return self.step == self.steps

    def _end_epoch(self, log: RunLog, losses: dict[str, float], seconds: float) -> None:
        """Validate, and keep the best; the others wait for the first process in their next step."""
        if not self.ranks.first:
            return
        epoch = self.step // self.source.steps_per_epoch
        found, best = None if self.validate is None else self.validate(), False
        if found is not None:
            best = found.better_than(log.validations)
            log.validated(self.step - 1, epoch - 1, found)
            if best and self.files is not None and found.checkpoint is not None:
                found.checkpoint.save(self.files.best, overwrite=True)
        self._tell(
            EpochDone(
                epoch=epoch,
                epochs=self.config.epochs,
                step=self.step,
                losses=losses,
                seconds=seconds,
                validation=found,
                best=best,
            )
        )

    def nets_at(self, step: int) -> tuple[Selection, ...]:
        """The nets of a step, widest first."""
        return self.sampler.nets_at(self.model, self.config.seed, step)

    def train_step(self, images: Tensor, target: Target, lr: float) -> Tensor:
        """One optimiser step; returns the loss per net on the device."""
        losses = accumulate_gradients(self.model, images, target, self.nets_at(self.step), self.task, self.teacher)
        losses = self.ranks.average(self.model.parameters(), losses)
        self.apply_gradients(lr)
        return losses

    def apply_gradients(self, lr: float) -> None:
        """Clip, step, clear; then the teacher follows."""
        if self.config.optim.clip:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.clip)
        set_lr(self.optimizer, lr)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.teacher is not None:
            self.teacher.after_step(self.model, self.step)

    def save(self) -> None:
        """Replace the resume file."""
        if self.files is None or not self.ranks.first:
            return
        RunState(
            settings=self.settings(),
            step=self.step,
            model=dict(self.model.state_dict()),
            optimizer=self.optimizer.state_dict(),
            teacher=self.teacher.state() if self.teacher else {},
            source=self.source.state(),
        ).save(self.files.resume)
        self._tell(Saved(path=self.files.resume, step=self.step))

    def resume(self) -> bool:
        """Go on where the resume file stands; False when there is none.

        Raises:
            CheckpointError: the file is unreadable or of a run with other settings.
        """
        if self.files is None or not self.files.resume.exists():
            return False
        state = RunState.load(self.files.resume, self.settings())
        self.model.load_state_dict(state.model)
        self.optimizer.load_state_dict(state.optimizer)
        if self.teacher is not None:
            self.teacher.load(state.teacher)
        self.source.load(state.source)
        self.step = state.step
        return True

    def checkpoint(self) -> Checkpoint:
        """The net as it is now, without statistics: calibration comes next."""
        data = self.data
        return Checkpoint.from_model(
            self.model,
            input=data.contract,
            labels=data.classes,
            task=self.task.name,
            task_package=tasks.package_of(self.task.name),
            provenance={"edgeslim": __version__, "torch": str(torch.__version__), "training": self.settings()},
            data_sha256=data.known_sha256,
        )

    def settings(self) -> dict[str, Any]:
        """What decides the numbers of this run; a resumed run must have the same."""
        return {"model": self.model.spec.to_json(), "ranks": self.ranks.count, **self.config.to_json()}

    def _tell(self, event: TrainEvent) -> None:
        if self.ranks.first:
            self.watch(event)
