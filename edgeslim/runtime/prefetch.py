"""Which width will be wanted next, from the controller's own state.

Narrowing is urgent and comes without warning, so the next narrower rung is kept ready; only when a widening is
near (its dwell is filling and no gate stays closed for longer than a load takes) the next wider one is fetched instead.
"""

from __future__ import annotations

from edgeslim.core.controller import WidthController
from edgeslim.core.reading import Decision

LEAD_US = 1_000_000
_SIGNS = 4  # frames in a row in which the wider rung would fit; of 15 that the controller waits for


def likely_next(controller: WidthController, decision: Decision, now_us: int, *, lead_us: int = LEAD_US) -> int | None:
    """The rung to have ready beside ``decision.rung``; None on a ladder of one."""
    rung, state, policy = decision.rung, controller.state, controller.policy
    top = len(controller.ladder.rungs) - 1
    if rung < decision.cap and state.up_run >= min(_SIGNS, policy.dwell_frames):
        dwell = policy.dwell_us if state.level == 0 else max(policy.dwell_us, policy.dwell_warm_us)
        opens_us = max(state.last_switch + dwell, state.latency_hold, state.thermal_hold)
        if opens_us - now_us <= lead_us:
            return rung + 1
    if rung > 0:
        return rung - 1
    return 1 if top > 0 else None
