"""Which width is fetched ahead."""

from __future__ import annotations

from typing import Any

import pytest

from edgeslim.core.controller import WidthController
from edgeslim.core.ladder import Ladder, Rung
from edgeslim.core.reading import Decision, Reading
from edgeslim.runtime.prefetch import likely_next

FRAME_US = 40_000


def controller(rungs: int = 4) -> WidthController:
    times = (6_000, 12_000, 20_000, 30_000)[:rungs]
    return WidthController(
        Ladder(
            rungs=tuple(
                Rung(artifact=f"t/{i}", t_us=t, energy_uj=2 * t, worth=i, label=f"r{i}") for i, t in enumerate(times)
            )
        )
    )


class Frames:
    """The controller over frames that run as the ladder says, times ``slowdown``."""

    def __init__(self, of: WidthController) -> None:
        self.of, self.now_us, self.slowdown, self.status = of, 1_000_000, 1.0, -1
        self.decision: Decision = self.step()

    def step(self, **facts: Any) -> Decision:
        self.decision = self.of.step(Reading(now_us=self.now_us, deadline_us=FRAME_US, status=self.status, **facts))
        return self.decision

    def run(self, count: int) -> None:
        for _ in range(count):
            self.now_us += FRAME_US
            rung = self.decision.rung
            self.step(observed_us=int(self.of.ladder.rungs[rung].t_us * self.slowdown), observed_rung=rung)

    def next(self) -> int | None:
        return likely_next(self.of, self.decision, self.now_us)


def test_a_ladder_of_one_needs_nothing() -> None:
    assert Frames(controller(1)).next() is None


def test_before_a_widening_the_wider_one() -> None:
    frames = Frames(controller())
    assert (frames.decision.rung, frames.next()) == (2, 1)
    seen = []
    while frames.decision.rung == 2:
        seen.append(frames.next())
        frames.run(1)
    assert seen[-10:] == [3] * 10, "ready at least ten frames before it is needed"


def test_at_the_top_the_narrower_one_and_at_the_bottom_the_wider_one() -> None:
    frames = Frames(controller())
    frames.run(100)
    assert (frames.decision.rung, frames.next()) == (3, 2)
    frames.status = 4
    frames.run(2)
    assert (frames.decision.rung, frames.next()) == (0, 1)


@pytest.mark.parametrize(("status", "rung"), [(2, 2), (3, 1)])
def test_below_a_cap_never_the_width_above_it(status: int, rung: int) -> None:
    frames = Frames(controller())
    frames.status = status
    frames.run(300)
    assert (frames.decision.rung, frames.next()) == (rung, rung - 1)


def test_while_a_long_hold_lasts_the_narrower_one() -> None:
    frames = Frames(controller())
    frames.run(100)
    frames.status = 2
    frames.run(2)
    frames.status = 0
    while frames.decision.level > 0:
        frames.run(1)
    frames.run(20)
    assert frames.decision.codes == ("hold",)
    assert frames.next() == frames.decision.rung - 1
    opens_us = frames.of.state.thermal_hold
    while frames.now_us < opens_us - 500_000:
        frames.run(1)
    assert frames.next() == frames.decision.rung + 1
