"""The training loop.

batch ─► widths of the step ─► gradients of every width ─► one all-reduce ─► clip ─► one optimiser step
  ▲                                                                                       │
  └──────── step + 1 ◄── log (losses stay on the device) ◄── resume file from time to time ◄┘
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
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

FLUSH_STEPS = 10  # steps between two looks at the losses


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """``step`` of ``steps`` is done; ``losses`` of the last one by permille."""

    step: int
    steps: int
    epoch: int
    losses: dict[str, float]
    images_per_s: float


class Trainer:
    """Trains ``model`` on ``data``; everything it does follows from ``config`` and the step number.

    ``task``, ``sampler`` and ``source`` stand in for what ``config`` says: another task, nets chosen by another rule
    than the sandwich of widths (any ``Selection``), batches from anywhere (``data`` then only describes the input).
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
        report: Callable[[Progress], None] = lambda progress: None,
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
        self.save_seconds, self.report = save_seconds, report
        if teacher is not None:
            teacher.to(self.device)
        ranks.share_weights(model)

    def run(self) -> None:
        """Train to the end.

        Raises:
            UsageError: the loss is not finite any more.
        """
        log = RunLog(self.files.log if self.files else None, self.ranks, first_step=self.step)
        stream = self.source.batches(range(self.step, self.steps), self.device)
        saved = flushed = time.monotonic()
        for images, target in stream:
            step, epoch = self.step, self.step // self.source.steps_per_epoch
            lr = self.config.optim.lr_at(step, self.steps, self.source.steps_per_epoch)
            losses = self.train_step(images, target, lr)
            log.add(step, epoch, lr, self.nets_at(step), losses)
            self.step += 1
            last = self.step == self.steps
            if last or self.step % FLUSH_STEPS == 0:
                lines, now = log.flush(), time.monotonic()
                speed = len(lines) * self.source.examples_per_step / max(now - flushed, 1e-9)
                self._report(lines[-1]["losses"], epoch, speed)
                flushed = now
                if last or now - saved >= self.save_seconds:
                    self.save()
                    saved = now

    def nets_at(self, step: int) -> tuple[Selection, ...]:
        """The nets of a step, widest first."""
        return self.sampler.nets_at(self.model, self.config.seed, step)

    def train_step(self, images: Tensor, target: Target, lr: float) -> Tensor:
        """One optimiser step; returns the loss per net on the device."""
        losses = accumulate_gradients(self.model, images, target, self.nets_at(self.step), self.task, self.teacher)
        self.ranks.average_gradients(self.model.parameters())
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

    def _report(self, losses: dict[str, float], epoch: int, speed: float) -> None:
        if self.ranks.first:
            self.report(Progress(step=self.step, steps=self.steps, epoch=epoch, losses=losses, images_per_s=speed))
