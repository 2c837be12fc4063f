"""What a person sees of a training run: what is about to be done, a bar by the clock, a line per epoch.

TrainPlan ─► header        Progress ─► bar (on a terminal) or a line a minute        EpochDone ─► line
"""

from __future__ import annotations

import contextlib
import textwrap
import time
from collections.abc import Sequence

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.text import Text

from edgeslim.cli.console import Console
from edgeslim.cli.measured import measured_head, measured_text
from edgeslim.core.latency import label_of
from edgeslim.core.width import net_id
from edgeslim.training.watch import EpochDone, Progress, Saved
from edgeslim.verbs.train_events import Note, Resumed, Tail, TrainPlan, TrainVerbEvent

LINE_SECONDS = 60.0
"""Between two lines where there is no terminal to draw a bar on."""


class TrainView(contextlib.AbstractContextManager["TrainView"]):
    """A watcher (``edgeslim.train``) that writes to ``console``."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[speed]}"),
            _Fitting("losses"),
            console=console.words,
            disable=console.quiet or not console.words.is_terminal,
            transient=True,
            refresh_per_second=2,
        )
        self._task: TaskID | None = None
        self._doing, self._plan = "", None  # type: str, TrainPlan | None
        self._heads: tuple[tuple[str, str | None, str], ...] = ()
        self._said = time.monotonic()

    def __enter__(self) -> TrainView:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def __call__(self, event: TrainVerbEvent) -> None:
        match event:
            case TrainPlan():
                self._plan = event
                for line in header(event, self._console.words.width):
                    self._console.say(line)
            case Note(text=text):
                self._console.say(text)
            case Resumed():
                self._console.say(f"going on after step {event.step} of {event.steps}")
                self._show("training", event.step, event.steps)
            case Progress():
                self._progress(event)
            case EpochDone():
                self._epoch(event)
            case Saved():
                self._console.detail(f"{event.path}: all up to step {event.step}")
            case Tail():
                self._show(event.what, event.done, event.of)

    def _progress(self, event: Progress) -> None:
        newest = event.lines[-1]
        epochs = self._plan.config.epochs if self._plan else newest.epoch + 1
        losses = [f"{_net(name)} {loss:.3f}" for name, loss in newest.losses.items()]
        speed = f"{event.images_per_s:.0f}/s"
        # the widest and the narrowest first: they bound the others
        shown = [losses[0], *losses[:0:-1]]
        self._show("training", event.step, event.steps, f"epoch {newest.epoch + 1}/{epochs}", speed, shown)
        if self._bar.disable and time.monotonic() - self._said >= LINE_SECONDS:
            self._said = time.monotonic()
            self._console.say(f"step {event.step} of {event.steps}, {speed}, losses {', '.join(shown)}")

    def _show(
        self, doing: str, done: int, of: int, words: str = "", speed: str = "", losses: Sequence[str] = ()
    ) -> None:
        words = words or doing
        if self._task is None or self._doing != doing:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(words, total=of, completed=done, speed=speed, losses=losses)
            self._doing = doing
        self._bar.update(self._task, description=words, completed=done, speed=speed, losses=losses)

    def _epoch(self, event: EpochDone) -> None:
        if not self._heads:
            self._heads = _heads(event)
            self._console.say("  ".join(head for head, _, _ in self._heads))
        values = event.validation.values if event.validation else {}
        cells = []
        for head, measured, net in self._heads:
            if head.strip() == "epoch":
                cell = f"{event.epoch}/{event.epochs}"
            elif head.strip() == "time":
                cell = _clock(event.seconds)
            elif measured is None:
                cell = f"{event.losses[net]:.3f}" if net in event.losses else ""
            else:
                cell = measured_text(measured, values[net][measured]) if net in values else ""
            cells.append(cell.rjust(len(head)))
        self._console.say("  ".join(cells) + ("  best" if event.best else ""))
        self._said = time.monotonic()


def header(plan: TrainPlan, columns: int) -> list[str]:
    """What is about to be done, in lines of at most ``columns``."""
    config, optim = plan.config, plan.config.optim
    low, high = config.sandwich.low, config.sandwich.high
    widths = "of one width" if low == high else f"{low}x to {high}x"
    drawn = "its ladder" if config.sandwich.ladder else "the whole range"
    held = f", {plan.val_images:,} held out to validate" if plan.val_images else ", none held out"
    rows = {
        "net": f"{plan.model}, {widths}, from {plan.start}",
        "widths": f"ladder {' '.join(map(str, plan.ladder))}; {config.sandwich.per_step} per step, drawn from {drawn}",
        "data": f"{plan.data}: {plan.images:,} images to train on{held}, {plan.classes} classes",
        "input": _input(plan),
        "training": f"{config.epochs} epochs of {plan.steps_per_epoch:,} steps, batch {config.batch_size}, "
        f"{optim.optimizer}, lr {optim.lr:.4g} ({optim.schedule}, warm-up {optim.warmup:g} epochs), "
        f"weight decay {optim.weight_decay:g}, seed {config.seed}",
        "on": _machine(plan),
        "files": f"{plan.files.out}; beside it {_beside(plan)}; until then {plan.files.resume.name}, "
        f"replaced every {plan.save_seconds:g} s",
    }
    lines = []
    for name, text in rows.items():
        lines += textwrap.wrap(
            text,
            max(columns, 40),
            initial_indent=f"{name:<10}",
            subsequent_indent=" " * 10,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def _input(plan: TrainPlan) -> str:
    size, original = plan.input_size, plan.original_size
    channels = "" if plan.input_channels == 3 else f", {plan.input_channels} channel"
    if original == size:
        how = "as the images are"
    elif original < size:
        how = f"images of {original} px are enlarged to it"
        how += "" if plan.asked_size else f" (--input-size {original} keeps their size)"
    else:
        how = f"made from images of {original} px"
    kept = (
        f"; the net's first {plan.halvings_left_out} halvings are left out at this size"
        if plan.halvings_left_out
        else ""
    )
    return f"{size} px{channels}, {how}; {plan.macs / 1e6:,.1f} M multiply-adds at full width{kept}"


def _machine(plan: TrainPlan) -> str:
    where = f"{plan.device}, {plan.threads} threads" if plan.device == "cpu" else plan.device
    processes = f", {plan.processes} processes" if plan.processes > 1 else ""
    images = "images in memory" if plan.workers is None else f"images decoded by {plan.workers} workers"
    return f"{where}{processes}; {images}"


def _beside(plan: TrainPlan) -> str:
    files = [plan.files.log.name, plan.files.args.name]
    files += [plan.files.best.name] if plan.val_images else []
    return ", ".join(files) + (f"; TensorBoard in {plan.tensorboard}" if plan.tensorboard else "")


def _heads(event: EpochDone) -> tuple[tuple[str, str | None, str], ...]:
    """(head, measured or None for a loss, net) of every column."""
    losses = list(event.losses)
    ends = dict.fromkeys(losses[:1] + losses[-1:])
    columns: list[tuple[str, str | None, str]] = [("  epoch", None, ""), ("   time", None, "")]
    columns += [(f"loss {_net(name)}", None, name) for name in ends]
    found = event.validation
    for index, name in enumerate(found.values if found else ()):
        assert found is not None
        head = f"{measured_head(found.metric)} {_net(name)}" if index == 0 else _net(name).rjust(5)
        columns.append((head, found.metric, name))
    return tuple(columns)


def _net(name: str) -> str:
    return label_of(net_id(int(name))) if name.isdigit() else name


def _clock(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{left:02d}"


class _Fitting(ProgressColumn):
    """As many of a task's texts as there is room for, each whole."""

    def __init__(self, field: str) -> None:
        super().__init__()
        self._field = field

    def render(self, task: Task) -> WholeTexts:
        return WholeTexts(task.fields.get(self._field, ()))


class WholeTexts:
    """As many of ``texts`` as fit into the line, none of them cut."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def __rich_measure__(self, console: RichConsole, options: ConsoleOptions) -> Measurement:
        return Measurement(0, len("  ".join(self._texts)))

    def __rich_console__(self, console: RichConsole, options: ConsoleOptions) -> RenderResult:
        line = ""
        for text in self._texts:
            longer = f"{line}  {text}" if line else text
            if len(longer) > options.max_width:
                break
            line = longer
        yield Text(line, no_wrap=True)
