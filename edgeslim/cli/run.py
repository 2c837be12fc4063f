"""``edgeslim run``: a bundle over a folder of images, with the artifact that the moment allows."""

from __future__ import annotations

import contextlib
import itertools
import signal
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import click
from numpy.typing import NDArray
from rich.table import Table

from edgeslim import targets
from edgeslim.cli.console import Console, common_options
from edgeslim.cli.run_view import RunView
from edgeslim.core.ladder import Rung
from edgeslim.core.latency import LatencyStatistics
from edgeslim.core.policy import PRESETS, Policy
from edgeslim.core.reasons import Reason
from edgeslim.core.strict_json import BESIDE
from edgeslim.errors import PolicyError, UsageError
from edgeslim.runtime.deployment import ArtifactPlan
from edgeslim.runtime.events import SessionEvent
from edgeslim.runtime.frame_log import FrameLog
from edgeslim.runtime.images import Preprocessor, image_files
from edgeslim.runtime.result import FrameResult
from edgeslim.runtime.session import SlimSession

_DEFAULT_FPS = 30.0


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--target", help=f"{targets.words()}; default: the preferred one of those that run here")
@click.option("--variant", "variants", multiple=True, help="only this precision and input (fp16-224); may be repeated")
@click.option("--images", type=click.Path(path_type=Path), required=True, help="folder of images, taken in turn")
@click.option(
    "--table", type=click.Path(path_type=Path), help="latencies of this device; default: measured at first use"
)
@click.option("--policy", help=f"{', '.join(PRESETS)}, or a JSON file; default: the bundle's own, else balanced")
@click.option("--budget-ms", type=float, help="time per frame; default: what --fps leaves, else 33.3")
@click.option("--fps", type=click.FloatRange(min=0, min_open=True), help="frames per second; default: without a pause")
@click.option("--frames", type=click.IntRange(min=1), help="how many; default: every image once")
@click.option(
    "--log", "log_path", type=click.Path(path_type=Path), help="a JSON object per frame, for simulate --replay"
)
@click.option("--overwrite", is_flag=True, help="replace the log if it is there")
@click.option("--sysfs", type=click.Path(path_type=Path), help="read heat and battery below here instead of /sys")
@click.option("--threads", type=click.IntRange(min=1), help="of the runtime; default: those of the table, else up to 4")
@click.option("--max-loaded", type=click.IntRange(min=1), default=2, show_default=True, help="artifacts kept in memory")
@click.option(
    "--first-use", type=click.Choice(["now", "gaps"]), default="now", show_default=True, help="when to measure"
)
@click.option("--cache-dir", type=click.Path(path_type=Path), help="where rebuilt files are kept")
@common_options
def command(
    *,
    bundle: Path,
    target: str | None,
    images: Path,
    policy: str | None,
    table: Path | None,
    budget_ms: float | None,
    fps: float | None,
    frames: int | None,
    log_path: Path | None,
    overwrite: bool,
    sysfs: Path | None,
    variants: tuple[str, ...],
    console: Console,
    **options: Any,
) -> None:
    """Run BUNDLE over --images: wide while the device is cool and in time, narrower when it is not."""
    files = image_files(images)
    if budget_ms is not None and not budget_ms > 0:
        raise UsageError(f"a budget of {budget_ms} ms is no time", hint="--budget-ms 33")
    budget_ms = budget_ms or 1000 / (fps or _DEFAULT_FPS)
    view = RunView(console, budget_ms)
    with contextlib.ExitStack() as stack:
        log = None if log_path is None else stack.enter_context(FrameLog(log_path, overwrite=overwrite))
        session = stack.enter_context(
            SlimSession(
                bundle,
                target,
                table,
                chosen_policy(policy),
                budget_ms=budget_ms,
                variants=variants or None,
                readings="auto" if sysfs is None else sysfs,
                on_event=view.hear,
                **options,
            )
        )
        view.begin(session)
        stack.enter_context(view)
        tally = Tally(session=session, budget_ms=budget_ms)
        prepare = Preparation()
        names = itertools.islice(itertools.cycle(files), frames or len(files))
        with contextlib.suppress(KeyboardInterrupt), CtrlC() as stop:
            _run(session, prepare, names, fps, tally, view, log, stop)
        report = tally.report(log_path)
    _present(console, report)


def chosen_policy(text: str | None) -> Policy | str | None:
    """A preset's name, or the policy in a JSON file.

    Raises:
        PolicyError: the file breaks a rule. UsageError: it cannot be read.
    """
    if text is None or text in PRESETS:
        return text
    path = Path(text)
    try:
        return Policy.from_json(path.read_bytes())
    except OSError as error:
        if path.suffix or path.exists():
            raise UsageError(f"cannot read the policy {path}: {error.strerror}") from None
        raise PolicyError(
            "policy-unknown-preset",
            f"there is no preset and no file {text!r}",
            hint=f"presets are {', '.join(PRESETS)}",
        ) from None


class CtrlC:
    """Inside the block the first Ctrl-C only sets ``asked``, so that the frame under way is finished, counted and
    logged; the second interrupts as ever. Where Ctrl-C is ignored (a job in the background of a script) it stays so."""

    asked = False

    def __enter__(self) -> CtrlC:
        self._heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._heard:
            signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._heard:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """How often one artifact ran."""

    artifact: str
    """Its id."""
    label: str
    """Its name for people."""
    frames: int
    """That it ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedRow:
    """An artifact that the ladder does not use."""

    artifact: str
    """Its id."""
    label: str
    """Its name for people."""
    reason: Reason = field(metadata=BESIDE)
    """Why not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What a run adds up to. Latencies are of the runtime's call alone; null: no frame ran."""

    bundle: Path
    """The file."""
    target: str
    """Name of the runtime that was used."""
    table: Path | None
    """The latency table that was used; null: one that could not be kept."""
    policy: str
    """Its name."""
    budget_ms: float
    """Time of a frame, of which preparing the image is taken off."""
    frames: int
    """That ran."""
    skipped: int
    """Frames left out as the controller asked."""
    fps: float
    """Frames that ran per second."""
    misses: int
    """Frames whose inference took longer than what was left of the budget."""
    switches: int
    """How often another artifact took over."""
    p50_ms: float | None
    """Half of the frames took no longer."""
    p95_ms: float | None
    """95 of 100 took no longer."""
    p99_ms: float | None
    """99 of 100 took no longer."""
    mean_ms: float | None
    """Mean latency."""
    prepare_ms: float | None
    """Mean time from image file to input."""
    rows: tuple[RunRow, ...]
    """The artifacts that ran."""
    ladder: tuple[Rung, ...]
    """From narrow to wide."""
    dropped: tuple[DroppedRow, ...]
    """Artifacts that the ladder does not use, and why: ``code`` and ``params`` of core/reasons.py."""
    events: tuple[SessionEvent, ...]
    """What else happened, oldest first, at most 256."""
    log: Path | None
    """Where ``--log`` put the frames; null: nowhere."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a run adds up to; ``skipped`` frames were left out as the controller asked."""

    session: SlimSession
    budget_ms: float
    latencies_us: array[int] = field(default_factory=lambda: array("Q"))
    skipped: int = 0
    prepare_us: int = 0
    began_s: float = field(default_factory=time.monotonic)
    ended_s: float = 0.0

    def add(self, result: FrameResult, prepare_us: int) -> None:
        self.latencies_us.append(result.latency_us)
        self.prepare_us += prepare_us
        self.skipped += result.skip - 1
        self.ended_s = time.monotonic()

    def report(self, log: Path | None) -> RunReport:
        session, counts = self.session, self.session.counts
        frames = counts.frames
        figures = LatencyStatistics.of([us / 1000 for us in self.latencies_us]) if frames else None
        seconds = max(self.ended_s - self.began_s, 1e-9)
        return RunReport(
            bundle=session.bundle.path,
            target=session.target,
            table=session.table_path,
            policy=session.policy.name,
            budget_ms=round(self.budget_ms, 3),
            frames=frames,
            skipped=self.skipped,
            fps=round(frames / seconds, 3) if frames else 0.0,
            misses=counts.misses,
            switches=counts.switches,
            p50_ms=None if figures is None else round(figures.p50_ms, 4),
            p95_ms=None if figures is None else round(figures.p95_ms, 4),
            p99_ms=None if figures is None else round(figures.p99_ms, 4),
            mean_ms=None if figures is None else round(figures.mean_ms, 4),
            prepare_ms=round(self.prepare_us / 1000 / frames, 4) if frames else None,
            rows=tuple(
                RunRow(artifact=plan.artifact, label=plan.label, frames=counts.frames_at[plan.artifact])
                for plan in session.artifacts
                if plan.artifact in counts.frames_at
            ),
            ladder=session.ladder.rungs,
            dropped=tuple(
                DroppedRow(artifact=item.artifact, label=item.label, reason=item.reason)
                for item in session.ladder.dropped
            ),
            events=session.events,
            log=log,
        )


class Preparation:
    """Image files as what an artifact takes; artifacts may take different sizes."""

    def __init__(self) -> None:
        self._made: dict[str, Preprocessor] = {}

    def array(self, name: Path, plan: ArtifactPlan) -> NDArray[Any]:
        made = self._made.get(plan.variant)
        if made is None:
            if plan.contract is None:
                raise UsageError(f"{plan.artifact} does not take one image", hint="run it with edgeslim.SlimSession")
            made = self._made[plan.variant] = Preprocessor(plan.contract, plan.input)
        return made(name)

    def run(self, session: SlimSession, name: Path) -> tuple[FrameResult, int]:
        """One frame, and the microseconds that its image took: before the decision where all take the same input."""
        if len({plan.inputs for plan in session.artifacts}) > 1:
            result = session.run(lambda plan: self.array(name, plan))
            return result, result.fill_us
        started_ns = time.monotonic_ns()
        x = self.array(name, session.artifacts[0])
        prepare_us = (time.monotonic_ns() - started_ns) // 1000
        return session.run(x, overhead_us=prepare_us), prepare_us


def _run(
    session: SlimSession,
    prepare: Preparation,
    names: Iterator[Path],
    fps: float | None,
    tally: Tally,
    view: RunView,
    log: FrameLog | None,
    stop: CtrlC,
) -> None:
    """Frame by frame until ``stop`` is asked for; with ``fps`` each at its time, and those that the controller skips
    are left out."""
    period_s = 1 / fps if fps else 0.0
    due_s = time.monotonic()
    for name in names:
        now_s = time.monotonic()
        if now_s < due_s:
            _sleep_until(due_s, stop)
        else:
            due_s = now_s  # late: frames that should have been are gone, as with a camera
        if stop.asked:
            return
        result, prepare_us = prepare.run(session, name)
        tally.add(result, prepare_us)
        if log is not None:
            log.add(result)
        view.show(name, result)
        due_s += period_s * result.skip


def _sleep_until(due_s: float, stop: CtrlC) -> None:
    while not stop.asked and (left_s := due_s - time.monotonic()) > 0:
        time.sleep(min(left_s, 0.1))


def _present(console: Console, report: RunReport) -> None:
    table = Table("artifact", "frames", "share", title=f"{report.bundle.name} on {report.target}", title_justify="left")
    for row in report.rows:
        table.add_row(row.label, str(row.frames), f"{row.frames / report.frames:.0%}")
    console.say(
        f"{report.frames} frames, {report.misses} later than {report.budget_ms:.1f} ms less preparation, "
        f"{report.switches} switches"
        + (
            f"; p50 {report.p50_ms:.2f} ms, p99 {report.p99_ms:.2f} ms"
            if report.p50_ms is not None and report.p99_ms is not None
            else ""
        )
    )
    console.result(report, table)
    if report.log is not None and report.table is not None:
        console.next_commands(f"edgeslim simulate {report.table} --replay {report.log} --policy all")
