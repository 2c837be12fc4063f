"""What decides the rung in a simulation: ours, the ones people write, and one that knows too much.

    widest · narrowest · static:LABEL · naive · threshold · indexer          what others do
    balanced · battery_saver · quality · fixed (core/policy.py)            this controller
    oracle                                                               knows clock and contention, not the noise

Every chooser sees a ``Reading``; only the oracle is told the slowdown of the frame.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Protocol

from edgeslim.core.controller import WidthController
from edgeslim.core.ladder import Ladder
from edgeslim.core.policy import PRESETS, Policy
from edgeslim.core.reading import Reading
from edgeslim.core.signals import UNKNOWN
from edgeslim.errors import UsageError, did_you_mean


class Chooser(Protocol):
    """Picks a rung for the next frame, and runs one frame of ``skip``."""

    name: str

    def choose(self, reading: Reading) -> tuple[int, int]: ...


class Static:
    """Always the same rung."""

    def __init__(self, name: str, rung: int) -> None:
        self.name, self._answer = name, (rung, 1)

    def choose(self, reading: Reading) -> tuple[int, int]:
        return self._answer


class Naive:
    """The widest width that would have met the deadline in the last frame: no memory, no margin."""

    name = "naive"

    def __init__(self, ladder: Ladder) -> None:
        self._t = [rung.t_us for rung in ladder.rungs]

    def choose(self, reading: Reading) -> tuple[int, int]:
        t = self._t
        if reading.observed_us < 0:
            return len(t) - 1, 1
        rung = len(t) - 1
        while rung > 0 and t[rung] * reading.observed_us > reading.deadline_us * t[reading.observed_rung]:
            rung -= 1
        return rung, 1


class Threshold:
    """Dynamic-OFA's loop (Lou et al., 2021): a miss goes one down, ``patience`` frames with room to spare go one up."""

    name = "threshold"

    def __init__(self, ladder: Ladder, *, room: float = 0.85, patience: int = 30) -> None:
        self._t = [rung.t_us for rung in ladder.rungs]
        self._room, self._patience = room, patience
        self._rung = len(self._t) - 1
        self._calm = 0

    def choose(self, reading: Reading) -> tuple[int, int]:
        t, top = self._t, len(self._t) - 1
        if reading.observed_us > reading.deadline_us:
            self._rung, self._calm = max(self._rung - 1, 0), 0
        elif reading.observed_us >= 0 and self._rung < top:
            predicted = reading.observed_us * t[self._rung + 1] / t[reading.observed_rung]
            self._calm = self._calm + 1 if predicted < self._room * reading.deadline_us else 0
            if self._calm >= self._patience:
                self._rung, self._calm = self._rung + 1, 0
        return self._rung, 1


class Indexer:
    """In the manner of Unity's Adaptive Performance: quality steps at fixed intervals, heat first, then frame time.

    Throttling imminent (headroom 0.85) or a mean frame over the deadline: one step down, two when throttling (1.0);
    otherwise one step up after a longer while in which the mean frame had room for it.
    """

    name = "indexer"

    def __init__(self, ladder: Ladder, *, down_us: int = 2_000_000, up_us: int = 4_000_000) -> None:
        self._t = [rung.t_us for rung in ladder.rungs]
        self._down_us, self._up_us = down_us, up_us
        self._rung = len(self._t) - 1
        self._changed_us = 0
        self._sum, self._count = 0, 0

    def choose(self, reading: Reading) -> tuple[int, int]:
        if reading.observed_us >= 0:
            self._sum += reading.observed_us
            self._count += 1
        waited = reading.now_us - self._changed_us
        if waited >= self._down_us and self._count:
            self._consider(reading, waited)
        return self._rung, 1

    def _consider(self, reading: Reading, waited: int) -> None:
        mean = self._sum / self._count
        top = len(self._t) - 1
        step = 0
        if reading.headroom_milli >= 1000:
            step = -2
        elif reading.headroom_milli >= 850 or mean > reading.deadline_us:
            step = -1
        elif waited >= self._up_us and self._rung < top:
            step = int(mean * self._t[self._rung + 1] / self._t[self._rung] <= reading.deadline_us)
        if step or waited >= self._up_us:
            self._changed_us, self._sum, self._count = reading.now_us, 0, 0
        self._rung = min(max(self._rung + step, 0), top)


class Controlled:
    """This project's controller with one of its policies."""

    def __init__(self, ladder: Ladder, policy: Policy, *, name: str | None = None) -> None:
        self.controller = WidthController(ladder, policy)
        self.name = name or policy.name
        self._offset = ladder.index(self.controller.ladder.rungs[0].artifact)

    def choose(self, reading: Reading) -> tuple[int, int]:
        if self._offset:  # a policy may use only the upper rungs
            reading = dataclasses.replace(reading, observed_rung=max(reading.observed_rung - self._offset, UNKNOWN))
        decision = self.controller.step(reading)
        return decision.rung + self._offset, decision.skip


class Oracle:
    """Knows the frame's true slowdown but not its noise: the widest rung up to ``cap`` that fits with ``margin``."""

    name = "oracle"
    slowdown = 1.0

    def __init__(self, ladder: Ladder, *, cap: int, margin: float) -> None:
        self._t = [rung.t_us * margin for rung in ladder.rungs]
        self._cap = cap

    def choose(self, reading: Reading) -> tuple[int, int]:
        limit = reading.deadline_us / self.slowdown
        rung = self._cap
        while rung > 0 and self._t[rung] > limit:
            rung -= 1
        return rung, 1


STATIC = "static:"
ORACLE = Oracle.name


def names(ladder: Ladder) -> tuple[str, ...]:
    """Every policy there is to compare on this ladder, the oracle last."""
    statics = tuple(f"{STATIC}{label}" for label in ladder.labels[1:-1])
    presets = tuple(name for name in PRESETS if name != "fixed")  # on a full ladder the same as "widest"
    return ("widest", "narrowest", *statics, "naive", "threshold", "indexer", *presets, ORACLE)


def chooser(name: str, ladder: Ladder) -> Chooser:
    """A fresh policy of that name: one of ``names``, a preset, or the path of a policy's JSON file.

    Raises:
        UsageError: no such policy, or no such rung. PolicyError: the file breaks a rule.
    """
    if name == "widest":
        return Static(name, len(ladder.rungs) - 1)
    if name == "narrowest":
        return Static(name, 0)
    if name.startswith(STATIC):
        return Static(name, _rung(ladder, name.removeprefix(STATIC)))
    if name == "naive":
        return Naive(ladder)
    if name == "threshold":
        return Threshold(ladder)
    if name == "indexer":
        return Indexer(ladder)
    if name in PRESETS:
        return Controlled(ladder, PRESETS[name])
    if name.endswith(".json"):
        return Controlled(ladder, Policy.read(Path(name)), name=Path(name).stem)
    known = [*names(ladder), "fixed"]
    hint = did_you_mean(name, known) or f"policies are {', '.join(known)}, or a policy's JSON file"
    raise UsageError(f"there is no policy {name!r}", hint=hint)


def _rung(ladder: Ladder, name: str) -> int:
    """By label (the x of a width may be left out), or by artifact id."""
    for names, text in ((ladder.labels, name), (ladder.labels, f"{name}x"), (ladder.artifacts, name)):
        if text in names:
            return names.index(text)
    raise UsageError(f"there is no rung {name!r}", hint=f"rungs are {', '.join(ladder.labels)}")
