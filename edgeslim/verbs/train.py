"""``edgeslim.train``: data ─► slimmable net ─► calibrated checkpoint with its accuracy per width.

TrainOptions ─► _Run (data, spec, config: what is about to be done) ─► Trainer ─► calibrate ─► evaluate ─► us.pt
                                                              ▲          │ Ctrl-C, SIGTERM
                                                              └─ resume ◄┘ StoppedError: where, and how to go on
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from edgeslim.core.pixels import ImageContract
from edgeslim.core.width import Width, parse_widths
from edgeslim.data.augment import Augment
from edgeslim.data.images import ImageSet
from edgeslim.data.named import load_data
from edgeslim.deploy.calibration.calibrate import calibrate
from edgeslim.deploy.evaluate import evaluate_checkpoint, score_rows, with_accuracies
from edgeslim.deploy.reports import TrainReport
from edgeslim.errors import OutputError, StoppedError, UsageError
from edgeslim.files import check_folder, check_free, sha256_file
from edgeslim.host.interrupt import Interrupt
from edgeslim.models.builder import halvings_left_out
from edgeslim.models.count import count
from edgeslim.models.devices import pick
from edgeslim.models.registry import make_spec, network, skeleton
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.models.spec import ModelSpec
from edgeslim.models.warm_start import WarmStart, open_source, warm_start
from edgeslim.training.allocator import keep_freed_memory
from edgeslim.training.config import TrainConfig, defaults_for
from edgeslim.training.distributed import joined
from edgeslim.training.loop import Trainer
from edgeslim.training.optim import OptimConfig
from edgeslim.training.options import TrainOptions
from edgeslim.training.resume import RunFiles
from edgeslim.training.sandwich import Sandwich
from edgeslim.training.start import fresh
from edgeslim.training.teachers import EmaTeacher, Teacher, teacher_from_file
from edgeslim.training.watch import Validation, both
from edgeslim.training.widths import DEFAULT_RANGE, even_ladder, parse_trained
from edgeslim.verbs.train_events import Note, Resumed, Tail, TrainPlan, TrainVerbWatcher

if TYPE_CHECKING:
    from edgeslim.models.layouts import Source

HELD_OUT_ONE_IN, HELD_OUT_AT_MOST = 20, 1000
VALIDATION_CALIB_IMAGES = 256  # statistics of the epoch lines; the result gets them from more


def train(
    out: Path | str,
    options: TrainOptions,
    *,
    resume: bool = False,
    overwrite: bool = False,
    watch: TrainVerbWatcher = lambda event: None,
) -> TrainReport:
    """Train a slimmable network, calibrate its ladder, measure it on the test images and write it to ``out``.

    Ctrl-C and SIGTERM end the step under way, and keep it. In the processes of torchrun other than the first the report
    has no rows.

    Args:
        out: checkpoint to write; the run's other files stand beside it (``training.resume``).
        resume: go on with a run of the same options that was stopped or killed; without one, begin.
        overwrite: replace ``out``, and begin again where an unfinished run is.
        watch: told what happens, from ``TrainPlan`` to ``Tail``.

    Raises:
        UsageError: options that do not go together, unusable data or checkpoints, or a loss that is not finite.
        MissingExtraError: TensorBoard is asked for and not installed.
        StoppedError: by Ctrl-C or SIGTERM; the hint is the command that goes on.
    """
    if not 0 <= options.save_seconds < math.inf:
        raise UsageError(f"--save-seconds is at least 0 and finite, got {options.save_seconds}")
    path = Path(out)
    files = RunFiles(out=path)
    check_free(path, overwrite=overwrite)
    for beside in (files.log, files.resume, files.args, files.best):
        check_free(beside, overwrite=True)
    if options.tensorboard is not None:
        check_folder(Path(options.tensorboard))
    if files.resume.exists() and not (resume or overwrite):
        raise OutputError(
            f"{files.resume} is the state of an unfinished run",
            hint=f"{_go_on(files, options, overwrite=False)} goes on with it, --overwrite begins again",
        )
    device = pick(options.device)
    keep_freed_memory()
    run = _Run(options=options, files=files, device=device)
    with contextlib.ExitStack() as stack:
        ranks = stack.enter_context(joined(device))
        watch = watch if ranks.first else lambda event: None
        model = fresh(run.spec, options.seed)
        if run.start is not None:
            for text in (*_said_of(run.start, run.images), *_said(warm_start(model, run.start))):
                watch(Note(text=text))
        teacher = _teacher(options.teacher, model, run.train_images, run.trained_widths)
        trainer = Trainer(
            model.to(device),
            run.train_images,
            run.config,
            teacher=teacher,
            ranks=ranks,
            files=files,
            device=device,
            save_seconds=options.save_seconds,
            validate=None,
            watch=watch,
        )
        if run.held_images is not None:
            trainer.validate = lambda: _validate(trainer, run)
        watch(run.plan(trainer))
        if resume:
            found = trainer.resume()
            watch(
                Resumed(step=trainer.step, steps=trainer.steps) if found else Note(text=f"no {files.resume}: a new run")
            )
        if options.tensorboard is not None and ranks.first:
            from edgeslim.training.tensorboard import TensorBoard

            board = TensorBoard(Path(options.tensorboard), first_step=trainer.step)
            stack.callback(board.close)
            trainer.watch = both(board, watch)
        if ranks.first:
            options.write(files.args, path)
        stopping = Note(text="stopping at the end of this step; Ctrl-C again stops at once")
        with Interrupt(terminates=True, on_ask=lambda: watch(stopping)) as asked:
            _train(trainer, asked, _go_on(files, options, overwrite=overwrite))
            if not ranks.first:
                return _report(run, trainer, [])
            return _finish(trainer, run, asked, _go_on(files, options, overwrite=overwrite), watch, overwrite=overwrite)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What the options come to, in the order in which it is needed."""

    options: TrainOptions
    files: RunFiles
    device: torch.device

    @cached_property
    def images(self) -> ImageSet:
        data = load_data(self.options.data, "train", images=self.options.images, **self.source)
        return data if self.start is None else data.prepared_as(_seen(data, self.start))

    @property
    def source(self) -> dict[str, Any]:
        """Where images come from, whatever the split."""
        o = self.options
        return {
            "input_size": o.input_size,
            "root": None if o.data_root is None else Path(o.data_root),
            "download": o.download,
            "workers": o.workers,
        }

    def split(self, name: str, images: int | None) -> ImageSet:
        """Another split, as the training images are prepared."""
        made = {"input_size": self.images.input_size, "in_channels": self.images.in_channels}
        return load_data(self.options.data, name, images=images, **{**self.source, **made})

    @cached_property
    def _parts(self) -> tuple[ImageSet, ImageSet | None]:
        asked = self.options.val_images
        wanted = min(HELD_OUT_AT_MOST, len(self.images) // HELD_OUT_ONE_IN) if asked is None else asked
        if wanted == 0:
            return self.images, None
        rest, held = self.images.held_out(wanted)
        return rest, held.decoded()

    @property
    def train_images(self) -> ImageSet:
        return self._parts[0]

    @property
    def held_images(self) -> ImageSet | None:
        return self._parts[1]

    @cached_property
    def validation_calib(self) -> ImageSet:
        return self.train_images.subset(VALIDATION_CALIB_IMAGES).decoded()

    @cached_property
    def start(self) -> Source | None:
        return open_source(self.options.init, widths=self.trained_widths) if self.options.init else None

    @cached_property
    def trained_widths(self) -> tuple[Width, ...] | None:
        text = self.options.trained_widths
        return None if text is None else parse_widths(text)

    @cached_property
    def spec(self) -> ModelSpec:
        o, data = self.options, self.images
        name = o.model or (self.start.network if self.start else None)
        if name is None:
            raise UsageError("no network given", hint="--model us_mobilenet_v2")
        listed = network(name).listed
        widths = (Width.parse(o.alone),) if o.alone else parse_trained(o.widths, listed=listed) if o.widths else None
        chosen: dict[str, Any] = {"widths": widths}
        if not listed:
            low_high = widths or DEFAULT_RANGE
            chosen = {"low": low_high[0], "high": low_high[-1]}
        return make_spec(
            name,
            num_classes=data.num_classes,
            input_size=data.input_size,
            in_channels=data.in_channels,
            norm=o.norm,
            **chosen,
        )

    @cached_property
    def ladder(self) -> tuple[Width, ...]:
        spec = self.spec
        if spec.low == spec.high:
            return (spec.low,)
        if self.options.ladder:
            return parse_widths(self.options.ladder, trained=(spec.low, spec.high))
        return spec.widths or even_ladder(spec.low, spec.high)

    @property
    def validated(self) -> tuple[Width, ...]:
        """The ends of the ladder and its middle."""
        return tuple(sorted({self.ladder[0], self.ladder[len(self.ladder) // 2], self.ladder[-1]}))

    @cached_property
    def config(self) -> TrainConfig:
        o, data, spec = self.options, self.train_images, self.spec
        known = defaults_for(data.name, data.input_size)
        batch_size = o.batch_size or known.batch_size
        sample = o.sample or ("ladder" if o.ladder or spec.widths else "continuous")
        return TrainConfig(
            data=data.name,
            data_sha256=data.known_sha256,
            task=o.task,
            epochs=o.epochs or known.epochs,
            batch_size=batch_size,
            sandwich=Sandwich(
                low=spec.low,
                high=spec.high,
                ladder=(spec.widths or self.ladder) if sample == "ladder" else None,
                per_step=o.n_widths or len(spec.widths) or 4,
                bounds=not o.no_bounds,
            ),
            optim=OptimConfig(
                optimizer=o.optimizer,
                lr=known.lr_for(o.optimizer, batch_size) if o.lr is None else o.lr,
                weight_decay=known.weight_decay if o.weight_decay is None else o.weight_decay,
                schedule=o.schedule,
                warmup=o.warmup,
                clip=o.clip,
            ),
            augment=Augment(padding=known.padding_for(data.input_size), flip=data.flips, jitter=o.jitter),
            label_smoothing=known.label_smoothing if o.label_smoothing is None else o.label_smoothing,
            teacher=_teacher_name(o.teacher),
            distill="none" if o.no_distill else "plain" if o.plain_distill else "trusted",
            seed=o.seed,
        )

    def plan(self, trainer: Trainer) -> TrainPlan:
        o, spec, data = self.options, self.spec, self.train_images
        return TrainPlan(
            model=spec.name,
            listed=bool(spec.widths),
            ladder=self.ladder,
            start="random weights" if self.start is None else self.start.what,
            macs=count(skeleton(spec), spec.high, spec.input_size).macs,
            data=data.name,
            images=len(data),
            val_images=0 if self.held_images is None else len(self.held_images),
            validated=self.validated,
            classes=data.num_classes,
            original_size=data.original_size,
            input_size=data.input_size,
            input_channels=data.in_channels,
            asked_size=o.input_size is not None,
            halvings_left_out=halvings_left_out(spec.input_size) if spec.package == "edgeslim" else 0,
            config=self.config,
            steps_per_epoch=trainer.source.steps_per_epoch,
            device=str(self.device),
            processes=trainer.ranks.count,
            threads=torch.get_num_threads(),
            workers=None if data.known_sha256 is not None else o.workers,
            files=self.files,
            save_seconds=o.save_seconds,
            tensorboard=o.tensorboard,
        )


def _seen(data: ImageSet, start: Source) -> ImageContract:
    """``data`` as the weights that training starts from are used to see images."""
    known = start.input
    if known is None or known.channels != data.in_channels:
        return data.contract
    return dataclasses.replace(data.contract, mean=known.mean, std=known.std, interpolation=known.interpolation)


def _said_of(start: Source, data: ImageSet) -> list[str]:
    known = start.input
    if known is None or known.channels != data.in_channels:
        return list(start.notes)
    seen = (
        f"images as {start.what} saw them: {known.interpolation}, mean {', '.join(known.mean)}, "
        f"standard deviation {', '.join(known.std)}"
    )
    return [*start.notes, seen]


def _said(done: WarmStart) -> list[str]:
    sorted_in = [f"channels sorted by importance in {done.sorted_bundles} places"] if done.sorted_bundles else []
    return sorted_in + list(done.notes)


def _teacher_name(name: str) -> str:
    """What the settings of a run say of its teacher: a file by its content, as a path says little."""
    return {"none": "inplace", "ema": "ema"}.get(name) or sha256_file(Path(name))


def _teacher(
    name: str, model: SlimmableModel, data: ImageSet, trained_widths: tuple[Width, ...] | None
) -> Teacher | None:
    if name == "none":
        return None
    return EmaTeacher(model, model.spec.high) if name == "ema" else teacher_from_file(name, data, widths=trained_widths)


def _validate(trainer: Trainer, run: _Run) -> Validation:
    """The task's measurements at a few widths, with statistics of a few training images."""
    assert run.held_images is not None
    widths, device = run.validated, trainer.device
    model = calibrate(trainer.checkpoint(), run.validation_calib, widths, device=device)
    scores = evaluate_checkpoint(model, run.held_images, widths, device=device)
    return Validation(
        metric=scores[0].metric,
        larger_is_better=scores[0].larger_is_better,
        values={str(one.widths[0].permille): one.values for one in scores},
        checkpoint=with_accuracies(model, scores, dataclasses.replace(run.held_images, split="held out")),
    )


def _train(trainer: Trainer, asked: Interrupt, go_on: str) -> None:
    """To the end; only the first process decides to stop, as the others wait for it in every step."""
    try:
        done = trainer.run(stop=lambda: asked.asked and trainer.ranks.first)
    except RuntimeError:
        if asked.asked and not trainer.ranks.first:  # the first has stopped, and is gone
            raise StoppedError("with the first process") from None
        raise
    if not done:
        raise _stopped(trainer, go_on)


def _stopped(trainer: Trainer, go_on: str) -> StoppedError:
    assert trainer.files is not None
    epoch, epochs = -(-trainer.step // trainer.source.steps_per_epoch), trainer.config.epochs
    at = f"after step {trainer.step} of {trainer.steps}, in epoch {epoch} of {epochs}"
    if trainer.step == trainer.steps:
        at = f"after the last of {trainer.steps} steps, before the result was written"
    return StoppedError(f"{at}; all of it is in {trainer.files.resume}", hint=f"to go on: {go_on}")


def _go_on(files: RunFiles, options: TrainOptions, *, overwrite: bool) -> str:
    command = shlex.join(["edgeslim", "train", "--config", str(files.args), "--resume"])
    return f"{command} --overwrite" if overwrite else command


def _finish(
    trainer: Trainer, run: _Run, asked: Interrupt, go_on: str, watch: TrainVerbWatcher, *, overwrite: bool
) -> TrainReport:
    """Calibrate, measure, write the checkpoint."""
    ladder = run.ladder

    def advance(tail: Tail) -> None:
        watch(tail)
        if asked.asked:
            raise _stopped(trainer, go_on)

    def counting(what: Any) -> Any:
        """A hook that is called after every width."""
        counted = iter(range(1, len(ladder) + 1))
        watch(Tail(what=what, done=0, of=len(ladder)))
        return lambda net: advance(Tail(what=what, done=next(counted, len(ladder)), of=len(ladder)))

    calib, test = run.split("calib", run.options.calib_images), run.split("test", run.options.test_images)
    calibrated = calibrate(trainer.checkpoint(), calib, ladder, device=trainer.device, on_net=counting("calibrating"))
    scores = evaluate_checkpoint(calibrated, test, ladder, device=trainer.device, on_width=counting("measuring"))
    with_accuracies(calibrated, scores, test).save(run.files.out, overwrite=overwrite)
    run.files.resume.unlink(missing_ok=True)
    return _report(run, trainer, scores)


def _report(run: _Run, trainer: Trainer, scores: list[Any]) -> TrainReport:
    return TrainReport(
        checkpoint=run.files.out,
        epochs=run.config.epochs,
        task=run.config.task,
        metric=trainer.task.metric().primary,
        best=run.files.best if run.held_images is not None else None,
        rows=score_rows(scores),
    )
