"""One policy on one device in one scenario, frame by frame.

Chooser ─► Loader (a switch takes effect when it is loaded) ─► latency = table x noise x contention / clock
   ▲                                                                │
   └────────── Reading (last latency, heat, battery) ◄── Device ◄───┘
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeslim.core.ladder import Ladder
from edgeslim.core.power_budget import PowerBudget
from edgeslim.core.reading import Reading
from edgeslim.core.signals import UNKNOWN
from edgeslim.simulation.device import Device, DeviceModel
from edgeslim.simulation.policies import Chooser, Oracle
from edgeslim.simulation.scenario import Scenario, trace
from edgeslim.simulation.simulation import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Everything but the policy and the ladder; the same setting meets the same noise."""

    scenario: Scenario
    minutes: float = 30.0
    seed: int = 0
    load_ms: float = 0.0
    """Time to load a width; frames go on at the old one meanwhile."""
    prefetch: bool = True
    """Whether an idle loader fetches the next narrower rung: narrowing is urgent, widening is not."""
    model: DeviceModel = field(default_factory=DeviceModel)


class Loader:
    """A rung is used once it is loaded; two are in memory, and the other one is swapped in at once."""

    def __init__(self, load_us: int, *, prefetch: bool) -> None:
        self._load_us, self._prefetch = load_us, prefetch
        self._active = self._spare = self._loading = UNKNOWN
        self._ready_us = 0

    def use(self, wanted: int, now_us: int) -> int:
        """The rung that runs now, given the one wanted."""
        if self._load_us == 0:
            return wanted
        if self._active == UNKNOWN:
            self._active = wanted
        if self._loading != UNKNOWN and now_us >= self._ready_us:
            self._spare, self._loading = self._loading, UNKNOWN
        if wanted == self._spare:
            self._active, self._spare = wanted, self._active
        if self._loading == UNKNOWN:
            missing = self._missing(wanted)
            if missing != UNKNOWN:
                self._loading, self._ready_us = missing, now_us + self._load_us
        return self._active

    def _missing(self, wanted: int) -> int:
        if wanted != self._active:
            return wanted
        narrower = wanted - 1
        return narrower if self._prefetch and narrower >= 0 and narrower != self._spare else UNKNOWN


def simulate(chooser: Chooser, ladder: Ladder, setting: Setting) -> Run:
    """The run; it depends on the arguments alone."""
    scenario = setting.scenario
    device = Device(setting.model, scenario)
    loader = Loader(round(setting.load_ms * 1000), prefetch=setting.prefetch)
    frames = round(setting.minutes * 60 * scenario.fps)
    luck = trace(scenario, frames, setting.seed)
    seconds, deadline_us = 1 / scenario.fps, scenario.deadline_us
    t, e = [r.t_us for r in ladder.rungs], [r.energy_uj / 1000 for r in ladder.rungs]
    oracle = chooser if isinstance(chooser, Oracle) else None
    reading = Reading(now_us=0, deadline_us=deadline_us)
    budget = _budget(scenario)
    run = Run.empty(chooser.name, ladder, setting.minutes)
    observed_us = observed_rung = UNKNOWN
    skipping = 0
    for frame in range(frames):
        now_us = frame * 1_000_000 // scenario.fps
        rung, latency_us, energy_mj = UNKNOWN, 0, 0.0
        if skipping > 0:
            skipping -= 1
        else:
            slowdown = luck.burst[frame] / device.clock
            if oracle is not None:
                oracle.slowdown = slowdown
            else:
                reading = Reading(
                    now_us=now_us,
                    deadline_us=deadline_us,
                    observed_us=observed_us,
                    observed_rung=observed_rung,
                    status=device.status,
                    headroom_milli=device.headroom_milli,
                    forecast_milli=device.forecast_milli,
                    battery_permille=device.battery_permille,
                    charging=scenario.charging_w > 0,
                    power_mw=budget.update(now_us, device.battery_permille) if budget else UNKNOWN,
                    inferences_per_ks=scenario.fps * 1000,
                )
            wanted, skip = chooser.choose(reading)
            rung = loader.use(wanted, now_us)
            alone_us = t[rung] * slowdown * luck.noise[frame]
            latency_us = int(max(alone_us, scenario.queue_us * luck.noise[frame]) + 0.5)
            energy_mj = e[rung]
            observed_us, observed_rung, skipping = latency_us, rung, skip - 1
        run.now_us.append(now_us)
        run.deadline_us.append(deadline_us)
        run.rung.append(rung)
        run.latency_us.append(latency_us)
        run.energy_mj.append(energy_mj * device.clock**1.5)
        run.charge.append(device.charge)
        run.temperature_c.append(device.temperature_c)
        run.clock.append(device.clock)
        device.advance(seconds, energy_mj)
    return run


def _budget(scenario: Scenario) -> PowerBudget | None:
    """The power budget of an app that has to last and knows what the rest of the device draws."""
    if not scenario.last_until_s:
        return None
    return PowerBudget(
        capacity_mwh=round(scenario.capacity_wh * 1000),
        until_us=round(scenario.last_until_s * 1_000_000),
        base_mw=round(scenario.base_w * 1000),
    )
