"""``edgeslim.run``: a bundle over a folder of images, with the artifact that the moment allows."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from edgeslim.core.latency import LatencyStatistics
from edgeslim.core.policy import PRESETS, Policy
from edgeslim.errors import PolicyError, UsageError
from edgeslim.host.interrupt import Interrupt
from edgeslim.runtime.deployment import ArtifactPlan
from edgeslim.runtime.events import SessionEvent
from edgeslim.runtime.frame_log import FrameLog
from edgeslim.runtime.images import Preprocessor, image_files
from edgeslim.runtime.result import FrameResult
from edgeslim.runtime.session import SlimSession
from edgeslim.verbs.run_report import DroppedRow, RunReport, RunRow

_DEFAULT_FPS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """``images``: a folder, taken in turn; ``target`` (None: the preferred one of those that run here); ``variants``:
    only these precisions and inputs; ``table``: latencies of this device (None: measured at first use); ``policy``: a
    preset's name or a JSON file (None: the bundle's own, else balanced); ``budget_ms``: time per frame (None: what
    ``fps`` leaves, else 33.3); ``fps`` (None: without a pause); ``frames`` (None: every image once); ``log``: a JSON
    object per frame; ``sysfs``: read heat and battery below here; ``threads`` of the runtime; ``max_loaded``: artifacts
    kept in memory; ``first_use``: when to measure; ``cache_dir``: where rebuilt files are kept."""

    images: Path
    target: str | None = None
    variants: tuple[str, ...] = ()
    table: Path | None = None
    policy: str | None = None
    budget_ms: float | None = None
    fps: float | None = None
    frames: int | None = None
    log: Path | None = None
    overwrite: bool = False
    sysfs: Path | None = None
    threads: int | None = None
    max_loaded: int = 2
    first_use: Literal["now", "gaps"] = "now"
    cache_dir: Path | None = None

    @property
    def frame_ms(self) -> float:
        """Time per frame."""
        return self.budget_ms or 1000 / (self.fps or _DEFAULT_FPS)


class RunWatch:
    """Told what happens; this one does not care."""

    def hear(self, event: SessionEvent) -> None:
        """An event of the session, on any thread."""

    def begin(self, session: SlimSession) -> None:
        """Before the first frame."""

    def show(self, name: Path, result: FrameResult) -> None:
        """After a frame."""


def run(bundle: str | Path, options: RunOptions, *, watch: RunWatch | None = None) -> RunReport:
    """Run ``bundle`` over the images: wide while the device is cool and in time, narrower when it is not.

    Ctrl-C ends it after the frame under way; the report is of the frames that ran.

    Raises:
        FormatError: it is no bundle.
        ImageError, UsageError: no images, or images that it cannot take.
        PolicyError, TableError: an unusable policy or table.
        MissingExtraError: the runtime is not installed.
    """
    o, watch = options, watch or RunWatch()
    files = image_files(o.images)
    with contextlib.ExitStack() as stack:
        log = None if o.log is None else stack.enter_context(FrameLog(o.log, overwrite=o.overwrite))
        session = stack.enter_context(
            SlimSession(
                bundle,
                o.target,
                o.table,
                chosen_policy(o.policy),
                budget_ms=o.frame_ms,
                variants=o.variants or None,
                readings="auto" if o.sysfs is None else o.sysfs,
                on_event=watch.hear,
                threads=o.threads,
                max_loaded=o.max_loaded,
                first_use=o.first_use,
                cache_dir=o.cache_dir,
            )
        )
        watch.begin(session)
        tally = Tally(session=session, budget_ms=o.frame_ms)
        names = itertools.islice(itertools.cycle(files), o.frames or len(files))
        with contextlib.suppress(KeyboardInterrupt), Interrupt() as stop:
            _run(session, Preparation(), names, o.fps, tally, watch, log, stop)
        return tally.report(o.log)


def chosen_policy(text: str | None) -> Policy | str | None:
    """A preset's name, or the policy in a JSON file.

    Raises:
        PolicyError: the file breaks a rule. UsageError: it cannot be read.
    """
    if text is None or text in PRESETS:
        return text
    path = Path(text)
    if not path.suffix and not os.path.lexists(path):
        raise PolicyError(
            "policy-unknown-preset",
            f"there is no preset and no file {text!r}",
            hint=f"presets are {', '.join(PRESETS)}",
        )
    return Policy.read(path)


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
    watch: RunWatch,
    log: FrameLog | None,
    stop: Interrupt,
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
        watch.show(name, result)
        due_s += period_s * result.skip


def _sleep_until(due_s: float, stop: Interrupt) -> None:
    while not stop.asked and (left_s := due_s - time.monotonic()) > 0:
        time.sleep(min(left_s, 0.1))
