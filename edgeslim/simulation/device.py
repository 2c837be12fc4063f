"""A model of a phone: heat, governor, sensors, battery.

    power ─► case (τ1 = 25 s) + body (τ2 = 460 s) ─► temperature ─┬─► governor (every 7 s): clock ─► latency, energy
      ▲                                                          ├─► thermal status (with hysteresis)
      └── base load + energy of the inferences                   └─► headroom now and in 30 s (polled every 5 s)

Foster chain of two stages, Euler per frame; the time constants fit a step of a Galaxy S25+ chassis (rms 0.43 K). The
battery has an open-circuit voltage, so that the same power draws more charge when it is low.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeslim.core.signals import UNKNOWN
from edgeslim.simulation.scenario import Scenario

# Open-circuit voltage of one lithium-ion cell at 0, 10, … 100 % charge.
OCV_V = (3.30, 3.58, 3.66, 3.71, 3.75, 3.80, 3.87, 3.95, 4.04, 4.15, 4.32)
NOMINAL_V = sum(OCV_V) / len(OCV_V)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceModel:
    """Constants of the device; the defaults are those of the published comparison in docs/controller.md."""

    resistance_k_per_w: float = 6.0
    fast_share: float = 0.5
    fast_s: float = 25.0
    slow_s: float = 460.0
    governor_s: float = 7.0
    governor_start_c: float = 39.0
    governor_span_c: float = 12.0
    governor_floor: float = 0.45
    governor_step: float = 0.08
    status_c: tuple[float, ...] = (39.0, 43.0, 45.0, 46.5)
    status_hysteresis_c: float = 1.9
    headroom_zero_c: float = 15.0
    headroom_span_c: float = 30.0
    poll_s: float = 5.0
    forecast_polls: int = 6
    charging_loss: float = 0.12


class Device:
    """One device in one scenario, advanced frame by frame."""

    def __init__(self, model: DeviceModel, scenario: Scenario) -> None:
        self.model, self.scenario = model, scenario
        self._constant_w = scenario.base_w + scenario.sun_w + scenario.charging_w * model.charging_loss
        heat = model.resistance_k_per_w * self._constant_w  # in equilibrium with the base load
        self._fast_c, self._slow_c = model.fast_share * heat, (1 - model.fast_share) * heat
        self.temperature_c = scenario.ambient_c + heat
        self.status = 0
        self.headroom_milli = UNKNOWN
        self.forecast_milli = UNKNOWN
        self.charge = scenario.charge
        self._time_s = self._next_governor_s = self._next_poll_s = 0.0
        self._polled: list[float] = []
        self.clock = self._target_clock()  # as after a long time at this temperature
        self._next_governor_s = model.governor_s
        self._sense()
        self._report_status()

    @property
    def battery_permille(self) -> int:
        """The charge as the system reports it, in its coarse steps."""
        step = self.scenario.battery_step_permille
        return int(self.charge * 1000) // step * step

    def advance(self, seconds: float, inference_mj: float) -> None:
        """One frame period in which inference took ``inference_mj`` at the full clock."""
        model = self.model
        inference_w = inference_mj * self.clock**1.5 / 1000 / seconds
        heat = model.resistance_k_per_w * (self._constant_w + inference_w)
        self._fast_c += (model.fast_share * heat - self._fast_c) * seconds / model.fast_s
        self._slow_c += ((1 - model.fast_share) * heat - self._slow_c) * seconds / model.slow_s
        self.temperature_c = self.scenario.ambient_c + self._fast_c + self._slow_c
        self._drain(seconds, inference_w)
        self._time_s += seconds
        if self._time_s >= self._next_governor_s:
            self._govern()
        if self._time_s >= self._next_poll_s:
            self._sense()
        self._report_status()

    def _drain(self, seconds: float, inference_w: float) -> None:
        position = self.charge * 10
        cell = min(int(position), 9)
        volts = OCV_V[cell] + (OCV_V[cell + 1] - OCV_V[cell]) * (position - cell)
        watts = self.scenario.base_w + inference_w - self.scenario.charging_w * (1 - self.model.charging_loss)
        change = watts * seconds / 3600 / self.scenario.capacity_wh * NOMINAL_V / volts
        self.charge = min(max(self.charge - change, 0.0), 1.0)

    def _target_clock(self) -> float:
        model = self.model
        target = 1 - (self.temperature_c - model.governor_start_c) / model.governor_span_c
        return min(max(target, model.governor_floor), 1.0)

    def _govern(self) -> None:
        step = self.model.governor_step
        self.clock = min(max(self._target_clock(), self.clock - step), self.clock + step)
        self._next_governor_s += self.model.governor_s

    def _report_status(self) -> None:
        celsius, limits = self.temperature_c, self.model.status_c
        while self.status < len(limits) and celsius >= limits[self.status]:
            self.status += 1
        while self.status and celsius < limits[self.status - 1] - self.model.status_hysteresis_c:
            self.status -= 1

    def _sense(self) -> None:
        """Headroom now, and where the slope of the last 30 s leads in 30 s."""
        model = self.model
        headroom = (self.temperature_c - model.headroom_zero_c) / model.headroom_span_c
        self._polled.append(headroom)
        ahead = headroom
        if len(self._polled) > model.forecast_polls:
            ahead += headroom - self._polled.pop(0)
        self.headroom_milli = _milli(headroom)
        self.forecast_milli = _milli(ahead)
        self._next_poll_s += model.poll_s


def _milli(headroom: float) -> int:
    return max(int(headroom * 1000 + 0.5), 0)
