"""What a device says about its heat and battery, in whole numbers; every platform's own units are turned here.

    Android  headroom (float), thermal status 0..6   ┐
    iOS      thermalState 0..3, battery 0.0..1.0       ├─► the functions below ─► Signals ─► Reading
    Pi       get_throttled bits, temperature           │
    Linux    sysfs (host/sysfs.py)                     ┘

Floats live only here. ``tests/golden/controller/adapters.jsonl`` has the expected values for all languages. -1 means
unknown, and unknown is never "cool": the controller holds the last level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

UNKNOWN = -1
MAX_HEADROOM_MILLI = 1_000_000

# Thermal levels of the controller.
NONE, LIGHT, MODERATE, SEVERE, CRITICAL = range(5)

_IOS_LEVELS = (NONE, LIGHT, SEVERE, CRITICAL)  # nominal, fair, serious, critical

# Raspberry Pi firmware, `vcgencmd get_throttled`: bits 0..3 are now, 16..19 are latched since boot and not used.
PI_FREQUENCY_CAPPED, PI_THROTTLED, PI_SOFT_LIMIT = 1 << 1, 1 << 2, 1 << 3
PI_TRIP_C, PI_CRITICAL_C = 80.0, 85.0
LIGHT_BELOW_TRIP_C, MODERATE_BELOW_TRIP_C = 15.0, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """What a device says about itself; everything may be unknown (-1)."""

    status: int = UNKNOWN
    """Thermal level 0..4 (none, light, moderate, severe, critical)."""
    headroom_milli: int = UNKNOWN
    """Thermal headroom now, 1000 = SEVERE."""
    forecast_milli: int = UNKNOWN
    """Thermal headroom forecast for 30 s from now."""
    battery_permille: int = UNKNOWN
    """Battery charge in permille."""
    charging: bool = False
    low_power: bool = False


class SignalSource(Protocol):
    """A device that can be asked. ``read`` never raises: what cannot be read is unknown."""

    def read(self) -> Signals: ...


class ManualSource:
    """Signals that the app (or a test) sets itself."""

    def __init__(self, signals: Signals | None = None) -> None:
        self.signals = signals or Signals()

    def read(self) -> Signals:
        return self.signals


def headroom_milli(headroom: float) -> int:
    """Android's thermal headroom (1.0 = SEVERE) in 1/1000; NaN, infinite or negative is unknown."""
    if not math.isfinite(headroom) or headroom < 0:
        return UNKNOWN
    return math.floor(min(headroom * 1000 + 0.5, MAX_HEADROOM_MILLI))


def android_level(status: int) -> int:
    """Android's THERMAL_STATUS_* (0..6: none … shutdown); negative is unknown."""
    return min(status, CRITICAL) if status >= 0 else UNKNOWN


def ios_level(thermal_state: int) -> int:
    """iOS's ProcessInfo.ThermalState (0..3); anything else is unknown."""
    return _IOS_LEVELS[thermal_state] if 0 <= thermal_state < len(_IOS_LEVELS) else UNKNOWN


def battery_permille(fraction: float) -> int:
    """iOS's battery level (0.0..1.0, -1 while monitoring is off) in permille."""
    if not math.isfinite(fraction) or fraction < 0:
        return UNKNOWN
    return math.floor(min(fraction, 1.0) * 1000 + 0.5)


def level_below_trip(celsius: float, trip_c: float, critical_c: float) -> int:
    """Thermal level of a temperature, from the trip at which the system throttles and the one at which it gives up."""
    if not math.isfinite(celsius):
        return UNKNOWN
    if celsius >= critical_c:
        return CRITICAL
    if celsius >= trip_c:
        return SEVERE
    if celsius >= trip_c - MODERATE_BELOW_TRIP_C:
        return MODERATE
    return LIGHT if celsius >= trip_c - LIGHT_BELOW_TRIP_C else NONE


def pi_level(throttled: int, celsius: float) -> int:
    """A Raspberry Pi's level from ``get_throttled`` (-1 unknown) and its temperature (NaN unknown)."""
    level = level_below_trip(celsius, PI_TRIP_C, PI_CRITICAL_C)
    if throttled < 0:
        return level
    if throttled & (PI_FREQUENCY_CAPPED | PI_THROTTLED):
        return max(level, SEVERE)
    return max(level, MODERATE if throttled & PI_SOFT_LIMIT else NONE)
