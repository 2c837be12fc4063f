"""One policy on one device in one scenario, frame by frame.

Chooser ─► Loader (a switch takes effect when it is loaded) ─► latency = table x noise x contention / clock
   ▲                                                                │
   └────────── Reading (last latency, heat, battery) ◄── Device ◄───┘
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeslim.core.ladder import Ladder
from edgeslim.core.power_budget import PowerBudget
from edgeslim.core.reading import Reading
from edgeslim.core.signals import UNKNOWN
from edgeslim.simulate.device import Device, DeviceModel
from edgeslim.simulate.policies import Chooser, Oracle
from edgeslim.simulate.scenario import Scenario, trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What happened, one entry per frame; ``rung`` -1 and ``latency_us`` 0 where a frame was skipped."""

    policy: str
    scenario: Scenario
    ladder: Ladder
    seed: int
    rung: list[int]
    latency_us: list[int]
    temperature_c: list[float]
    clock: list[float]
    charge: list[float]
    energy_mj: list[float]


class Loader:
    """A rung is used once it is loaded; the other resident one is swapped in at once.

    Args:
        load_us: time to load a width, in the background, while frames go on at the old one.
        prefetch: whether an idle loader fetches the next narrower rung, since narrowing is urgent and widening is not.
    """

    def __init__(self, load_us: int, *, prefetch: bool) -> None:
        self._load_us, self._prefetch = load_us, prefetch
        self._active = self._spare = UNKNOWN
        self._loading, self._ready_us = UNKNOWN, 0

    def use(self, wanted: int, now_us: int) -> int:
        """The rung that runs now, given the one wanted."""
        if self._load_us == 0 or self._active == UNKNOWN:
            self._active = wanted
            return wanted
        if self._loading != UNKNOWN and now_us >= self._ready_us:
            self._spare, self._loading = self._loading, UNKNOWN
        if wanted == self._spare:
            self._active, self._spare = wanted, self._active
        if self._loading == UNKNOWN:
            missing = wanted
            if wanted == self._active:
                missing = wanted - 1 if self._prefetch and wanted > 0 and self._spare != wanted - 1 else UNKNOWN
            if missing != UNKNOWN:
                self._loading, self._ready_us = missing, now_us + self._load_us
        return self._active


def simulate(
    chooser: Chooser,
    ladder: Ladder,
    scenario: Scenario,
    *,
    minutes: float = 30.0,
    seed: int = 0,
    load_ms: float = 0.0,
    prefetch: bool = True,
    model: DeviceModel | None = None,
) -> Run:
    """The same seed meets the same noise, whatever the policy; the result depends on the arguments alone."""
    device = Device(model or DeviceModel(), scenario)
    loader = Loader(round(load_ms * 1000), prefetch=prefetch)
    frames = round(minutes * 60 * scenario.fps)
    luck = trace(scenario, frames, seed)
    seconds = 1 / scenario.fps
    t, e = [r.t_us for r in ladder.rungs], [r.e_uj / 1000 for r in ladder.rungs]
    deadline_us = scenario.deadline_us
    run = Run(
        policy=chooser.name, scenario=scenario, ladder=ladder, seed=seed,
        rung=[], latency_us=[], temperature_c=[], clock=[], charge=[], energy_mj=[],
    )  # fmt: skip
    oracle = chooser if isinstance(chooser, Oracle) else None
    reading = Reading(now_us=0, deadline_us=deadline_us)
    budget = _budget(scenario)
    obs_us = obs_w = rung = UNKNOWN
    wait = 0
    for frame in range(frames):
        now_us = frame * 1_000_000 // scenario.fps
        if wait > 0:
            wait -= 1
            rung, latency_us, energy_mj = UNKNOWN, 0, 0.0
        else:
            slowdown = luck.burst[frame] / device.clock
            if oracle is not None:
                oracle.slowdown = slowdown
            else:
                reading = Reading(
                    now_us=now_us,
                    deadline_us=deadline_us,
                    obs_us=obs_us,
                    obs_w=obs_w,
                    status=device.status,
                    head_milli=device.head_milli,
                    fc_milli=device.fc_milli,
                    soc=device.soc_permille,
                    charging=scenario.charging_w > 0,
                    power_mw=budget.update(now_us, device.soc_permille) if budget else UNKNOWN,
                    rate=scenario.fps * 1000,
                )
            wanted, skip = chooser.choose(reading)
            rung = loader.use(wanted, now_us)
            latency_us = int(t[rung] * slowdown * luck.noise[frame] + 0.5)
            energy_mj = e[rung]
            obs_us, obs_w, wait = latency_us, rung, skip - 1
        run.rung.append(rung)
        run.latency_us.append(latency_us)
        run.temperature_c.append(device.temperature_c)
        run.clock.append(device.clock)
        run.charge.append(device.charge)
        run.energy_mj.append(energy_mj * device.clock**1.5)
        device.advance(seconds, energy_mj)
    return run


def _budget(scenario: Scenario) -> PowerBudget | None:
    """The power budget of an app that has to last; it knows the base load within what a phone can tell."""
    if not scenario.last_until_s:
        return None
    return PowerBudget(
        capacity_mwh=round(scenario.capacity_wh * 1000),
        until_us=round(scenario.last_until_s * 1_000_000),
        base_mw=round(scenario.base_w * 1000),
    )
