"""Scenarios: a room, what else the device does, and the noise of one seed.

Scenario (constants) ──► Trace (per frame: noise, contention; drawn once per seed) ──► device.py
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from edgeslim.errors import UsageError

NOISE_SIGMA = 0.05
OUTLIER_SHARE = 0.004
OUTLIER_SLOWDOWN = 1.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What happens around the app; powers in watts, temperatures in degrees Celsius, times in seconds."""

    name: str
    about: str
    ambient_c: float
    base_w: float = 1.5
    """Everything on the device but the inference: screen, radio, camera."""
    fps: int = 30
    overhead_us: int = 0
    """Pre- and post-processing, taken off the deadline."""
    burst_every_s: float = 25.0
    burst_for_s: float = 4.0
    burst_slowdown: float = 1.45
    queue_us: int = 0
    """No inference answers sooner: a processor that others keep busy, or one that works in turns."""
    charge: float = 0.8
    capacity_wh: float = 15.0
    battery_step_permille: int = 10
    charging_w: float = 0.0
    sun_w: float = 0.0
    last_until_s: float = 0.0
    """The battery has to last this long (0: no wish); the app then sets a power budget."""

    @property
    def deadline_us(self) -> int:
        """What is left for inference in a frame."""
        return 1_000_000 // self.fps - self.overhead_us

    def at(self, *, fps: int | None) -> Scenario:
        """The same place at another frame rate; None leaves it.

        Raises:
            UsageError: no time is left beside the overhead.
        """
        moved = self if fps is None else replace(self, fps=fps)
        if moved.deadline_us < 1:
            raise UsageError(f"{fps} frames per second leave no time beside {self.overhead_us} µs of overhead")
        return moved


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(name="cool_desk", about="on a desk, 20 °C", ambient_c=20.0),
        Scenario(name="room", about="in a room, 25 °C", ambient_c=25.0),
        Scenario(name="hot", about="a hot day, 32 °C", ambient_c=32.0),
        Scenario(name="very_hot", about="38 °C: hot before the first frame", ambient_c=38.0),
        Scenario(
            name="video_call",
            about="25 °C, camera, radio and encoder share the cores",
            ambient_c=25.0,
            base_w=2.4,
            overhead_us=5000,
            burst_every_s=8.0,
            burst_for_s=5.0,
            burst_slowdown=1.6,
        ),
        Scenario(
            name="game",
            about="25 °C, a game draws 2.6 W and bursts often",
            ambient_c=25.0,
            base_w=2.6,
            burst_every_s=6.0,
            burst_for_s=2.0,
            burst_slowdown=1.8,
        ),
        Scenario(
            name="queue",
            about="25 °C, a shared processor whose turn comes every 26 ms: narrower is not faster",
            ambient_c=25.0,
            queue_us=26_000,
        ),
        Scenario(
            name="battery_until_evening",
            about="25 °C, 30 % left and two hours to go",
            ambient_c=25.0,
            charge=0.30,
            last_until_s=2 * 3600.0,
        ),
        Scenario(
            name="charging_in_the_sun",
            about="26 °C, half a watt of sun and a charger of 5 W",
            ambient_c=26.0,
            charge=0.45,
            charging_w=5.0,
            sun_w=0.5,
        ),
    )
}


def scenario(name: str) -> Scenario:
    """Raises ``UsageError`` for an unknown name."""
    if name not in SCENARIOS:
        raise UsageError(f"there is no scenario {name!r}", hint=f"scenarios are {', '.join(SCENARIOS)}")
    return SCENARIOS[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Per frame, the factors on latency that do not depend on the policy."""

    noise: tuple[float, ...]
    """Log-normal with median 1, now and then an outlier."""
    burst: tuple[float, ...]
    """1, or the slowdown of a contention burst."""


@lru_cache(maxsize=2)
def trace(scenario: Scenario, frames: int, seed: int) -> Trace:
    """The noise of one seed: independent of the policy, so that policies meet the same luck."""
    random = np.random.default_rng([seed, frames, scenario.fps])
    noise = np.exp(NOISE_SIGMA * random.standard_normal(frames))
    noise[random.random(frames) < OUTLIER_SHARE] *= OUTLIER_SLOWDOWN
    begins, ends = 1 / (scenario.fps * scenario.burst_every_s), 1 / (scenario.fps * scenario.burst_for_s)
    bursting, burst = False, []
    for chance in random.random(frames).tolist():
        bursting = chance >= ends if bursting else chance < begins
        burst.append(scenario.burst_slowdown if bursting else 1.0)
    return Trace(noise=tuple(noise.tolist()), burst=tuple(burst))
