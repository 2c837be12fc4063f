"""The one object an app holds: a bundle, a runtime and a controller.

    session.run(x) ─► Reading (clock, last latency, heat, battery) ─► WidthController.step ─► Decision
                         ▲                                                                     │
                         │          pool.pick(decided) ─► Runner.run ─► FrameResult            ▼
                         └── latency, the rung that really ran ◄──┘     pool.want(decided, likely next)

A width that is not ready yet never holds a frame up: the frame runs at a width that is there, and the controller is
told which. Only when nothing at all is loaded (every loaded file was damaged at once) does a frame wait.
"""

from __future__ import annotations

import dataclasses
import threading
import time
import weakref
from collections.abc import Callable
from numbers import Integral, Real
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeslim.core.bundle import SlimBundle
from edgeslim.core.controller import WidthController
from edgeslim.core.ladder import MAX_TIME_US, Ladder
from edgeslim.core.latency import LatencyTable
from edgeslim.core.manifest import TensorInfo
from edgeslim.core.policy import Policy
from edgeslim.core.power_budget import PowerBudget
from edgeslim.core.reading import Decision, Reading
from edgeslim.core.signals import UNKNOWN
from edgeslim.core.width import MAX_PERMILLE, Width
from edgeslim.errors import HostError, PolicyError, UsageError
from edgeslim.runtime.events import EventLog, SessionEvent
from edgeslim.runtime.loading import FrameGate
from edgeslim.runtime.opening import FirstUse, Opened, open_session
from edgeslim.runtime.pool import LoadedWidth
from edgeslim.runtime.prefetch import LEAD_US, likely_next
from edgeslim.runtime.result import FrameResult, SessionCounts
from edgeslim.runtime.signals import Readings
from edgeslim.targets.base import Target

_LOOK_MASK = 3  # of four frames whose decision stays the same, one looks after files and prefetch


def _clock_us() -> int:
    return time.monotonic_ns() // 1000


class SlimSession:
    """Runs a bundle at the width that the moment allows.

    Args:
        bundle: a path, or an open bundle (which stays the caller's).
        target: ``"litert"``, ``"executorch"``, ``"coreml"``; None: the first in the bundle that can run here.
        table: latencies of this bundle on this device (``edgeslim bench``); None: the one measured here before, else
            the session measures one itself (``first_use``).
        policy: a preset's name or a policy; None: the bundle's own, else ``balanced``.
        cache_dir: where rebuilt files are kept; default the user's cache folder.
        budget_ms: time from one frame to the next that it must fit in; settable at any time.
        overhead_us: what the app itself spends per frame on preparing and using it; taken off the deadline.
        max_loaded: widths in memory. 1: no prefetch, and two while switching.
        threads: of the runtime; None: those of the table, else up to 4.
        readings: heat and battery: ``"auto"``, the root of a sysfs tree, a function, or None (signals.py).
        variant: which of several variants of the target (precision, input).
        first_use: measure ``"now"`` (about three seconds) or in the ``"gaps"`` between frames.
        cache_bytes: most that the cache folder may hold.
        on_event: hears every event, on the thread where it happens; must be quick and not call the session.
        clock_us: monotonic microseconds, for simulated time.

    Raises:
        FormatError, UsageError: the bundle, the target or the variant. TableError: no usable row. PolicyError.
        MissingExtraError: the runtime is not installed. HostError: no width of the bundle can be loaded.
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
        variant: str | None = None,
        first_use: FirstUse = "now",
        cache_bytes: int | None = None,
        on_event: Callable[[SessionEvent], None] | None = None,
        clock_us: Callable[[], int] = _clock_us,
    ) -> None:
        if max_loaded < 1:
            raise UsageError(f"max_loaded is {max_loaded}, expected at least 1")
        self.budget_ms = budget_ms
        self.overhead_us = overhead_us
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
            max_loaded=max_loaded, threads=threads, variant=variant, first_use=first_use, cache_bytes=cache_bytes,
            readings=readings, gate=self._gate, events=self._events,
        )  # fmt: skip
        self._pool = self._opened.pool
        self._signals = self._opened.signals
        self._finalizer = weakref.finalize(self, self._opened.close)
        self._observed_us = UNKNOWN
        self._observed_at: Width | None = None
        self._decision: Decision | None = None
        self._ran: LoadedWidth | None = None
        self._closed = False
        self._last_now_us = UNKNOWN
        self._interval_us = int(budget_ms * 1000)
        self._wanted: tuple[Width, ...] = ()
        self._limits: tuple[Width | None, Width | None] = (None, None)
        self._lost: dict[Width, str] = {}
        self._ladder = self._opened.ladder
        self.counts = SessionCounts()
        try:
            self._controller = WidthController(self._ladder, self._opened.policy)
            self._use_limits()
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
        """Free every width, thread and file; closing twice is nothing."""
        with self._frame:
            self._closed = True
            self._ran = None
            self._finalizer()

    @property
    def budget_ms(self) -> float:
        """Time from one frame to the next that it must fit in.

        Raises ``UsageError`` when set to what is no time above 0 and up to a minute.
        """
        return self._budget_ms

    @budget_ms.setter
    def budget_ms(self, value: float) -> None:
        self._budget_ms = _milliseconds(value)

    @property
    def overhead_us(self) -> int:
        """What the app itself spends per frame, taken off the deadline; whole microseconds."""
        return self._overhead_us

    @overhead_us.setter
    def overhead_us(self, value: int) -> None:
        self._overhead_us = _microseconds(value)

    @property
    def closed(self) -> bool:
        return self._closed

    # What one may ask

    @property
    def ladder(self) -> Ladder:
        """The rungs in use now; ``dropped`` says why others are not."""
        return self._controller.ladder

    @property
    def target(self) -> str:
        """The runtime's name."""
        return self._opened.deployment.variant.target

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
    def input(self) -> TensorInfo:
        """Name, shape, dtype and layout that ``run`` takes."""
        return self._opened.deployment.input

    @property
    def loaded(self) -> tuple[Width, ...]:
        """Widths in memory, ready to run."""
        return self._pool.ready

    @property
    def events(self) -> tuple[SessionEvent, ...]:
        """What happened beside frames, oldest first, at most 256."""
        return self._events.all()

    def limit(self, narrowest: Width | None = None, widest: Width | None = None) -> None:
        """The app's own bounds; caps of heat and battery win over ``narrowest``."""
        with self._frame:
            self._limits = (narrowest, widest)
            self._use_limits()

    # Running

    def run(self, x: NDArray[Any], *, overhead_us: int | None = None) -> FrameResult:
        """One frame.

        Args:
            x: as ``input`` says.
            overhead_us: of this frame, instead of the session's.

        Raises:
            UsageError: the session is closed, or ``x`` has another shape or dtype.
            HostError: every width has failed. OutputError: nothing is loaded and no cache can be written.
        """
        with self._frame:
            if self._closed:
                raise UsageError("this session is closed")
            self._check(x)
            if self._opened.refined is not None:
                self._ladder, self._opened.refined = self._opened.refined, None
                self._drop_failed()
            overhead = self._overhead_us if overhead_us is None else _microseconds(overhead_us)
            while True:
                if self._pool.news:
                    self._drop_failed()
                reading = self._reading(overhead)
                decision = self._controller.step(reading)
                loaded = self._ran
                # The very same decision as before, and its width ran: looking around at every fourth frame is enough.
                if (
                    loaded is None
                    or decision is not self._decision
                    or loaded is not self._pool.current
                    or not self.counts.frames & _LOOK_MASK
                ):
                    loaded = self._ready_for(decision, reading.now_us)
                    if loaded is None:
                        continue  # a width failed; the others decide again
                    self._decision = decision
                    self._ran = loaded if loaded.width == decision.width else None
                result = self._run(loaded, x, reading, decision)
                if result is not None:
                    return result

    def _check(self, x: object) -> None:
        """A mistake of the caller must never count against an artifact, so it is found before the runtime is asked."""
        taken = self.input
        if not isinstance(x, np.ndarray):
            raise UsageError(
                f"run takes a numpy array, got {type(x).__name__}", hint=f"{taken.dtype} {list(taken.shape)}"
            )
        if x.shape != taken.shape or x.dtype != taken.dtype:
            raise UsageError(
                f"input {taken.name!r} takes {taken.dtype} {list(taken.shape)} ({taken.layout}), "
                f"got {x.dtype} {list(x.shape)}"
            )

    def _run(self, loaded: LoadedWidth, x: NDArray[Any], reading: Reading, decision: Decision) -> FrameResult | None:
        """None when the runtime failed; its width is then gone."""
        clock_us = self._clock_us
        self._observed_us = UNKNOWN
        self._gate.begin()
        try:
            with loaded.in_use:
                started_us = clock_us()
                output: NDArray[np.float32] = loaded.runner.run(x)
                latency_us = max(clock_us() - started_us, 1)
        except Exception as error:
            self._pool.fail(loaded, f"failed while running: {type(error).__name__}: {error}")
            return None
        finally:
            self._gate.end()
        self._observed_us, self._observed_at = latency_us, loaded.width
        result = FrameResult(
            output=output, width=loaded.width, latency_us=latency_us, reading=reading, decision=decision
        )
        self.counts.add(result)
        return result

    def _reading(self, overhead_us: int) -> Reading:
        now_us = self._clock_us()
        if self._last_now_us >= 0:
            self._interval_us += (now_us - self._last_now_us - self._interval_us) >> 3
        self._last_now_us = now_us
        signals = self._signals.now()
        power_mw = self.power_mw
        if self.power_budget is not None:
            power_mw = self.power_budget.update(now_us, signals.soc)
        return Reading.of(
            signals,
            now_us=now_us,
            deadline_us=int(self.budget_ms * 1000) - overhead_us,
            obs_us=self._observed_us,
            obs_w=self._rung_of.get(self._observed_at, UNKNOWN),
            power_mw=power_mw,
            rate=1_000_000_000 // max(self._interval_us, 1),
            user_cap=self._user_cap,
            user_min=self._user_min,
        )

    def _ready_for(self, decision: Decision, now_us: int) -> LoadedWidth | None:
        """A loaded width for this frame; None when the ladder has changed meanwhile."""
        lead_us = max(LEAD_US, 3 * self._pool.longest_load_us)
        following = likely_next(self._controller, decision, now_us, lead_us=lead_us)
        wanted: tuple[Width, ...] = (decision.width,)
        gaps = self._opened.gaps
        if gaps is not None and (measured := gaps.offer()) is not None:
            wanted = (decision.width, measured)
        elif following is not None:
            wanted = (decision.width, self._controller.ladder.rungs[following].width)
        if wanted != self._wanted:
            self._wanted = wanted
            self._pool.want(*wanted)
        loaded = self._pool.pick(decision.width)
        if loaded is not None:
            return loaded
        if not self._pool.wait() and not self._pool.news:
            raise self._pool.refusal or HostError(f"width {decision.width} cannot be loaded")
        return None if self._pool.news else self._pool.pick(decision.width)

    # Changing the ladder

    def _use_limits(self) -> None:
        widths = self._controller.ladder.widths
        self._rung_of: dict[Width | None, int] = {width: rung for rung, width in enumerate(widths)}
        self._wanted = ()
        narrowest, widest = self._limits
        self._user_min = sum(width < narrowest for width in widths) if narrowest is not None else 0
        self._user_cap = max(sum(width <= widest for width in widths) - 1, 0) if widest is not None else UNKNOWN

    def _drop_failed(self) -> None:
        """A new controller on the rungs that are left; it takes over what the old one had learned."""
        rest = self._ladder
        for width, reason in self._pool.take_failures():
            self._lost[width] = reason
        for width in set(rest.widths) & self._lost.keys():
            if len(rest.rungs) == 1:
                whys = "; ".join(f"{width}: {reason}" for width, reason in sorted(self._lost.items()))
                raise HostError(f"no width of the bundle can be used here ({whys})")
            rest = rest.without(width, self._lost[width])
        self._adopt(rest)

    def _adopt(self, ladder: Ladder) -> None:
        old = self._controller
        self._ladder = ladder
        try:
            self._controller = WidthController(ladder, old.policy, heir_of=old)
        except PolicyError:  # its widths are gone: another width is better than none
            anything = dataclasses.replace(old.policy, min_permille=0, max_permille=MAX_PERMILLE)
            self._controller = WidthController(ladder, anything, heir_of=old)
        self._use_limits()

    def _warm_first(self) -> None:
        """Load what the first frame will most likely run at, so that it does not wait."""
        guess = WidthController(self.ladder, self.policy).step(self._reading(self.overhead_us))
        self._last_now_us = UNKNOWN
        while self._pool.bring(guess.width) is None:
            if not self._pool.news:
                if self._pool.refusal is not None:
                    raise self._pool.refusal
                return
            self._drop_failed()
            guess = WidthController(self.ladder, self.policy).step(self._reading(self.overhead_us))


def _milliseconds(value: float) -> float:
    if not isinstance(value, Real) or not 0 < value <= MAX_TIME_US / 1000:
        raise UsageError(f"a budget of {value} ms is no time", hint="budget_ms=1000 / 30 for 30 frames per second")
    return float(value)


def _microseconds(value: int) -> int:
    if not isinstance(value, Integral) or not 0 <= value <= MAX_TIME_US:
        raise UsageError(f"an overhead of {value} µs is no time", hint="whole microseconds from 0 on")
    return int(value)
