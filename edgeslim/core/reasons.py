"""Why something was decided: a code with parameters; people get a sentence made from it.

    controller ─► Decision.reasons ─┐
    ladder     ─► dropped, notes   ─┴─► Reason(code, params) ─► sentence(reason)      (phones: string resources by code)

Codes are words with underscores, as resource names need; parameters are whole numbers and texts, never floats.
``tests/golden/controller/reasons.jsonl`` and ``tests/golden/ladder`` hold every code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason; ``params`` are what its sentence needs. Compared by content."""

    code: str
    params: Mapping[str, int | str] = field(default_factory=dict)

    @classmethod
    def of(cls, code: str, **params: int | str) -> Reason:
        return cls(code, params)

    def document(self) -> dict[str, Any]:
        """``{"code": …, "params": {…}}``."""
        return {"code": self.code, "params": dict(self.params)}


def sentence(reason: Reason) -> str:
    """English, without a full stop. A code that this version does not know is shown as it is."""
    text = SENTENCES.get(reason.code)
    return reason.code if text is None else text.format_map(reason.params)


SENTENCES = {
    # what a decision does
    "starts": "starts at {to}",
    "narrows": "narrowed to {to}",
    "widens": "widened to {to}",
    "stays": "stays at {to}",
    "skips": "runs one frame of {every}",
    # why: Decision.reasons, in the order of their bits (reading.py)
    "latency": "the wider net would miss the deadline",
    "panic": "two misses in a row, the estimate was wrong",
    "thermal": "thermal level {level} caps at {cap}",
    "forecast": "the heat forecast caps at {cap}",
    "battery": "the battery caps at {cap}",
    "low_power": "low-power mode caps at {cap}",
    "power_budget": "the power budget caps at {cap}",
    "user": "the app caps at {cap}",
    "hold": "a wider net would fit but waits",
    "infeasible": "no rung meets the deadline",
    "widened": "a wider net fits",
    # why an artifact is no rung
    "not_measured": "not measured: {why}",
    "not_valid": "not valid: {why}",
    "no_worth": "its {metric} is unknown, others have one",
    "beaten": "{by} is no slower and worth no less",
    "too_close": "{percent} % of the time of {to}: too close, and the others are worth more for their time",
    "adds_little": "slower than {to}, and worth hardly more",
    "not_loaded": "{why}",
    # what a ladder stands on
    "all_doubtful": "no row calls itself valid: the ladder stands on doubtful rows",
    "some_doubtful": "{count} of {of} rows do not count, and are used all the same",
    "worth_is_macs": "accuracies are unknown: multiply-adds stand in",
    "worth_is_width": "accuracies are unknown: the width stands in, so every faster width is worth less",
    "worth_is_latency": "accuracies are unknown: the latency stands in, so every faster artifact is worth less",
    "energy_estimated": "energy is estimated: {watts} W while an inference runs",
    "energy_raised": "{label} measured less energy than {to}: raised to the same",
}
