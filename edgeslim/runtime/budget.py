"""How much time a frame has: the budget, less what the app spends, less what filling the input has taken lately."""

from __future__ import annotations

import operator
import time
from typing import SupportsFloat, SupportsIndex

from edgeslim.core.ladder import MAX_TIME_US
from edgeslim.core.signals import UNKNOWN
from edgeslim.errors import UsageError


def monotonic_us() -> int:
    """The clock of a session."""
    return time.monotonic_ns() // 1000


class Budget:
    """Times as the app sets them, and the pace of its frames.

    Raises:
        UsageError: what is no time, here and wherever one is set.
    """

    def __init__(self, budget_ms: object, overhead_us: object) -> None:
        self._budget_ms = milliseconds(budget_ms)
        self._overhead_us = microseconds(overhead_us)
        self._fill_us = 0
        self._last_now_us = UNKNOWN
        self._interval_us = int(self._budget_ms * 1000)

    @property
    def budget_ms(self) -> float:
        return self._budget_ms

    @budget_ms.setter
    def budget_ms(self, value: float) -> None:
        self._budget_ms = milliseconds(value)

    @property
    def overhead_us(self) -> int:
        return self._overhead_us

    @overhead_us.setter
    def overhead_us(self, value: int) -> None:
        self._overhead_us = microseconds(value)

    def overhead(self, of_this_frame: int | None) -> int:
        """What the app spends: as it says for this frame, else for all."""
        return self._overhead_us if of_this_frame is None else microseconds(of_this_frame)

    def filled(self, us: int) -> None:
        """The input of a frame took ``us``: a longer time counts at once, a shorter one by an eighth."""
        self._fill_us = max(us, self._fill_us + ((us - self._fill_us) >> 3))

    def deadline_us(self, overhead_us: int) -> int:
        return int(self._budget_ms * 1000) - overhead_us - self._fill_us

    def begin(self) -> None:
        """No frame has been yet."""
        self._last_now_us = UNKNOWN

    def inferences_per_ks(self, now_us: int) -> int:
        """The pace of frames, smoothed; called once for each."""
        if self._last_now_us >= 0:
            self._interval_us += (now_us - self._last_now_us - self._interval_us) >> 3
        self._last_now_us = now_us
        return 1_000_000_000 // max(self._interval_us, 1)


def milliseconds(value: object) -> float:
    """A budget; above 0 and up to a minute."""
    if not isinstance(value, SupportsFloat) or not 0 < float(value) <= MAX_TIME_US / 1000:
        raise UsageError(f"a budget of {value} ms is no time", hint="budget_ms=1000 / 30 for 30 frames per second")
    return float(value)


def microseconds(value: object) -> int:
    """What an app spends; from 0 up to a minute."""
    if not isinstance(value, SupportsIndex) or not 0 <= operator.index(value) <= MAX_TIME_US:
        raise UsageError(f"an overhead of {value} µs is no time", hint="whole microseconds from 0 on")
    return operator.index(value)
