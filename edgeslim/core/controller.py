"""The width controller: one pure step in 64-bit integers, the same in every language.

    Reading ─► learn ─► heat ─► battery ─► caps ─► choose ─► skip ─► Decision
               │        │       │                  │
               xi, dev, k       band               w, holds            (ControllerState)
                        level

One slowdown ``xi`` (measured latency over the table's, Q20) and its upward deviation ``dev`` scale the whole table, as
in ALERT (Wan et al., USENIX ATC 2020); the safety factor ``k`` (Q10) on the deviation follows the observed misses, as
in adaptive conformal inference (Gibbs and Candès, NeurIPS 2021): at rest 4 of 256 samples miss. A width fits when its
time x (xi + k·dev) is within the deadline less 1/32. The controller narrows at once and widens one rung after a dwell;
a widening that fails doubles the next wait (the idea of WebRTC's overuse detector). Where latency has narrowed and then
fell by less than half of what the table says (a queue, a busy processor), narrower is not faster: it widens again as
long as the latency itself leaves room. Heat caps the width, a forecast of
heat also forbids widening, and neither is ever a reason to widen. Unknown holds the last level, never "cool".

Only ``+ - *``, comparisons, arithmetic ``>>`` and division of non-negative by positive numbers; inputs are clamped
first, so that every product stays under 2^54. ``tests/golden/controller`` has the expected values for all languages.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from edgeslim.core.ladder import MAX_TIME_US, Ladder, ladder
from edgeslim.core.latency import LatencyTable
from edgeslim.core.policy import Policy
from edgeslim.core.reading import (
    BATTERY,
    FORECAST,
    HOLD,
    INFEASIBLE,
    LATENCY,
    LOW_POWER,
    PANIC,
    POWER_BUDGET,
    THERMAL,
    USER,
    WIDENED,
    Decision,
    Reading,
)
from edgeslim.core.strict_json import StrictJsonError, canonical, decode, encode, parse
from edgeslim.errors import TableError

ONE = 1 << 20  # Q20
XI_MIN, XI_MAX = ONE >> 3, ONE << 4
MAX_PER_KS = 10_000_000
MAX_POWER_MW = 1_000_000
MAX_NOW_US = 1 << 52


@dataclass(slots=True, kw_only=True)
class ControllerState:
    """Everything the step remembers; integers, times in microseconds, -1 = never or unknown."""

    started: int = 0
    rung: int = 0
    xi: int = ONE
    dev: int
    k: int
    level: int = 0
    below: int = -1
    band: int = 3
    last_now: int = 0
    last_switch: int = 0
    last_up: int = -1
    up_run: int = 0
    gate_run: int = 0
    miss_run: int = 0
    settle_left: int = 0
    status: int = -1
    status_at: int = 0
    headroom: int = -1
    headroom_at: int = 0
    latency_down: int = -1
    latency_hold: int = 0
    latency_wait: int
    thermal_down: int = -1
    thermal_hold: int = 0
    thermal_wait: int
    last_us: int = 0
    before_us: int = 0
    """The last two latencies at this rung, 0 where there are none yet."""
    left: int = 0
    """The rung that latency drove from, first of a descent (0: none); ``left_us``: what an inference took there."""
    left_us: int = 0
    flat: int = 0
    """1: since then the latency fell by less than half of what the table says, right after a switch or for long, and
    never by three quarters. Narrower is not faster here."""
    flat_since: int = -1
    """Since when it has been less than half, without a break (-1: it is more)."""

    @classmethod
    def at_start(cls, policy: Policy) -> ControllerState:
        return cls(
            dev=ONE >> policy.dev_start_shift,
            k=policy.k_start,
            latency_wait=policy.latency_hold_us[0] >> 1,
            thermal_wait=policy.thermal_hold_us[0] >> 1,
        )

    def copy(self) -> ControllerState:
        return dataclasses.replace(self)

    def to_json(self) -> str:
        return canonical(encode(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> ControllerState:
        """Raises ``TableError`` on anything that ``to_json`` does not write."""
        try:
            return decode(cls, parse(text))
        except StrictJsonError as error:
            raise TableError(f"not a controller's state: {error}") from None


class WidthController:
    """Decides the rung of every frame.

    Args:
        table: a latency table (its ladder is built with the table's own quality) or a ladder.
        policy: default ``balanced``. Its bounds and ``fixed`` choose among the rungs.
        heir_of: a controller whose knowledge (xi, dev, k, level, band) this one takes over, because a rung left the
            ladder.

    Raises:
        TableError: no usable rung.
    """

    def __init__(
        self, table: LatencyTable | Ladder, policy: Policy | None = None, *, heir_of: WidthController | None = None
    ) -> None:
        self.policy = policy or Policy()
        self.ladder = self.policy.select(ladder(table) if isinstance(table, LatencyTable) else table)
        self.state = ControllerState.at_start(self.policy)
        if heir_of is not None:
            old = heir_of.state
            self.state.xi, self.state.dev, self.state.k = old.xi, old.dev, old.k
            self.state.level, self.state.band = old.level, old.band
        self._t = tuple(rung.t_us for rung in self.ladder.rungs)
        self._e = tuple(rung.energy_uj for rung in self.ladder.rungs)
        self._top = len(self._t) - 1
        self._limits = tuple(self._limits_at(held) for held in range(5))
        self._thermal_caps = tuple(self._top * thirds // 3 for thirds in self.policy.thermal_thirds)
        self._battery_caps = tuple(self._top * thirds // 3 for thirds in self.policy.battery_thirds)
        self._saving_cap = self._top * self.policy.low_power_thirds // 3
        self._decisions: dict[tuple[int, ...], Decision] = {}

    def _limits_at(self, held: int) -> tuple[int, ...]:
        """Headroom from which each level 1..4 holds: less for levels not above the one ``held``. Level 0 has none."""
        p = self.policy
        lower = (p.headroom_hysteresis_milli if level <= held else 0 for level in (1, 2, 3, 4))
        return (0, *(limit - less for limit, less in zip(p.headroom_milli, lower, strict=True)))

    def step(self, x: Reading) -> Decision:
        """What to run for the next frame; ``x`` says what happened since the last one."""
        s, p = self.state, self.policy
        now = max(min(x.now_us, MAX_NOW_US), s.last_now)  # the clock never goes back
        if s.started and now - s.last_now > p.stale_us:
            s.dev = max(s.dev, ONE >> p.dev_stale_shift)
            s.up_run = s.gate_run = s.miss_run = 0
        s.last_now = now
        deadline = min(max(x.deadline_us, 1), MAX_TIME_US)
        if x.observed_us >= 0 and 0 <= x.observed_rung <= self._top:
            self._learn(min(max(x.observed_us, 1), MAX_TIME_US), x.observed_rung, deadline)
        self._feel_heat(x, now)
        forecast = self._level_of(x.forecast_milli)
        self._watch_battery(x)
        cap, reasons = self._cap(x, forecast)
        return self._decide(x, now, deadline, forecast, cap, reasons)

    def _learn(self, obs: int, observed_rung: int, deadline: int) -> None:
        """One measured latency moves the miss run, the safety factor, the slowdown and its deviation."""
        s, p = self.state, self.policy
        own = observed_rung == s.rung
        missed = obs > deadline
        s.miss_run = s.miss_run + 1 if missed and own else 0
        if own:
            s.before_us, s.last_us = s.last_us, obs
        if s.settle_left > 0 and own:  # the first sample after a switch pays for cold caches: it teaches nothing
            s.settle_left -= 1
            return
        s.k = min(max(s.k + (p.k_miss if missed else -p.k_hit), p.k_min), p.k_max)
        ratio = min(max((obs << 20) // self._t[observed_rung], XI_MIN), XI_MAX)
        gate = s.xi + max(s.dev << p.gate_dev_shift, ONE >> p.gate_floor_shift)
        s.gate_run = s.gate_run + 1 if ratio > gate else 0
        if ratio > gate and s.gate_run < p.gate_samples:  # one outlier is clipped, a second is believed
            ratio = gate
        error = ratio - s.xi
        gain = p.jump_shift if s.gate_run >= p.gate_samples else p.mean_shift
        s.xi = min(max(s.xi + (error >> gain), XI_MIN), XI_MAX)
        # Only upwards: with the absolute error a suddenly faster sample could narrow the net.
        change = max(error, 0) - s.dev
        s.dev = max(
            s.dev + (change >> (p.dev_attack_shift if change > 0 else p.dev_release_shift)), ONE >> p.dev_floor_shift
        )

    def _level_of(self, milli: int) -> int:
        """Thermal level of a headroom, with hysteresis below the level held; 0 for unknown."""
        limits = self._limits[self.state.level]
        if milli < limits[1]:
            return 0
        for level in (4, 3, 2):
            if milli >= limits[level]:
                return level
        return 1

    def _feel_heat(self, x: Reading, now: int) -> None:
        """Up at once, down one level at a time; an input that turns unknown keeps its last level for a while."""
        s, p = self.state, self.policy
        if x.status >= 0:
            s.status, s.status_at = x.status, now
        elif now - s.status_at > p.heat_memory_us:
            s.status = -1
        if x.headroom_milli >= 0:
            s.headroom, s.headroom_at = self._level_of(x.headroom_milli), now
        elif now - s.headroom_at > p.heat_memory_us:
            s.headroom = -1
        raw = min(max(s.status, s.headroom), 4)
        if raw < 0 or raw >= s.level:
            s.level = max(raw, s.level)
            s.below = -1
            return
        if s.below < 0:
            s.below = now
        if now - s.below >= p.level_fall_us:
            s.level -= 1
            s.below = now

    def _watch_battery(self, x: Reading) -> None:
        """The band of the battery, with hysteresis on the way up; unknown keeps it."""
        s, p = self.state, self.policy
        if x.charging:
            s.band = 3
        elif x.battery_permille >= 0:
            band = 3
            for i in (2, 1, 0):
                if x.battery_permille < p.battery_permille[i] + (p.battery_hysteresis_permille if s.band <= i else 0):
                    band = i
            s.band = band

    def _cap(self, x: Reading, forecast: int) -> tuple[int, int]:
        """The widest rung allowed, and the bits of what allows no more."""
        s, p, top = self.state, self.policy, self._top
        thermal = self._thermal_caps[s.level]
        ahead = self._thermal_caps[forecast - 1] if forecast >= p.veto_level else top
        battery = self._battery_caps[s.band]
        saving = self._saving_cap if x.low_power and not x.charging else top
        power = top if x.power_mw < 0 else self._affordable(x)
        user = top if x.user_cap < 0 else min(x.user_cap, top)
        cap = min(thermal, ahead, battery, saving, power, user)
        if cap == top:
            return cap, 0
        reasons = THERMAL if thermal == cap else 0
        reasons |= FORECAST if ahead == cap else 0
        reasons |= BATTERY if battery == cap else 0
        reasons |= LOW_POWER if saving == cap else 0
        reasons |= POWER_BUDGET if power == cap else 0
        reasons |= USER if user == cap else 0
        return cap, reasons

    def _affordable(self, x: Reading) -> int:
        """The widest rung within the power budget; the narrowest if none is."""
        budget = min(x.power_mw, MAX_POWER_MW) * 1_000_000  # mW x 1000 s in microjoules
        per_ks = min(max(x.inferences_per_ks, 0), MAX_PER_KS)
        for i in range(self._top, 0, -1):
            if self._e[i] * per_ks <= budget:
                return i
        return 0

    def _decide(self, x: Reading, now: int, deadline: int, forecast: int, cap: int, reasons: int) -> Decision:
        """The branches of the specification, first match wins."""
        s, p, t, w = self.state, self.policy, self._t, self.state.rung
        scale = s.xi + ((s.k * s.dev) >> 10)
        usable = deadline - (deadline >> p.headroom_shift)
        budget = usable << 20
        low = min(max(x.user_min, 0), cap)
        fit = -1
        for i in range(cap, -1, -1):
            if t[i] * scale <= budget:
                fit = i
                break
        if fit < 0:
            reasons |= INFEASIBLE
        new = w
        if not s.started:
            new = max(fit, low)
            s.last_switch = now
            s.settle_left = p.settle_samples
        elif w > cap:
            new = max(fit, low)
            if reasons & (THERMAL | FORECAST):
                self._back_off_heat(now)
        elif t[w] * scale > budget:
            reasons |= LATENCY
            new = max(fit, low)
            if new < w:
                self._leave(w)
                self._back_off_latency(now)
        elif s.miss_run >= p.panic_misses and w > low:  # the model is wrong: trust the clock
            reasons |= LATENCY | PANIC
            new = w - 1
            self._leave(w)
            self._back_off_latency(now)
        elif w < low:
            new = low
        elif w < cap:
            room = (usable - (usable >> p.widen_shift)) << 20
            fits = t[w + 1] * scale <= room
            s.up_run = s.up_run + 1 if fits or (s.flat and t[w] * scale <= room) else 0
            if s.up_run >= p.dwell_frames:
                if self._may_widen(now, forecast):
                    new = w + 1
                    reasons |= WIDENED
                    if not fits:  # the latency is taken to stay what it is
                        s.xi = max(s.xi * t[w] // t[new], XI_MIN)
                        s.dev = max(s.dev * t[w] // t[new], ONE >> p.dev_floor_shift)
                else:
                    reasons |= HOLD
        else:
            s.up_run = 0
        if new != w:
            if new > w and s.started:
                s.last_up = now
            s.last_switch = now
            s.up_run = s.miss_run = s.last_us = s.before_us = 0
            s.settle_left = p.settle_samples
        if s.left:
            if new >= s.left:
                s.left = s.flat = 0
                s.flat_since = -1
            else:
                here_us = min(s.xi * t[new] >> 20, MAX_TIME_US)
                # After a minute no more than was allowed: what a spike took says nothing about the rest.
                if now - s.last_switch >= p.thermal_hold_us[0]:
                    s.left_us = min(s.left_us, usable)
                if 2 * here_us * t[s.left] < s.left_us * (t[s.left] + t[new]):
                    s.flat_since = -1
                elif s.flat_since < 0:
                    s.flat_since = now
                if s.flat:
                    s.flat = 1 if 4 * here_us * t[s.left] >= s.left_us * (t[s.left] + 3 * t[new]) else 0
                elif s.flat_since >= 0:  # a burst that comes later, and goes, says nothing about this narrowing
                    soon, long = now - s.last_switch < p.latency_hold_us[0], p.thermal_hold_us[0] >> 2
                    s.flat = 1 if soon or now - s.flat_since >= long else 0
        previous = w if s.started else -1
        s.rung = new
        s.started = 1
        skip = p.max_skip
        for m in range(1, p.max_skip):
            if t[new] * scale <= budget * m:
                skip = m
                break
        if s.level == 4:
            skip = max(skip, p.critical_skip)
        return self._decision(new, skip, reasons, previous, s.level, cap)

    def _leave(self, w: int) -> None:
        """Latency drives from rung ``w``: remember what it was (no outlier), to see whether narrowing helps."""
        s = self.state
        if not s.left or s.last_up > s.latency_down:
            s.left = w
            took = min(s.last_us, s.before_us) if s.before_us > 0 else s.xi * self._t[w] >> 20
            s.left_us = min(took, MAX_TIME_US)

    def _may_widen(self, now: int, forecast: int) -> bool:
        """Whether every gate is open: dwell (longer when warm), both back-offs, no heat ahead."""
        s, p = self.state, self.policy
        return (
            now - s.last_switch >= (p.dwell_us if s.level == 0 else max(p.dwell_us, p.dwell_warm_us))
            and now >= s.latency_hold
            and now >= s.thermal_hold
            and forecast < p.veto_level
        )

    def _back_off_latency(self, now: int) -> None:
        """A widening that did not last doubles the wait before the next one; a good one resets it."""
        s = self.state
        s.latency_wait = self._next_wait(now, s.latency_down, s.latency_wait, self.policy.latency_hold_us)
        s.latency_hold = now + s.latency_wait
        s.latency_down = now

    def _back_off_heat(self, now: int) -> None:
        s = self.state
        s.thermal_wait = self._next_wait(now, s.thermal_down, s.thermal_wait, self.policy.thermal_hold_us)
        s.thermal_hold = now + s.thermal_wait
        s.thermal_down = now

    def _next_wait(self, now: int, last_down: int, wait: int, limits: tuple[int, ...]) -> int:
        last_up, (base, longest) = self.state.last_up, limits
        if last_up > last_down:
            wait = min(2 * wait, longest) if now - last_up < 2 * wait else base
        return max(wait, base)

    def _decision(self, *key: int) -> Decision:
        """One object per distinct decision: there are few, and a frame should not pay for making one."""
        found = self._decisions.get(key)
        if found is None:
            rung, skip, bits, previous, level, cap = key
            rungs = self.ladder.rungs
            found = self._decisions[key] = Decision(
                rung=rung,
                artifact=rungs[rung].artifact,
                label=rungs[rung].label,
                skip=skip,
                bits=bits,
                previous=previous,
                level=level,
                cap=cap,
                cap_label=rungs[cap].label,
            )
        return found
