"""What the controller is told before a frame and what it answers; whole numbers only.

device ─► Signals (heat, battery; -1 = unknown) ─┐
app    ─► now, deadline, last latency ───────────┴─► Reading ─► WidthController.step ─► Decision
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeslim.core.signals import UNKNOWN, Signals
from edgeslim.core.width import Width


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Everything the controller knows before one frame. Times in microseconds on a monotonic clock."""

    now_us: int
    deadline_us: int
    """Time for the inference alone: pre- and post-processing already taken off."""
    obs_us: int = UNKNOWN
    """Latency of the previous inference, or -1."""
    obs_w: int = UNKNOWN
    """The rung it ran at; may differ from the rung decided, while that one is being prepared."""
    status: int = UNKNOWN
    head_milli: int = UNKNOWN
    fc_milli: int = UNKNOWN
    soc: int = UNKNOWN
    charging: bool = False
    low_power: bool = False
    power_mw: int = UNKNOWN
    """Power that inference may draw on average, or -1."""
    rate: int = 0
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
        obs_us: int = UNKNOWN,
        obs_w: int = UNKNOWN,
        power_mw: int = UNKNOWN,
        rate: int = 0,
        user_cap: int = UNKNOWN,
        user_min: int = 0,
    ) -> Reading:
        """A frame's facts together with what the device said last."""
        return cls(
            now_us=now_us,
            deadline_us=deadline_us,
            obs_us=obs_us,
            obs_w=obs_w,
            status=signals.status,
            head_milli=signals.head_milli,
            fc_milli=signals.fc_milli,
            soc=signals.soc,
            charging=signals.charging,
            low_power=signals.low_power,
            power_mw=power_mw,
            rate=rate,
            user_cap=user_cap,
            user_min=user_min,
        )


# Bits of ``Decision.reasons``; their order is part of the golden files.
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

REASON_NAMES = (
    "latency", "panic", "thermal", "forecast", "battery", "low_power", "power_budget", "user", "hold", "infeasible",
    "widened",
)  # fmt: skip
CAPS = THERMAL | FORECAST | BATTERY | LOW_POWER | POWER_BUDGET | USER


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The width of the next frame.

    ``skip`` = m means: run one frame of m (1: every frame), because more would miss or the device is critical.
    """

    rung: int
    width: Width
    skip: int
    reasons: int
    previous: int = field(default=-1)
    """The rung before this step (-1: this was the first)."""
    level: int = 0
    """Thermal level 0..4 after this step."""
    cap: int = 0
    """The widest rung allowed in this step."""
    cap_width: Width

    @property
    def reason_names(self) -> tuple[str, ...]:
        return tuple(name for bit, name in enumerate(REASON_NAMES) if self.reasons >> bit & 1)

    def sentence(self) -> str:
        """For people: ``narrowed to 0.75x: thermal level 2 caps at 0.75x``."""
        if self.previous < 0:
            moved = f"starts at {self.width}x"
        elif self.rung < self.previous:
            moved = f"narrowed to {self.width}x"
        elif self.rung > self.previous:
            moved = f"widened to {self.width}x"
        else:
            moved = f"stays at {self.width}x"
        whys = self._whys()
        skips = f"; runs one frame of {self.skip}" if self.skip > 1 else ""
        return moved + (f": {', '.join(whys)}" if whys else "") + skips

    def _whys(self) -> list[str]:
        at = f"caps at {self.cap_width}x"
        phrases = {
            PANIC: "two misses in a row, the estimate was wrong",
            THERMAL: f"thermal level {self.level} {at}",
            FORECAST: f"the heat forecast {at}",
            BATTERY: f"the battery {at}",
            LOW_POWER: f"low-power mode {at}",
            POWER_BUDGET: f"the power budget {at}",
            USER: f"the app {at}",
            HOLD: "a wider net would fit but waits",
            INFEASIBLE: "no width meets the deadline",
            WIDENED: "a wider net fits",
        }
        whys = [phrase for bit, phrase in phrases.items() if self.reasons & bit]
        if self.reasons & LATENCY and not self.reasons & (PANIC | INFEASIBLE):
            whys.insert(0, "the wider net would miss the deadline")
        return whys
