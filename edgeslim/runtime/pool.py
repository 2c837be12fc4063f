"""The artifacts in memory, and the loader that brings the next one in while frames go on.

    session ─ want(decided, likely next) ─► loading thread: cache.ensure ─► load ─► one inference ─► ready
       └──── pick(decided) ◄── ready ────────────────────────────────────────────────────────────────┘

At most ``max_loaded`` artifacts are in memory (with 1: two during a switch, since the old one answers until the new one
is ready). Loading, warming up and closing happen on the process's loading thread, between two frames.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeslim.errors import OutputError
from edgeslim.runtime.cache import ArtifactCache, CachedArtifact
from edgeslim.runtime.deployment import ArtifactPlan, Deployment
from edgeslim.runtime.events import EventLog
from edgeslim.runtime.inputs import Arrays
from edgeslim.runtime.journal import LoadJournal
from edgeslim.runtime.loading import FrameGate, LoadingThread, brisk_switching
from edgeslim.targets.base import Runner, Target

RETRY_S = 10.0  # after the cache could not be written
_LOAD_ATTEMPTS = 5  # a file that is changed or removed while it is being loaded


@dataclass(slots=True, kw_only=True, eq=False)
class LoadedArtifact:
    """One artifact, warm: its next run takes as long as any other."""

    plan: ArtifactPlan
    runner: Runner
    cached: CachedArtifact
    load_us: int
    in_use: threading.Lock
    """Held while it runs: a frame and a measurement in a gap must not meet."""

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Every output of one inference; ``inputs`` as ``plan.inputs`` says."""
        return self.runner.run(inputs)

    def close(self) -> None:
        try:
            self.runner.close()
        finally:
            self.cached.close()


class ArtifactPool:
    """Thread-safe; one frame at a time may run what ``pick`` handed out last.

    Args:
        caches: where files are kept; the second and later ones are used when those before cannot be written.
        clock: monotonic seconds, for waiting after a full disk.
    """

    def __init__(
        self,
        deployment: Deployment,
        target: Target,
        *,
        caches: tuple[ArtifactCache, ...],
        journal: LoadJournal,
        threads: int,
        max_loaded: int,
        gate: FrameGate,
        events: EventLog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._deployment = deployment
        self._target = target
        self._caches = caches
        self._journal = journal
        self._threads = threads
        self._capacity = max_loaded
        self._gate = gate
        self._events = events
        self._clock = clock
        self._change = threading.Condition()
        self._ready: dict[str, LoadedArtifact] = {}
        self._wanted: tuple[str, ...] = ()
        self._rank = {artifact: rank for rank, artifact in enumerate(deployment.plans)}
        self.changes = 0
        """Counts up whenever what is ready, or what ``pick`` chose, becomes another: who looks compares it."""
        self.current: LoadedArtifact | None = None
        """What ``pick`` chose last; None once it is gone."""
        self._closing: list[LoadedArtifact] = []
        self._retry_at: dict[str, float] = {}
        self._failed: dict[str, str] = {}
        self.news: list[tuple[str, str]] = []
        """What ``take_failures`` will say."""
        self._pumping = False
        self._closed = False
        self._elsewhere = False  # whether files are kept in another cache than the first
        self._load_times_us: deque[int] = deque(maxlen=8)
        self.longest_load_us = 0
        """Of the last eight: how long before it is needed an artifact has to be wanted."""
        self.refusal: OutputError | None = None
        """Why a cache could not be written lately; None once it could."""

    # The session's side

    def want(self, *artifacts: str) -> None:
        """These, the most urgent first, should be ready; others may be dropped for them."""
        with self._change:
            self._wanted = artifacts
            self._pump_soon()

    def rank(self, artifacts: Sequence[str]) -> None:
        """The rungs, from narrow to wide."""
        with self._change:
            self._rank = {artifact: rank for rank, artifact in enumerate(artifacts)}

    def pick(self, artifact: str) -> LoadedArtifact | None:
        """What to run when ``artifact`` was decided: that, else the widest ready rung below, else the narrowest above.

        None when nothing is ready. An artifact whose file was written into is dropped and rebuilt.
        """
        current = self.current
        if current is not None and current.plan.artifact == artifact and current.cached.intact():
            return current
        with self._change:
            for loaded in list(self._ready.values()):
                if not loaded.cached.intact():
                    self._retire(loaded)
            chosen = self._nearest(artifact)
            if chosen is not self.current:
                self.current = chosen
                self.changes += 1
            self._pump_soon()  # the old one may go now, or make room
            return self.current

    def _nearest(self, artifact: str) -> LoadedArtifact | None:
        decided = self._rank.get(artifact, -1)
        rungs = sorted((self._rank[name], name) for name in self._ready if name in self._rank)
        below = [name for rank, name in rungs if rank <= decided]
        if below:
            return self._ready[below[-1]]
        first = rungs[0][1] if rungs else next((name for name in self._deployment.plans if name in self._ready), None)
        return None if first is None else self._ready[first]

    def wait(self) -> bool:
        """Until anything is ready, or nothing more can come for now; whether something is ready."""
        with self._gate.opened(), self._change:
            self._change.wait_for(lambda: bool(self._ready) or not self._pumping)
            return bool(self._ready)

    def bring(self, artifact: str) -> LoadedArtifact | None:
        """``artifact``, waited for; None if it cannot be had now (``refusal`` and ``take_failures`` say why)."""
        self.want(artifact)
        with self._gate.opened(), self._change:
            self._change.wait_for(lambda: artifact in self._ready or not self._pumping)
        loaded = self.pick(artifact)
        return loaded if loaded is not None and loaded.plan.artifact == artifact else None

    def peek(self, artifact: str) -> LoadedArtifact | None:
        """``artifact`` if it is ready, without choosing it; for the loading thread, which alone closes them."""
        with self._change:
            return self._ready.get(artifact)

    def has_failed(self, artifact: str) -> bool:
        return artifact in self._failed

    def take_failures(self) -> list[tuple[str, str]]:
        """Artifacts that turned out unusable since the last call, and why."""
        with self._change:
            news, self.news = self.news, []
            return news

    def fail(self, loaded: LoadedArtifact, reason: str) -> None:
        """A loaded artifact misbehaved: never run it again."""
        with self._change:
            self._retire(loaded)
            self._give_up(loaded.plan.artifact, reason)
            self._pump_soon()

    @property
    def ready(self) -> tuple[str, ...]:
        with self._change:
            return tuple(sorted(self._ready))

    def idle(self) -> bool:
        """Whether everything wanted is ready, given up or waiting for a retry."""
        with self._change:
            return not self._pumping and not self._closing and self._next() is None

    def close(self) -> None:
        """Free every artifact; returns when it is done."""
        with self._change:
            self._closed = True
            self._wanted = ()
            self.current = None
            for loaded in list(self._ready.values()):
                self._retire(loaded)
            self._change.notify_all()
        with self._gate.opened():
            LoadingThread.shared().wait_for(self._close_retired)
        for cache in self._caches:
            cache.close()

    # The loading thread's side

    def _pump_soon(self) -> None:
        if not self._pumping and not self._closed and (self._closing or self._excess() or self._next() is not None):
            self._pumping = True
            LoadingThread.shared().submit(self._pump)

    def _pump(self) -> None:
        """One step: close what is retired, or load one artifact; then again if there is more to do."""
        try:
            with self._change:
                for loaded in self._excess():
                    self._retire(loaded)
                artifact = None if self._closed else self._next()
            self._close_retired()
            if artifact is not None:
                with brisk_switching():
                    self._bring_in(artifact)
        finally:
            with self._change:
                self._pumping = False
                self._pump_soon()
                self._change.notify_all()

    def _next(self) -> str | None:
        """The most urgent artifact that is missing, may be tried, and has room (or can be made room for)."""
        now = self._clock()
        for rank, artifact in enumerate(self._wanted):
            if artifact in self._ready or artifact in self._failed or self._retry_at.get(artifact, now) > now:
                continue
            limit = max(self._capacity, 2) if rank == 0 else self._capacity
            keeping = [w for w in self._ready if w in self._wanted[:rank] or self._ready[w] is self.current]
            return artifact if len(keeping) < limit else None
        return None

    def _excess(self) -> list[LoadedArtifact]:
        """Artifacts to drop now: those beyond the limit, and those in the way of what is to be loaded next."""
        coming = self._next()
        limit = self._capacity
        if coming is not None:
            limit = max(self._capacity, 2) - 1 if coming == self._wanted[0] else self._capacity - 1
        spare = [w for w in self._ready if self._ready[w] is not self.current and w not in self._wanted[:1]]
        order = sorted(spare, key=lambda w: self._wanted.index(w) if w in self._wanted else len(self._wanted))
        over = max(len(self._ready) - limit, 0)
        return [self._ready[w] for w in reversed(order)][:over]

    def _retire(self, loaded: LoadedArtifact) -> None:
        self._ready.pop(loaded.plan.artifact, None)
        self.changes += 1
        if self.current is loaded:
            self.current = None
        self._closing.append(loaded)

    def _close_retired(self) -> None:
        with self._change:
            retired, self._closing = self._closing, []
        for loaded in retired:
            self._gate.wait_for_gap()
            loaded.close()

    def _give_up(self, artifact: str, reason: str) -> None:
        self._failed[artifact] = reason
        self.news.append((artifact, reason))
        self.changes += 1
        self._events.add("lost", reason, self._deployment.plans[artifact])

    def _bring_in(self, artifact: str) -> None:
        plan = self._deployment.plans[artifact]
        try:
            loaded = self._load(plan)
        except OutputError as error:
            with self._change:
                self._retry_at[artifact] = self._clock() + RETRY_S
                known, self.refusal = self.refusal, error
            if known is None:
                self._events.add("cache", f"{error.message}; staying at what is loaded", plan)
        except Exception as error:  # whatever a runtime or a damaged bundle throws: the others go on
            with self._change:
                self._give_up(artifact, f"{type(error).__name__}: {error}")
        else:
            with self._change:
                if self._closed:
                    self._closing.append(loaded)
                else:
                    self.refusal = None
                    self._ready[artifact] = loaded
                    self.changes += 1
                    self._load_times_us.append(loaded.load_us)
                    self.longest_load_us = max(self._load_times_us)
            self._close_retired()

    def _load(self, plan: ArtifactPlan) -> LoadedArtifact:
        """Rebuild, load and warm up; again if the file was touched meanwhile."""
        started = time.monotonic_ns()
        for attempt in range(_LOAD_ATTEMPTS):
            cached = self._ensure(plan)
            ensured = time.monotonic_ns()
            try:
                with self._journal.loading(plan.key):
                    runner = self._start(plan, cached.root)
            except BaseException:
                changed = not cached.in_place()
                cached.close()
                if changed and attempt < _LOAD_ATTEMPTS - 1:
                    continue
                raise
            if cached.in_place():
                self._journal.succeeded(plan.key)
                load_us = (time.monotonic_ns() - started) // 1000
                rebuild_us = (ensured - started) // 1000
                self._events.add(
                    "loaded",
                    f"ready after {load_us / 1000:.1f} ms ({rebuild_us / 1000:.1f} ms for its file)",
                    plan,
                )
                return LoadedArtifact(plan=plan, runner=runner, cached=cached, load_us=load_us, in_use=threading.Lock())
            runner.close()
            cached.close()
        raise OutputError(f"the cached file of {plan.label} keeps changing while it is loaded")

    def _ensure(self, plan: ArtifactPlan) -> CachedArtifact:
        def build(out: Path) -> None:
            self._deployment.build(plan.artifact, out)

        refusals: list[OutputError] = []
        for cache in self._caches:
            repaired = cache.repaired
            try:
                cached = cache.ensure(plan, build)
            except OutputError as error:
                refusals.append(error)
                continue
            if cache.repaired > repaired:
                self._events.add("repaired", "its cached file was damaged and has been rebuilt", plan)
            if refusals and not self._elsewhere:
                self._events.add("cache", f"{refusals[0].message}; files are kept in {cache.folder}")
            self._elsewhere = bool(refusals)
            return cached
        raise refusals[0]

    def _start(self, plan: ArtifactPlan, path: Path) -> Runner:
        """Load and run once, each when a frame has just ended; the first run of a runtime packs weights."""
        need_s = self.longest_load_us / 2e6
        self._gate.wait_for_gap(need_s)
        runner = self._target.load(path, threads=self._threads)
        try:
            zeros = {tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in plan.inputs}
            self._gate.wait_for_gap(need_s)
            runner.run(zeros)
        except BaseException:
            runner.close()
            raise
        return runner
