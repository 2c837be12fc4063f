"""What the controller is told before a frame and what it answers; whole numbers only.

device ─► Signals (heat, battery; -1 = unknown) ─┐
app    ─► now, deadline, last latency ───────────┴─► Reading ─► WidthController.step ─► Decision
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeslim.core.reasons import Reason, sentence
from edgeslim.core.signals import UNKNOWN, Signals


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Everything the controller knows before one frame. Times in microseconds on a monotonic clock."""

    now_us: int
    deadline_us: int
    """Time for the inference alone: pre- and post-processing already taken off."""
    observed_us: int = UNKNOWN
    """Latency of the previous inference, or -1."""
    observed_rung: int = UNKNOWN
    """The rung it ran at; may differ from the rung decided, while that one is being prepared."""
    status: int = UNKNOWN
    headroom_milli: int = UNKNOWN
    forecast_milli: int = UNKNOWN
    battery_permille: int = UNKNOWN
    charging: bool = False
    low_power: bool = False
    power_mw: int = UNKNOWN
    """Power that inference may draw on average, or -1."""
    inferences_per_ks: int = 0
    """Inferences per 1000 s, for the power budget."""
    user_cap: int = UNKNOWN
    """Widest rung the app allows, or -1."""
    user_min: int = 0
    """Narrowest rung the app wants; caps win over it."""

    @classmethod
    def of(
        cls,
        signals: Signals,
        *,
        now_us: int,
        deadline_us: int,
        observed_us: int = UNKNOWN,
        observed_rung: int = UNKNOWN,
        power_mw: int = UNKNOWN,
        inferences_per_ks: int = 0,
        user_cap: int = UNKNOWN,
        user_min: int = 0,
    ) -> Reading:
        """A frame's facts together with what the device said last."""
        return cls(
            now_us=now_us,
            deadline_us=deadline_us,
            observed_us=observed_us,
            observed_rung=observed_rung,
            status=signals.status,
            headroom_milli=signals.headroom_milli,
            forecast_milli=signals.forecast_milli,
            battery_permille=signals.battery_permille,
            charging=signals.charging,
            low_power=signals.low_power,
            power_mw=power_mw,
            inferences_per_ks=inferences_per_ks,
            user_cap=user_cap,
            user_min=user_min,
        )


# Bits of ``Decision.bits``; their order is part of the golden files.
LATENCY = 1 << 0
PANIC = 1 << 1
THERMAL = 1 << 2
FORECAST = 1 << 3
BATTERY = 1 << 4
LOW_POWER = 1 << 5
POWER_BUDGET = 1 << 6
USER = 1 << 7
HOLD = 1 << 8
INFEASIBLE = 1 << 9
WIDENED = 1 << 10

REASON_CODES = (
    "latency", "panic", "thermal", "forecast", "battery", "low_power", "power_budget", "user", "hold", "infeasible",
    "widened",
)  # fmt: skip
_CAPS = THERMAL | FORECAST | BATTERY | LOW_POWER | POWER_BUDGET | USER


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to run for the next frame.

    ``skip`` = m means: run one frame of m (1: every frame), because more would miss or the device is critical.
    """

    rung: int
    artifact: str
    """Id of what runs (``Rung.artifact``)."""
    label: str
    """Its name for people."""
    skip: int
    bits: int
    """``REASON_CODES`` as bits, the lowest first."""
    previous: int = UNKNOWN
    """The rung before this step (-1: this was the first)."""
    level: int = 0
    """Thermal level 0..4 after this step."""
    cap: int = 0
    """The widest rung allowed in this step."""
    cap_label: str

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of ``reasons``."""
        return tuple(code for bit, code in enumerate(REASON_CODES) if self.bits >> bit & 1)

    @property
    def move(self) -> Reason:
        """``starts``, ``narrows``, ``widens`` or ``stays``, with the label it leads ``to``."""
        if self.previous < 0:
            code = "starts"
        elif self.rung < self.previous:
            code = "narrows"
        else:
            code = "widens" if self.rung > self.previous else "stays"
        return Reason.of(code, to=self.label)

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why, in the order of ``REASON_CODES``."""
        return tuple(self._reason(1 << bit, code) for bit, code in enumerate(REASON_CODES) if self.bits >> bit & 1)

    def _reason(self, bit: int, code: str) -> Reason:
        if bit == THERMAL:
            return Reason.of(code, level=self.level, cap=self.cap_label)
        return Reason.of(code, cap=self.cap_label) if bit & _CAPS else Reason.of(code)

    def sentence(self) -> str:
        """For people: ``narrowed to 0.75x: thermal level 2 caps at 0.75x``."""
        obvious = "latency" if self.bits & (PANIC | INFEASIBLE) else None  # these say it better
        whys = ", ".join(sentence(reason) for reason in self.reasons if reason.code != obvious)
        skips = f"; {sentence(Reason.of('skips', every=self.skip))}" if self.skip > 1 else ""
        return sentence(self.move) + (f": {whys}" if whys else "") + skips
