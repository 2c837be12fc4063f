"""Recorded frames, put to any policy.

    log of `edgeslim run` ─► slowdown of every frame = latency / table of the artifact that ran
                                    └─► what another rung would have taken = slowdown x its table entry

Heat and battery stay as they were recorded: a replay does not know how much cooler another policy would have kept the
device. The same policy on the same readings must decide the same; ``repeats`` counts.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from edgeslim.core.controller import WidthController
from edgeslim.core.ladder import Ladder
from edgeslim.core.policy import Policy
from edgeslim.core.reading import Reading
from edgeslim.core.signals import UNKNOWN
from edgeslim.core.strict_json import MAX_TEXT_BYTES, StrictJsonError, decode, parse
from edgeslim.errors import UsageError
from edgeslim.files import read_file
from edgeslim.simulation.policies import Chooser, Oracle
from edgeslim.simulation.simulation import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedDecision:
    """What the controller answered; ``reasons`` by their codes."""

    rung: int
    artifact: str
    skip: int
    reasons: tuple[str, ...]
    level: int
    cap: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedFrame:
    """One line of a log: what was told, what was decided, which artifact ran and for how long."""

    reading: Reading
    decision: LoggedDecision
    artifact: str
    latency_us: int


def read_log(path: Path) -> tuple[LoggedFrame, ...]:
    """Every frame of a log.

    Raises:
        UsageError: unreadable, empty, or a line that is no frame (with its number).
    """
    try:
        lines = read_file(path, most_bytes=MAX_TEXT_BYTES).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(
            f"cannot read the log {path}: {reason}", hint="edgeslim run BUNDLE --log FILE writes one"
        ) from None
    frames = []
    for number, line in enumerate(lines, 1):
        try:
            frame = decode(LoggedFrame, parse(line))
        except StrictJsonError as error:
            raise UsageError(
                f"{path}, line {number}: {error}", hint="`edgeslim run --log` writes such a file"
            ) from None
        if frame.latency_us < 1:
            raise UsageError(f"{path}, line {number}: latency_us is {frame.latency_us}, expected at least 1")
        frames.append(frame)
    if not frames:
        raise UsageError(f"the log {path} has no frame")
    return tuple(frames)


def replay(chooser: Chooser, ladder: Ladder, frames: tuple[LoggedFrame, ...]) -> Run:
    """The run that ``chooser`` would have had.

    Raises:
        UsageError: a frame ran what is no rung of ``ladder``.
    """
    t = {rung.artifact: rung.t_us for rung in ladder.rungs}
    missing = sorted({frame.artifact for frame in frames} - t.keys())
    if missing:
        raise UsageError(
            f"the log ran {missing[0]}, which is no rung of this table",
            hint="replay with the table that the session used",
        )
    span_us = frames[-1].reading.now_us - frames[0].reading.now_us
    period_us = span_us / (len(frames) - 1) if len(frames) > 1 else frames[0].reading.deadline_us
    run = Run.empty(chooser.name, ladder, max(span_us + period_us, 1.0) / 60e6)
    observed_us = observed_rung = UNKNOWN
    skipping = 0
    for frame in frames:
        told = frame.reading
        rung, latency_us, energy_mj = UNKNOWN, 0, 0.0
        if skipping > 0:
            skipping -= 1
        else:
            slowdown = frame.latency_us / t[frame.artifact]
            if isinstance(chooser, Oracle):
                chooser.slowdown = slowdown
            rung, skip = chooser.choose(dataclasses.replace(told, observed_us=observed_us, observed_rung=observed_rung))
            latency_us = int(ladder.rungs[rung].t_us * slowdown + 0.5)
            energy_mj = ladder.rungs[rung].energy_uj / 1000
            observed_us, observed_rung, skipping = latency_us, rung, skip - 1
        run.now_us.append(told.now_us)
        run.deadline_us.append(told.deadline_us)
        run.rung.append(rung)
        run.latency_us.append(latency_us)
        run.energy_mj.append(energy_mj)
        run.charge.append(told.battery_permille / 1000 if told.battery_permille >= 0 else float("nan"))
    return run


def repeats(policy: Policy, ladder: Ladder, frames: tuple[LoggedFrame, ...]) -> int:
    """How many recorded decisions ``policy`` repeats exactly, given exactly the recorded readings."""
    controller = WidthController(ladder, policy)
    same = 0
    for frame in frames:
        answer, was = controller.step(frame.reading), frame.decision
        same += (answer.artifact, answer.skip, answer.codes) == (was.artifact, was.skip, was.reasons)
    return same
