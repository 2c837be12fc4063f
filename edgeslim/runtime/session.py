"""The one object an app holds: a bundle, a runtime and a controller.

    session.run(x) ─► Reading (clock, last latency, heat, battery) ─► WidthController.step ─► Decision
                         ▲                                                                     │
                         │      pool.pick(decided) ─► fill ─► Runner.run ─► FrameResult        ▼
                         └── latency, the rung that really ran ◄──┘     pool.want(decided, likely next)

An artifact that is not ready yet never holds a frame up: the frame runs at one that is there, and the controller is
told which. Only when nothing at all is loaded (every loaded file was damaged at once) does a frame wait.
docs/session-states.md has the session's states and events.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from edgeslim.core.bundle import SlimBundle
from edgeslim.core.controller import WidthController
from edgeslim.core.ladder import Ladder
from edgeslim.core.latency import LatencyTable
from edgeslim.core.manifest import TensorInfo
from edgeslim.core.policy import Policy
from edgeslim.core.power_budget import PowerBudget
from edgeslim.core.reading import Decision, Reading
from edgeslim.core.reasons import Reason
from edgeslim.core.signals import UNKNOWN
from edgeslim.errors import HostError, UsageError
from edgeslim.runtime.budget import Budget, monotonic_us
from edgeslim.runtime.deployment import ArtifactPlan
from edgeslim.runtime.events import EventLog, SessionEvent
from edgeslim.runtime.inputs import Arrays, Fill, Given, named_inputs
from edgeslim.runtime.limits import user_cap, user_min
from edgeslim.runtime.loading import FrameGate
from edgeslim.runtime.opening import FirstUse, Opened, open_session
from edgeslim.runtime.pool import LoadedArtifact
from edgeslim.runtime.prefetch import LEAD_US, likely_next
from edgeslim.runtime.result import FrameResult, SessionCounts
from edgeslim.runtime.signals import Readings
from edgeslim.targets.base import Target

_LOOK_MASK = 3  # of four frames whose decision stays the same, one looks after files and prefetch


class SlimSession:
    """Runs a bundle at the width that the moment allows.

    Args:
        bundle: a path, or an open bundle (which stays the caller's).
        target: ``"litert"``, ``"executorch"``, ``"coreml"``, ``"coreai"``; None: of those in the bundle that run
            here, the one with the highest ``TargetInfo.preference``.
        table: latencies of this bundle on this device (``edgeslim bench``); None: the one measured here before, else
            the session measures one itself (``first_use``).
        policy: a preset's name or a policy; None: the bundle's own, else ``balanced``.
        cache_dir: where rebuilt files are kept, in a folder of their own; default the user's cache folder.
        budget_ms: time from one frame to the next that it must fit in; settable at any time.
        overhead_us: what the app itself spends per frame on preparing and using it; taken off the deadline.
        max_loaded: artifacts in memory. 1: no prefetch, and two while switching.
        threads: of the runtime; None: those of the table, else up to 4.
        readings: heat and battery: ``"auto"``, the root of a sysfs tree, a function, or None (signals.py).
        variants: which of the target's variants (precision, input) may be used: names or ids; None: all.
        first_use: measure ``"now"`` (about three seconds) or in the ``"gaps"`` between frames.
        cache_bytes: most that the cache folder may hold.
        on_event: hears every event, on the thread where it happens; must be quick and not call the session.
        clock_us: monotonic microseconds, for simulated time.

    Raises:
        FormatError, UsageError: the bundle, the target or a variant. TableError: no usable row. PolicyError.
        MissingExtraError: the runtime is not installed. HostError: no artifact of the bundle can be loaded.
        OutputError: no cache folder can be written, and nothing is in one.
    """

    def __init__(
        self,
        bundle: SlimBundle | str | Path,
        target: str | Target | None = None,
        table: LatencyTable | str | Path | None = None,
        policy: Policy | str | None = None,
        cache_dir: str | Path | None = None,
        *,
        budget_ms: float = 1000 / 30,
        overhead_us: int = 0,
        max_loaded: int = 2,
        threads: int | None = None,
        readings: Readings = "auto",
        variants: Sequence[str] | None = None,
        first_use: FirstUse = "now",
        cache_bytes: int | None = None,
        on_event: Callable[[SessionEvent], None] | None = None,
        clock_us: Callable[[], int] = monotonic_us,
    ) -> None:
        if max_loaded < 1:
            raise UsageError(f"max_loaded is {max_loaded}, expected at least 1")
        self._budget = Budget(budget_ms, overhead_us)
        self.power_mw = UNKNOWN
        """What inference may draw on average, or -1."""
        self.power_budget: PowerBudget | None = None
        """Sets ``power_mw`` before every frame so that the battery lasts."""
        self._events = EventLog(on_event)
        self._gate = FrameGate()
        self._clock_us = clock_us
        self._frame = threading.Lock()
        self._opened: Opened = open_session(
            bundle, target, table, policy, cache_dir,
            max_loaded=max_loaded, threads=threads, variants=variants, first_use=first_use, cache_bytes=cache_bytes,
            readings=readings, gate=self._gate, events=self._events,
        )  # fmt: skip
        self._pool = self._opened.pool
        self._plans = self._opened.deployment.plans
        self._shared_inputs = self._opened.deployment.inputs
        self._signals = self._opened.signals
        self._finalizer = weakref.finalize(self, self._opened.close)
        self._observed_us = UNKNOWN
        self._observed_at: str | None = None
        self._looked: tuple[int, int, int] | None = None
        self._ran: LoadedArtifact | None = None
        self._closed = False
        self._wanted: tuple[str, ...] = ()
        self._limits: tuple[ArtifactPlan | None, ...] = (None, None)
        self._lost: dict[str, str] = {}
        self._ladder = self._opened.ladder
        self.counts = SessionCounts()
        try:
            self._controller = WidthController(self._ladder, self._opened.policy)
            self._use_rungs()
            self._warm_first()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> SlimSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free every artifact, thread and file; closing twice is nothing."""
        with self._frame:
            self._closed = True
            self._ran = None
            self._finalizer()

    # What one may ask and set

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def budget_ms(self) -> float:
        """Time from one frame to the next that it must fit in. ``UsageError`` when set to what is no time."""
        return self._budget.budget_ms

    @budget_ms.setter
    def budget_ms(self, value: float) -> None:
        self._budget.budget_ms = value

    @property
    def overhead_us(self) -> int:
        """What the app itself spends per frame. ``UsageError`` when set to what is no time."""
        return self._budget.overhead_us

    @overhead_us.setter
    def overhead_us(self, value: int) -> None:
        self._budget.overhead_us = value

    @property
    def ladder(self) -> Ladder:
        """The rungs in use now; ``dropped`` says why others are not."""
        return self._controller.ladder

    @property
    def target(self) -> str:
        """The runtime's name."""
        return self._opened.deployment.target

    @property
    def policy(self) -> Policy:
        return self._controller.policy

    @property
    def table(self) -> LatencyTable:
        """What the ladder stands on."""
        return self._opened.table

    @property
    def table_path(self) -> Path | None:
        """Where that table lies; None where it was given as a value or is not complete yet."""
        path = self._opened.table_path
        return path if path is not None and path.is_file() else None

    @property
    def bundle(self) -> SlimBundle:
        return self._opened.deployment.bundle

    @property
    def artifacts(self) -> tuple[ArtifactPlan, ...]:
        """What the session may run, from narrow to wide: ids, labels, inputs and outputs."""
        return tuple(self._plans.values())

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """Name, shape, dtype and layout of what ``run`` takes.

        Raises:
            UsageError: it differs between the artifacts; each of ``artifacts`` says its own.
        """
        if self._shared_inputs is None:
            sizes = ", ".join(dict.fromkeys(str(list(plan.inputs[0].shape)) for plan in self._plans.values()))
            raise UsageError(
                f"the inputs of this session's artifacts differ: {sizes}",
                hint="run(lambda artifact: …) is told which one runs; or choose one of the variants",
            )
        return self._shared_inputs

    @property
    def loaded(self) -> tuple[str, ...]:
        """Ids of the artifacts in memory, ready to run, from narrow to wide."""
        ready = self._pool.ready
        return tuple(artifact for artifact in self._plans if artifact in ready)

    @property
    def events(self) -> tuple[SessionEvent, ...]:
        """What happened beside frames, oldest first, at most 256."""
        return self._events.all()

    def limit(self, narrowest: str | None = None, widest: str | None = None) -> None:
        """The app's own bounds, by id or label; caps of heat and battery win over ``narrowest``.

        Raises:
            UsageError: no such artifact.
        """
        named = self._opened.deployment.named
        with self._frame:
            self._limits = tuple(None if name is None else named(name) for name in (narrowest, widest))
            self._use_rungs()

    # Running

    def run(self, x: Given | Fill, *, overhead_us: int | None = None) -> FrameResult:
        """One frame.

        Args:
            x: an array, or arrays by name, as ``inputs`` says. Or a function: it is told which artifact runs (its
                ``inputs`` may differ from the others') and returns either; the time it takes is measured, and taken off
                the deadlines that follow.
            overhead_us: of this frame, instead of the session's.

        Raises:
            UsageError: the session is closed, or an array is missing or has another shape or dtype.
            HostError: every artifact has failed. OutputError: nothing is loaded and no cache can be written.
        """
        with self._frame:
            if self._closed:
                raise UsageError("this session is closed")
            inputs = None if callable(x) else named_inputs(x, self.inputs)
            if self._opened.refined is not None:
                self._ladder, self._opened.refined = self._opened.refined, None
                self._drop_failed()
            overhead = self._budget.overhead(overhead_us)
            while True:
                if self._pool.news:
                    self._drop_failed()
                reading = self._reading(overhead)
                decision = self._controller.step(reading)
                loaded = self._loaded_for(decision, reading.now_us)
                if loaded is None:
                    continue  # an artifact failed; the others decide again
                fill_us = 0
                if callable(x):
                    started_us = self._clock_us()
                    inputs = named_inputs(x(loaded.plan), loaded.plan.inputs)
                    fill_us = self._clock_us() - started_us
                    self._budget.filled(fill_us)
                assert inputs is not None
                result = self._run(loaded, inputs, fill_us, reading, decision)
                if result is not None:
                    return result

    def _loaded_for(self, decision: Decision, now_us: int) -> LoadedArtifact | None:
        """What to run; None when the ladder has changed meanwhile.

        While the decided rung, its cap and what the pool holds stay the same and the decided artifact runs, looking
        around at every fourth frame is enough.
        """
        loaded = self._ran
        looked = (decision.rung, decision.cap, self._pool.changes)
        if loaded is None or looked != self._looked or not self.counts.frames & _LOOK_MASK:
            if (loaded := self._ready_for(decision, now_us)) is None:
                return None
            self._looked = (decision.rung, decision.cap, self._pool.changes)
            self._ran = loaded if loaded.plan.artifact == decision.artifact else None
        return loaded

    def _run(
        self, loaded: LoadedArtifact, inputs: Arrays, fill_us: int, reading: Reading, decision: Decision
    ) -> FrameResult | None:
        """None when the runtime failed; its artifact is then gone."""
        clock_us, plan = self._clock_us, loaded.plan
        self._observed_us = UNKNOWN
        self._gate.begin()
        try:
            with loaded.in_use:
                started_us = clock_us()
                outputs = loaded.run(inputs)
                latency_us = max(clock_us() - started_us, 1)
        except Exception as error:
            self._ran = None
            self._pool.fail(loaded, f"failed while running: {type(error).__name__}: {error}")
            return None
        finally:
            self._gate.end()
        self._observed_us, self._observed_at = latency_us, plan.artifact
        result = FrameResult(
            outputs=outputs, artifact=plan.artifact, label=plan.label, latency_us=latency_us, fill_us=fill_us,
            reading=reading, decision=decision,
        )  # fmt: skip
        self.counts.add(result)
        return result

    def _reading(self, overhead_us: int) -> Reading:
        now_us = self._clock_us()
        signals = self._signals.now()
        budget = self.power_budget
        power_mw = self.power_mw if budget is None else budget.update(now_us, signals.battery_permille)
        return Reading.of(
            signals,
            now_us=now_us,
            deadline_us=self._budget.deadline_us(overhead_us),
            observed_us=self._observed_us,
            observed_rung=self._rung_of.get(self._observed_at, UNKNOWN),
            power_mw=power_mw,
            inferences_per_ks=self._budget.inferences_per_ks(now_us),
            user_cap=self._user_cap,
            user_min=self._user_min,
        )

    def _ready_for(self, decision: Decision, now_us: int) -> LoadedArtifact | None:
        """A loaded artifact for this frame; None when the ladder has changed meanwhile."""
        lead_us = max(LEAD_US, 3 * self._pool.longest_load_us)
        following = likely_next(self._controller, decision, now_us, lead_us=lead_us)
        wanted: tuple[str, ...] = (decision.artifact,)
        gaps = self._opened.gaps
        if gaps is not None and (measured := gaps.offer()) is not None:
            wanted = (decision.artifact, measured)
        elif following is not None:
            wanted = (decision.artifact, self._controller.ladder.rungs[following].artifact)
        # Picked first: making room for what is wanted must not drop what this frame falls back to.
        loaded = self._pool.pick(decision.artifact)
        if wanted != self._wanted:
            self._wanted = wanted
            self._pool.want(*wanted)
        if loaded is not None:
            return loaded
        if not self._pool.wait() and not self._pool.news:
            raise self._pool.refusal or HostError(f"{decision.label} cannot be loaded")
        return None if self._pool.news else self._pool.pick(decision.artifact)

    # Changing the ladder

    def _use_rungs(self) -> None:
        """After the ladder or the app's bounds have changed."""
        artifacts = self._controller.ladder.artifacts
        self._pool.rank(artifacts)
        self._rung_of: dict[str | None, int] = {artifact: rung for rung, artifact in enumerate(artifacts)}
        self._looked = None
        self._wanted = ()
        low, high = self._limits
        self._user_min = user_min(low, artifacts, self._plans)
        self._user_cap = user_cap(high, artifacts, self._plans)

    def _drop_failed(self) -> None:
        """A new controller on the rungs that are left; it takes over what the old one had learned."""
        rest, old = self._ladder, self._controller
        self._lost |= dict(self._pool.take_failures())
        for artifact in [name for name in rest.artifacts if name in self._lost]:
            if len(rest.rungs) == 1:
                whys = "; ".join(f"{self._plans[name].label}: {why}" for name, why in sorted(self._lost.items()))
                raise HostError(f"no artifact of the bundle can be used here ({whys})")
            rest = rest.without(artifact, Reason.of("not_loaded", why=self._lost[artifact]))
        self._ladder = rest
        self._controller = WidthController(rest, old.policy, heir_of=old)
        self._use_rungs()

    def _warm_first(self) -> None:
        """Load what the first frame will most likely run at, so that it does not wait."""
        guess = WidthController(self.ladder, self.policy).step(self._reading(self.overhead_us))
        while self._pool.bring(guess.artifact) is None:
            if not self._pool.news:
                if self._pool.refusal is not None:
                    raise self._pool.refusal
                break
            self._drop_failed()
            guess = WidthController(self.ladder, self.policy).step(self._reading(self.overhead_us))
        self._budget.begin()
