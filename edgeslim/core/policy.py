"""Controller policies are data: four presets, and JSON that overrides one of them.

    {"policy_version": 1, "base": "balanced", "name": "kiosk", "thermal_thirds": [3, 3, 1, 0, 0]}

Every field is a whole number (or a list of them); units are in the names, ``*_shift`` means a fraction 1/2^shift.
A policy can travel in a bundle. Rules a policy breaks have names:

    policy-not-json · policy-unknown-version · policy-unknown-preset · policy-unknown-field · policy-wrong-type ·
    policy-out-of-range · policy-not-ascending

The ranges keep every product of the controller's step under 2^54 (controller.py).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeslim.core.ladder import Ladder
from edgeslim.core.strict_json import StrictJsonError, canonical, encode, parse
from edgeslim.errors import PolicyError, UsageError, did_you_mean
from edgeslim.files import read_file

POLICY_VERSION = 1
MAX_POLICY_BYTES = 1 << 20
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")

_SECOND_US = 1_000_000
_DAY_US = 86_400 * _SECOND_US
MAX_RUNG = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a controller weighs deadline, heat and battery. The defaults are the preset ``balanced``.

    Raises:
        PolicyError: ``policy-out-of-range`` or ``policy-not-ascending``.
    """

    name: str = "balanced"

    # Which rungs, counted from the narrowest (0); a shorter ladder gives its widest. ``fixed`` = 1: the widest alone.
    min_rung: int = 0
    max_rung: int = MAX_RUNG
    fixed: int = 0

    # Deadline: the share kept free, and a further share before widening.
    headroom_shift: int = 5
    widen_shift: int = 3

    # Slowdown estimate: mean gain, gain after a jump, upward deviation (attack, release, floor, start), outlier gate.
    mean_shift: int = 3
    jump_shift: int = 1
    dev_attack_shift: int = 2
    dev_release_shift: int = 4
    dev_floor_shift: int = 6
    dev_start_shift: int = 3
    dev_stale_shift: int = 2
    gate_dev_shift: int = 2
    gate_floor_shift: int = 2
    gate_samples: int = 2

    # Safety factor in 1/1024: equilibrium at hit / (hit + miss) misses, 4 / 256 = 1.56 %.
    k_start: int = 3072
    k_min: int = 512
    k_max: int = 8192
    k_hit: int = 4
    k_miss: int = 252

    # Switching.
    settle_samples: int = 1
    panic_misses: int = 2
    dwell_us: int = _SECOND_US
    dwell_frames: int = 15
    dwell_warm_us: int = 10 * _SECOND_US
    stale_us: int = 10 * _SECOND_US

    # Waiting after a widening that failed: (base, longest), for latency and for heat.
    latency_hold_us: tuple[int, ...] = (2 * _SECOND_US, 16 * _SECOND_US)
    thermal_hold_us: tuple[int, ...] = (60 * _SECOND_US, 480 * _SECOND_US)

    # Heat: thirds of the ladder allowed at levels 0..4, headroom of levels 1..4, and how levels fall.
    thermal_thirds: tuple[int, ...] = (3, 3, 2, 1, 0)
    headroom_milli: tuple[int, ...] = (850, 950, 1000, 1150)
    headroom_hysteresis_milli: int = 50
    level_fall_us: int = 20 * _SECOND_US
    heat_memory_us: int = 120 * _SECOND_US
    veto_level: int = 3

    # Battery: permille below which a band holds (narrowest first), its thirds, and the share to climb out of a band.
    battery_permille: tuple[int, ...] = (50, 100, 200)
    battery_thirds: tuple[int, ...] = (0, 1, 2, 3)
    battery_hysteresis_permille: int = 20
    low_power_thirds: int = 1

    # Frames skipped when even the narrowest misses, and at least at thermal level 4.
    max_skip: int = 8
    critical_skip: int = 2

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise PolicyError("policy-out-of-range", f"name {self.name!r} is not a short lower-case word")
        for field, (low, high, length) in RANGES.items():
            value = getattr(self, field)
            items = value if length else (value,)
            if (length and len(items) != length) or any(not low <= item <= high for item in items):
                wanted = f"{length} whole numbers" if length else "a whole number"
                raise PolicyError("policy-out-of-range", f"{field} is {value}, expected {wanted} in [{low}, {high}]")
        for field in ASCENDING:
            items = getattr(self, field)
            if list(items) != sorted(items):
                raise PolicyError("policy-not-ascending", f"{field} is {list(items)}, expected rising numbers")
        if list(self.thermal_thirds) != sorted(self.thermal_thirds, reverse=True):
            raise PolicyError(
                "policy-not-ascending", f"thermal_thirds {list(self.thermal_thirds)} allow more when hotter"
            )
        if self.headroom_milli[0] <= self.headroom_hysteresis_milli:  # so that unknown (-1) is never a level
            raise PolicyError("policy-out-of-range", "headroom_hysteresis_milli reaches down to a headroom of 0")
        for low_name, high_name in (("min_rung", "max_rung"), ("k_min", "k_start"), ("k_start", "k_max")):
            if getattr(self, low_name) > getattr(self, high_name):
                raise PolicyError("policy-not-ascending", f"{low_name} is above {high_name}")

    def select(self, ladder: Ladder) -> Ladder:
        """The rungs this policy uses; at least one."""
        top = min(self.max_rung, len(ladder.rungs) - 1)
        bottom = top if self.fixed else min(self.min_rung, top)
        return dataclasses.replace(ladder, rungs=ladder.rungs[bottom : top + 1])

    @classmethod
    def from_json(cls, text: str | bytes) -> Policy:
        """A preset with overrides. Raises ``PolicyError`` with the broken rule's name."""
        try:
            document = parse(text)
        except StrictJsonError as error:
            raise PolicyError("policy-not-json", str(error)) from None
        return cls.from_document(document)

    @classmethod
    def read(cls, path: Path) -> Policy:
        """As ``from_json``, of a file.

        Raises:
            UsageError: it cannot be read. PolicyError: it is no policy.
        """
        try:
            return cls.from_json(read_file(path, most_bytes=MAX_POLICY_BYTES))
        except OSError as error:
            raise UsageError(f"cannot read the policy {path}: {error.strerror}") from None

    @classmethod
    def from_document(cls, document: object) -> Policy:
        """The same from parsed JSON, for a policy inside another document."""
        if not isinstance(document, dict):
            raise PolicyError("policy-wrong-type", "a policy is a JSON object")
        changes = dict(document)
        version = changes.pop("policy_version", None)
        if type(version) is not int or version != POLICY_VERSION:
            raise PolicyError("policy-unknown-version", f"policy_version is {version!r}, expected {POLICY_VERSION}")
        base = preset(changes.pop("base", "balanced"))
        return dataclasses.replace(base, **_checked(changes))

    def to_json(self) -> str:
        """Canonical: every field; reading it back gives an equal policy."""
        return canonical({"policy_version": POLICY_VERSION, **encode(self)}) + "\n"


def _checked(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Field values of exactly the right type."""
    values: dict[str, Any] = {}
    for field, value in changes.items():
        if field == "name":
            right = isinstance(value, str)
        elif field not in RANGES:
            raise PolicyError(
                "policy-unknown-field",
                f"{field!r} is no field of a policy",
                hint=did_you_mean(field, RANGES),
            )
        elif RANGES[field][2]:
            right = isinstance(value, list) and all(type(item) is int for item in value)
        else:
            right = type(value) is int
        if not right:
            raise PolicyError("policy-wrong-type", f"{field} is {value!r}, expected whole numbers")
        values[field] = tuple(value) if isinstance(value, list) else value
    return values


# field → (lowest, highest, number of items or 0 for a plain number)
RANGES: dict[str, tuple[int, int, int]] = {
    "min_rung": (0, MAX_RUNG, 0),
    "max_rung": (0, MAX_RUNG, 0),
    "fixed": (0, 1, 0),
    "headroom_shift": (1, 12, 0),
    "widen_shift": (1, 12, 0),
    "mean_shift": (0, 10, 0),
    "jump_shift": (0, 10, 0),
    "dev_attack_shift": (0, 10, 0),
    "dev_release_shift": (0, 10, 0),
    "dev_floor_shift": (0, 10, 0),
    "dev_start_shift": (0, 10, 0),
    "dev_stale_shift": (0, 10, 0),
    "gate_dev_shift": (0, 4, 0),
    "gate_floor_shift": (0, 10, 0),
    "gate_samples": (1, 100, 0),
    "k_start": (0, 8192, 0),
    "k_min": (0, 8192, 0),
    "k_max": (0, 8192, 0),
    "k_hit": (0, 1024, 0),
    "k_miss": (0, 8192, 0),
    "settle_samples": (0, 100, 0),
    "panic_misses": (1, 1000, 0),
    "dwell_us": (0, _DAY_US, 0),
    "dwell_frames": (0, 100_000, 0),
    "dwell_warm_us": (0, _DAY_US, 0),
    "stale_us": (0, _DAY_US, 0),
    "latency_hold_us": (0, _DAY_US, 2),
    "thermal_hold_us": (0, _DAY_US, 2),
    "thermal_thirds": (0, 3, 5),
    "headroom_milli": (1, 1_000_000, 4),
    "headroom_hysteresis_milli": (0, 1_000_000, 0),
    "level_fall_us": (0, _DAY_US, 0),
    "heat_memory_us": (0, _DAY_US, 0),
    "veto_level": (1, 5, 0),
    "battery_permille": (0, 1000, 3),
    "battery_thirds": (0, 3, 4),
    "battery_hysteresis_permille": (0, 1000, 0),
    "low_power_thirds": (0, 3, 0),
    "max_skip": (1, 8, 0),
    "critical_skip": (1, 8, 0),
}
ASCENDING = ("latency_hold_us", "thermal_hold_us", "headroom_milli", "battery_permille", "battery_thirds")

PRESETS: dict[str, Policy] = {
    "balanced": Policy(),
    # A third of the ladder on battery, two thirds on the charger; cooler, and narrow at the end: half the energy.
    "battery_saver": Policy(
        name="battery_saver",
        thermal_thirds=(3, 2, 1, 0, 0),
        battery_permille=(50, 150, 900),
        battery_thirds=(0, 0, 1, 2),
        low_power_thirds=0,
    ),
    # Wide for as long as the platform lets it; only SEVERE caps.
    "quality": Policy(
        name="quality",
        thermal_thirds=(3, 3, 3, 1, 0),
        battery_permille=(20, 50, 100),
        low_power_thirds=2,
    ),
    # One rung (``max_rung``, default the widest): measured and reported, never changed.
    "fixed": Policy(name="fixed", fixed=1),
}


def preset(name: object) -> Policy:
    """Raises ``PolicyError`` (``policy-unknown-preset``)."""
    if not isinstance(name, str) or name not in PRESETS:
        raise PolicyError(
            "policy-unknown-preset", f"there is no preset {name!r}", hint=f"presets are {', '.join(PRESETS)}"
        )
    return PRESETS[name]
