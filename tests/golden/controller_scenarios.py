"""The controller's golden scenarios: what happens around the app, frame by frame, in whole numbers.

Each scenario yields frames: a dict of reading fields, with ``slow`` (permille) instead of ``observed_us`` where the
latency follows from the table and the rung that ran. ``make_controller.py`` runs them and writes the expected values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Frame = dict[str, int]

SECOND = 1_000_000
FOUR = ((6011, 9103), (12007, 22013), (20021, 42019), (30011, 70001))
EIGHT = tuple((4001 * 5**i // 4**i, 3001 * 3**i // 2**i) for i in range(8))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """``rungs``: (t_us, e_uj) from narrow to wide; ``policy``: fields that differ from ``base``."""

    name: str
    about: str
    frames: Callable[[], Iterator[Frame]]
    rungs: tuple[tuple[int, int], ...] = FOUR
    base: str = "balanced"
    policy: dict[str, Any] = field(default_factory=dict)


SCENARIOS: list[Scenario] = []


def scenario(about: str, **options: Any) -> Callable[[Callable[[], Iterator[Frame]]], Callable[[], Iterator[Frame]]]:
    """Registers a generator of frames under its own name."""

    def register(frames: Callable[[], Iterator[Frame]]) -> Callable[[], Iterator[Frame]]:
        SCENARIOS.append(Scenario(name=frames.__name__, about=about, frames=frames, **options))
        return frames

    return register


def clock(seconds: float, fps: int, start_us: int = 0) -> Iterator[int]:
    """Frame times."""
    for frame in range(round(seconds * fps)):
        yield start_us + frame * SECOND // fps


class Dice:
    """A small generator that every language can repeat: x ← (x · 1103515245 + 12345) mod 2^31, high bits first."""

    def __init__(self, seed: int) -> None:
        self._x = seed

    def below(self, limit: int) -> int:
        self._x = (self._x * 1103515245 + 12345) % (1 << 31)
        return (self._x >> 8) % limit

    def between(self, low: int, high: int) -> int:
        return low + self.below(high - low + 1)


# ── latency ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@scenario("from the second widest at the start to the widest, and stays")
def cool_start() -> Iterator[Frame]:
    dice = Dice(1)
    for now in clock(6, 30):
        yield {"now_us": now, "deadline_us": 40_000, "slow": dice.between(980, 1030), "status": 0}


@scenario("the clock starts near its largest value and passes it")
def large_clock() -> Iterator[Frame]:
    for now in clock(4, 30, (1 << 52) - 3 * SECOND):
        yield {"now_us": now, "deadline_us": 40_000, "slow": 1000, "status": 0}


@scenario("1.9 times slower for three seconds: narrower within three frames, back afterwards")
def load_step() -> Iterator[Frame]:
    for now in clock(12, 30):
        slow = 1900 if 3 * SECOND <= now < 6 * SECOND else 1000
        yield {"now_us": now, "deadline_us": 33_333, "slow": slow, "status": 0}


@scenario("one frame in forty takes three times as long: no switch after the ramp")
def outliers() -> Iterator[Frame]:
    for i, now in enumerate(clock(10, 30)):
        yield {"now_us": now, "deadline_us": 33_333, "slow": 3000 if i % 40 == 39 else 1000, "status": 0}


@scenario("latencies drift up and down again: the deviation's attack and release, the safety factor's two directions")
def drift() -> Iterator[Frame]:
    dice = Dice(3)
    for i, now in enumerate(clock(24, 30)):
        wave = abs(i % 360 - 180)
        yield {"now_us": now, "deadline_us": 33_333, "slow": 800 + 5 * wave + dice.below(200), "status": 0}


@scenario("no width meets 3 ms: the narrowest, the flag, and skipped frames; then a deadline that fits")
def infeasible_deadline() -> Iterator[Frame]:
    for now in clock(6, 30):
        deadline = (3_000, 900, 500, 6_500, 33_333, 5_900)[now // SECOND]
        yield {"now_us": now, "deadline_us": deadline, "slow": 1010, "status": 0}


@scenario("the widest really takes 1.5 times its entry: it is tried again after 2, 4, 8, 16 and 16 s")
def optimistic_table() -> Iterator[Frame]:
    for now in clock(60, 30):
        yield {"now_us": now, "deadline_us": 40_000, "slow": 1000, "slow_widest": 1500, "status": 0}


@scenario("narrower is not faster: every rung takes about 26 ms, with outliers; climbs back to 0.75x and stays")
def queue() -> Iterator[Frame]:
    dice = Dice(61)
    for i, now in enumerate(clock(140, 20)):
        took = 26_000 + dice.between(-1200, 1200) + (22_000 if i % 160 in (3, 4, 5) and i < 200 else 0)
        yield {"now_us": now, "deadline_us": 33_333, "slow": 1000, "late_us": took, "status": int(i > 1300)}


@scenario("narrower was not faster while others ran; then it is: one probe fails, and the table is believed again")
def queue_ends() -> Iterator[Frame]:
    for i, now in enumerate(clock(60, 20)):
        frame = {"now_us": now, "deadline_us": 33_333, "slow": 1000 if i < 700 else 2100, "status": 0}
        if i < 10 or 300 <= i < 303:
            frame["late_us"] = 34_000
        elif i < 160 or 303 <= i < 420:
            frame["late_us"] = 25_000 + 50 * (i % 7)
        yield frame


@scenario("two samples before a narrowing: the smaller counts, and a latency that fell by exactly half is not flat")
def flat_edges() -> Iterator[Frame]:
    now = 0
    for after in (20_010, 20_016, 21_000, 24_000, 27_000):
        for i in range(70):
            now += 50_000
            took = (31_500, 48_000, 30_000, 47_000)[i % 4] if i < 6 else after
            yield {"now_us": now, "deadline_us": 33_333, "slow": 1000, "late_us": took, "status": 0}
        for _ in range(40):
            now += 100_000
            yield {"now_us": now, "deadline_us": 60_000, "slow": 1000, "status": 0}


@scenario("a widening that held for long resets the wait: fails twice quickly, holds, fails again")
def backoff_reset() -> Iterator[Frame]:
    for now in clock(70, 20):
        bad = now < 12 * SECOND or 50 * SECOND <= now < 51 * SECOND
        yield {"now_us": now, "deadline_us": 40_000, "slow": 1000, "slow_widest": 1600 if bad else 1000, "status": 0}


@scenario("30 to 60 frames per second and back: narrower at once, wider one rung at a time")
def frame_rate() -> Iterator[Frame]:
    for now in clock(4, 30):
        yield {"now_us": now, "deadline_us": 33_333, "slow": 1000, "status": 0}
    for now in clock(4, 60, 4 * SECOND):
        yield {"now_us": now, "deadline_us": 16_666, "slow": 1000, "status": 0}
    for now in clock(6, 30, 8 * SECOND):
        yield {"now_us": now, "deadline_us": 33_333, "slow": 1000, "status": 0}


@scenario("a pause of 60 s: stale knowledge is doubted")
def long_pause() -> Iterator[Frame]:
    for start in (0, 64 * SECOND, 78 * SECOND):
        for i, now in enumerate(clock(4, 30, start)):
            yield {"now_us": now, "deadline_us": 33_333, "slow": 2600 if start and i < 2 else 1000, "status": 0}


@scenario("a pause of exactly 10 s and of one microsecond more")
def pause_at_the_limit() -> Iterator[Frame]:
    times = [*clock(3, 10)]
    for gap in (10 * SECOND, 10 * SECOND + 1, 9_999_999):
        times += clock(3, 10, times[-1] + gap)
    for now in times:
        yield {"now_us": now, "deadline_us": 33_333, "slow": 1000, "status": 0}


@scenario("the clock goes backwards in the middle of a dwell")
def clock_backwards() -> Iterator[Frame]:
    for i, now in enumerate(clock(9, 30)):
        back = 2_500_000 if 20 <= i < 60 else 0
        yield {"now_us": max(now - back, 0), "deadline_us": 40_000, "slow": 2200 if 95 < i < 105 else 1000, "status": 0}


@scenario("samples of another rung, of none and of impossible ones: only real rungs teach")
def sample_of_another_rung() -> Iterator[Frame]:
    for i, now in enumerate(clock(12, 20)):
        rung = (-1, 0, 1, 2, 3, 4, 99)[i // 30 % 7]
        yield {
            "now_us": now,
            "deadline_us": 33_333,
            "observed_us": 9_000 + 900 * (i % 11),
            "observed_rung": rung,
            "status": 0,
        }


@scenario("misses alternate between the own rung and another: a run of misses must be one's own")
def misses_of_two_rungs() -> Iterator[Frame]:
    dice = Dice(9)
    for i, now in enumerate(clock(12, 20)):
        frame = {"now_us": now, "deadline_us": 33_333, "slow": 1000, "status": 0}
        if i % 9 == 5:
            frame |= {"observed_us": 34_000, "observed_rung": dice.below(4)}
        elif i % 9 == 6:
            frame |= {"slow": 1720}
        yield frame


@scenario("the widest is late in its first two frames, little more than an outlier: trust the clock, not the estimate")
def panic() -> Iterator[Frame]:
    for now in clock(30, 20):
        yield {"now_us": now, "deadline_us": 40_000, "slow": 1000, "slow_widest": 1350, "status": 0}


@scenario(
    "latencies, budgets and gates that are met exactly, to the microsecond: 12000 x 1.5 is the first gate, 28256 the "
    "limit for widening to it, 32292 the limit for staying",
    rungs=((12_000, 1), (28_256, 2), (32_292, 3)),
    policy={"k_start": 0, "k_min": 0, "k_max": 0, "dwell_us": 200_000},
)
def exact_fits() -> Iterator[Frame]:
    for i, now in enumerate(clock(16, 10)):
        deadline = (33_333, 33_332, 33_334, 12_386, 6_193, 6_192, 33_333, 40_000)[i // 20]
        yield {"now_us": now, "deadline_us": deadline, "slow": 1000, "status": 0, "user_cap": 1 if 2 <= i < 9 else -1}


@scenario(
    "the first learned sample stands exactly at the gate, the second one beyond it",
    rungs=((12_000, 1), (24_000, 2)),
)
def at_the_gate() -> Iterator[Frame]:
    for i, now in enumerate(clock(4, 10)):
        slow = {2: 1500, 3: 1500, 20: 1250, 21: 1251}.get(i, 1000)
        yield {"now_us": now, "deadline_us": 26_000, "slow": slow, "status": 0, "user_cap": 0}


@scenario("a narrow start: the dwell counts from there; a floor forbids panic")
def narrow_start() -> Iterator[Frame]:
    for i, now in enumerate(clock(3, 30, 100 * SECOND)):
        yield {"now_us": now, "deadline_us": 40_000, "slow": 1000, "status": 0, "user_cap": -1 if i else 0}
    for now in clock(6, 30, 103 * SECOND):
        frame = {"now_us": now, "deadline_us": 40_000, "slow": 1000, "slow_widest": 1350, "status": 0}
        yield frame | {"user_min": 3 if now < 106 * SECOND else 2}


@scenario(
    "widenings that fail 1.2, exactly 4 and 5 s after they were made, with waits of 1, 2 and 2 s",
    policy={"level_fall_us": 0, "dwell_warm_us": 0, "dwell_frames": 1, "thermal_hold_us": [2 * SECOND, 16 * SECOND]},
)
def backoff_edges() -> Iterator[Frame]:
    hot = {30, 90, 160, 161}
    for i, now in enumerate(clock(25, 10)):
        yield {"now_us": now, "deadline_us": 40_000, "slow": 1000, "status": 2 if i in hot else 0}


@scenario(
    "a clock that stands still: nothing is ever due", policy={"dwell_us": 0, "dwell_frames": 1, "dwell_warm_us": 0}
)
def frozen_clock() -> Iterator[Frame]:
    for i in range(60):
        slow = 2200 if i % 12 in (7, 8, 9, 10) else 1000
        yield {"now_us": 5 * SECOND, "deadline_us": 40_000, "slow": slow, "status": 0 if i < 30 else 2 - i % 2}


@scenario("latency exactly at the deadline is met, one microsecond more is missed")
def at_the_deadline() -> Iterator[Frame]:
    for i, now in enumerate(clock(8, 30)):
        yield {
            "now_us": now,
            "deadline_us": 33_333,
            "slow": 1000,
            "late_us": 33_333 + i % 2 * (i // 60 % 2),
            "status": 0,
        }


@scenario("deadline 0, negative and huge; latency 0 and huge")
def extreme_inputs() -> Iterator[Frame]:
    deadlines = (0, -5, 1, 33_333, 60_000_000, 60_000_001, 1 << 60)
    for i, now in enumerate(clock(28, 10)):
        obs = (0, 1, 2, 7_000, 59_999_999, 60_000_000, 1 << 60)[i % 7]
        yield {
            "now_us": now,
            "deadline_us": deadlines[i // 40 % 7],
            "observed_us": obs,
            "observed_rung": i // 3 % 4,
            "status": 0,
        }


@scenario("a single rung: nothing to decide, still the truth about feasibility", rungs=FOUR[1:2])
def single_rung() -> Iterator[Frame]:
    yield from _mixed(11, 8)


@scenario("two rungs: MODERATE already means the narrow one", rungs=FOUR[1:3])
def two_rungs() -> Iterator[Frame]:
    yield from _mixed(12, 20)


@scenario("three rungs", rungs=FOUR[:3])
def three_rungs() -> Iterator[Frame]:
    yield from _mixed(13, 20)


@scenario("eight rungs", rungs=EIGHT)
def eight_rungs() -> Iterator[Frame]:
    yield from _mixed(14, 40)


def _mixed(seed: int, seconds: int) -> Iterator[Frame]:
    """A little of everything, slowly changing."""
    dice = Dice(seed)
    slow, status, battery_permille = 1000, 0, 500
    for i, now in enumerate(clock(seconds, 15)):
        if i % 45 == 44:
            slow = dice.between(700, 2600)
        if i % 100 == 99:
            status = dice.between(0, 3)
        battery_permille -= dice.below(2)
        yield {
            "now_us": now,
            "deadline_us": 33_333 if i % 200 < 150 else 21_000,
            "slow": slow + dice.below(80),
            "status": status,
            "battery_permille": max(battery_permille, 0),
        }


# ── heat ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@scenario("status climbs 0 to 4 and 5 in steps of 5 s and comes back: caps 3, 3, 2, 1, 0 thirds, half the frames at 4")
def thermal_staircase() -> Iterator[Frame]:
    levels = (0, 0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0)
    for now in clock(220, 4):
        step = min(now // (5 * SECOND), 11)
        yield {"now_us": now, "deadline_us": 40_000, "slow": 1000, "status": levels[step]}


@scenario("the same staircase told by the forecast alone: 3 and 4 cap and forbid widening", rungs=EIGHT)
def forecast_staircase() -> Iterator[Frame]:
    values = (700, 849, 850, 950, 999, 1000, 1149, 1150, 2000, -1, 999, 600)
    for now in clock(60, 10):
        yield {
            "now_us": now,
            "deadline_us": 33_333,
            "slow": 1000,
            "status": 0,
            "forecast_milli": values[now // (5 * SECOND)],
        }


@scenario("a forecast of SEVERE narrows before it is hot, and holds while it stands")
def forecast_severe() -> Iterator[Frame]:
    for now in clock(40, 10):
        ahead = 1020 if 8 * SECOND <= now < 18 * SECOND else 800
        yield {"now_us": now, "deadline_us": 40_000, "slow": 1000, "headroom_milli": 780, "forecast_milli": ahead}


@scenario("status stuck at NONE while headroom rises; then headroom turns unknown: holds for 120 s, then falls")
def status_stuck() -> Iterator[Frame]:
    for now in clock(400, 2):
        head = min(700 + now // 50_000, 1200) if now < 60 * SECOND else -1
        yield {"now_us": now, "deadline_us": 40_000, "slow": 1000, "status": 0, "headroom_milli": head}


@scenario("headroom 1.2, then nothing is known at all: the level holds for ever")
def heat_turns_unknown() -> Iterator[Frame]:
    for now in clock(300, 2):
        head = 1200 if now < 10 * SECOND else -1
        yield {"now_us": now, "deadline_us": 40_000, "slow": 1000, "headroom_milli": head}


@scenario("status turns unknown at SEVERE while headroom says cool: holds 120 s, then the headroom counts")
def status_turns_unknown() -> Iterator[Frame]:
    for now in clock(260, 2):
        frame = {"now_us": now, "deadline_us": 40_000, "slow": 1000, "headroom_milli": 500}
        yield frame | ({"status": 3} if now < 10 * SECOND else {})


@scenario("heat is unknown from the start: latency alone decides")
def heat_unknown() -> Iterator[Frame]:
    for now in clock(8, 30):
        slow = 1000 if now < 4 * SECOND else 1500
        yield {"now_us": now, "deadline_us": 33_333, "slow": slow}


@scenario("MODERATE for 5 s of every 40 s, 20 minutes: the wait doubles from 60 to 480 s")
def moderate_flapping() -> Iterator[Frame]:
    for now in clock(1200, 2):
        status = 2 if now % (40 * SECOND) >= 35 * SECOND else 0
        yield {"now_us": now, "deadline_us": 40_000, "slow": 1000, "status": status}


@scenario("MODERATE for good with one slow burst of 2 s: comes back to its cap")
def moderate_for_good() -> Iterator[Frame]:
    for now in clock(60, 10):
        slow = 2100 if 10 * SECOND <= now < 12 * SECOND else 1000
        yield {"now_us": now, "deadline_us": 33_333, "slow": slow, "status": 2}


@scenario(
    "headroom up and down across each threshold, a milli at a time: the hysteresis of 50",
    policy={"level_fall_us": 0},
)
def headroom_hysteresis() -> Iterator[Frame]:
    now = 0
    for threshold in (850, 950, 1000, 1150):
        path = [*range(threshold - 3, threshold + 3), *range(threshold - 46, threshold - 54, -1), 700, 700, 700, 700]
        for milli in path:
            now += SECOND
            yield {"now_us": now, "deadline_us": 33_333, "slow": 1000, "headroom_milli": milli, "forecast_milli": milli}


@scenario("the level falls after exactly 20 s below, and a rise in between starts the wait again")
def level_falls() -> Iterator[Frame]:
    path = {0: 1, 19: 1, 20: 1, 21: 1, 30: 2, 31: 1, 49: 1, 50: 1, 51: 0, 70: 0, 71: 0, 91: 0}
    yield {"now_us": 0, "deadline_us": 33_333, "slow": 1000, "status": 3}
    for second, status in path.items():
        for offset in (-1, 0, 1):
            now = max(second * SECOND + offset, 0)
            yield {"now_us": now, "deadline_us": 33_333, "slow": 1000, "status": status}


@scenario("an input unknown for exactly 120 s, and a microsecond more")
def heat_memory() -> Iterator[Frame]:
    for base, known in ((0, {"status": 2}), (400, {"headroom_milli": 960})):
        for second, extra in (
            (0, {"status": 0, "headroom_milli": 0, **known}),
            (60, {}),
            (120, {}),
            (121, {}),
            (150, {}),
            (180, {}),
        ):
            for offset in (0, 1):
                other = {"headroom_milli": 0} if "status" in known else {"status": 0}
                now = (base + second) * SECOND + offset
                yield {"now_us": now, "deadline_us": 33_333, "slow": 1000, **(extra or other)}


# ── battery, power, the user ─────────────────────────────────────────────────────────────────────────────────────────


@scenario("the battery drains from 30 % to 1 % with a noisy gauge: exactly three narrowings")
def battery_drain() -> Iterator[Frame]:
    dice = Dice(5)
    for i, now in enumerate(clock(300, 2)):
        battery_permille = max(300 - i // 2 + dice.between(-8, 8), 10)
        yield {"now_us": now, "deadline_us": 40_000, "slow": 1000, "status": 0, "battery_permille": battery_permille}


@scenario("each battery threshold, a permille at a time, down and up")
def battery_thresholds() -> Iterator[Frame]:
    now = 0
    for threshold in (200, 100, 50):
        for battery_permille in (
            threshold,
            threshold - 1,
            threshold + 19,
            threshold + 20,
            threshold + 20,
            threshold - 1,
        ):
            now += 1_500_000
            yield {
                "now_us": now,
                "deadline_us": 33_333,
                "slow": 1000,
                "status": 0,
                "battery_permille": battery_permille,
            }


@scenario("2 % and then unknown: stays narrow")
def battery_unknown() -> Iterator[Frame]:
    for now in clock(20, 10):
        battery_permille = 20 if now < 5 * SECOND else -1
        yield {"now_us": now, "deadline_us": 40_000, "slow": 1000, "status": 0, "battery_permille": battery_permille}


@scenario("plugged in at 2 %: released, one rung at a time; unplugged again")
def plug_in() -> Iterator[Frame]:
    for now in clock(20, 20):
        charging = 4 * SECOND <= now < 14 * SECOND
        yield {
            "now_us": now,
            "deadline_us": 40_000,
            "slow": 1000,
            "status": 0,
            "battery_permille": 20,
            "charging": int(charging),
        }


@scenario("charging at 2 % from the start: no cap")
def charging_low() -> Iterator[Frame]:
    for now in clock(5, 20):
        yield {"now_us": now, "deadline_us": 40_000, "slow": 1000, "status": 0, "battery_permille": 20, "charging": 1}


@scenario("low-power mode on, off, and on while charging: one third, then free")
def low_power() -> Iterator[Frame]:
    for now in clock(24, 20):
        on, charging = now // (4 * SECOND) % 2, int(now >= 16 * SECOND)
        yield {"now_us": now, "deadline_us": 40_000, "slow": 1000, "status": 0, "low_power": on, "charging": charging}


@scenario("a power budget that shrinks to nothing and returns, at two rates")
def power_budget() -> Iterator[Frame]:
    for now in clock(40, 10):
        power = max(2600 - now // 10_000, 0) if now < 30 * SECOND else -1
        inferences_per_ks = 30_000 if now < 20 * SECOND else 60_000
        yield {
            "now_us": now,
            "deadline_us": 40_000,
            "slow": 1000,
            "status": 0,
            "power_mw": power,
            "inferences_per_ks": inferences_per_ks,
        }


@scenario("a budget that pays for a rung exactly, one milliwatt less, and absurd values")
def power_budget_exact() -> Iterator[Frame]:
    cases = [(2100, 30_000), (2101, 30_000), (1260, 30_000), (661, 30_000), (660, 30_000), (273, 30_000), (0, 30_000)]
    cases += [
        (0, 0),
        (10**9, 10**9),
        (10**6, 10**7),
        (500, -3),
        (-7, 30_000),
        (70_001, 10**6),
        (70_000, 10**6),
        (65_101, 930_001),
    ]
    for i, now in enumerate(clock(60, 5)):
        power, inferences_per_ks = cases[i // 20]
        yield {
            "now_us": now,
            "deadline_us": 40_000,
            "slow": 1000,
            "power_mw": power,
            "inferences_per_ks": inferences_per_ks,
        }


@scenario("the app's widest below its narrowest, beyond the ladder, and rising floors: caps win")
def user_limits() -> Iterator[Frame]:
    cases = [(-1, 0), (1, 2), (0, 3), (3, 2), (9, 9), (2, -4), (-1, 3), (-1, 1), (1, 1), (-1, 0)]
    for now in clock(40, 10):
        cap, low = cases[now // (4 * SECOND)]
        slow = 1000 if now < 26 * SECOND else 1900
        yield {"now_us": now, "deadline_us": 33_333, "slow": slow, "status": 0, "user_cap": cap, "user_min": low}


@scenario("every cap at once, and each one alone as the lowest: the reasons name all that bind")
def caps_together() -> Iterator[Frame]:
    dice = Dice(21)
    for now in clock(120, 2):
        yield {
            "now_us": now,
            "deadline_us": 40_000,
            "slow": 1000,
            "status": dice.below(4),
            "forecast_milli": dice.between(900, 1100),
            "battery_permille": dice.below(260),
            "low_power": dice.below(2),
            "charging": dice.below(5) // 4,
            "power_mw": dice.between(200, 2400),
            "inferences_per_ks": 30_000,
            "user_cap": dice.between(-1, 3),
            "user_min": dice.below(2),
        }


# ── random ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@scenario("random readings, closed loop, balanced")
def random_balanced() -> Iterator[Frame]:
    yield from random_frames(101, 1200)


@scenario("random readings, closed loop, eight rungs, battery_saver", rungs=EIGHT, base="battery_saver")
def random_battery_saver() -> Iterator[Frame]:
    yield from random_frames(102, 800)


@scenario("random readings, closed loop, quality", base="quality")
def random_quality() -> Iterator[Frame]:
    yield from random_frames(103, 600)


@scenario("random readings, a policy with every field changed", rungs=EIGHT, policy={
    "headroom_shift": 4, "widen_shift": 4, "mean_shift": 2, "jump_shift": 0, "dev_attack_shift": 1,
    "dev_release_shift": 3, "dev_floor_shift": 5, "dev_start_shift": 2, "dev_stale_shift": 1, "gate_dev_shift": 1,
    "gate_floor_shift": 3, "gate_samples": 3, "k_start": 2048, "k_min": 1024, "k_max": 4096, "k_hit": 8, "k_miss": 100,
    "settle_samples": 3, "panic_misses": 3, "dwell_us": 400_000, "dwell_frames": 6, "dwell_warm_us": 2 * SECOND,
    "stale_us": 3 * SECOND, "latency_hold_us": [SECOND, 5 * SECOND], "thermal_hold_us": [4 * SECOND, 30 * SECOND],
    "thermal_thirds": [3, 2, 2, 1, 1], "headroom_milli": [800, 900, 1050, 1200], "headroom_hysteresis_milli": 20,
    "level_fall_us": 3 * SECOND, "heat_memory_us": 8 * SECOND, "veto_level": 2, "battery_permille": [100, 200, 400],
    "battery_thirds": [0, 1, 1, 2], "battery_hysteresis_permille": 30, "low_power_thirds": 2, "max_skip": 5,
    "critical_skip": 3,
})  # fmt: skip
def random_other_policy() -> Iterator[Frame]:
    yield from random_frames(104, 1000)


def random_frames(seed: int, count: int) -> Iterator[Frame]:
    """Regimes that change now and then, with every input drawn anew inside them."""
    dice = Dice(seed)
    now, slow, heat, deadline = 0, 1000, 600, 33_333
    for i in range(count):
        if dice.below(60) == 0:
            slow = dice.between(500, 2500)
        if dice.below(40) == 0:
            heat = dice.between(500, 1250)
        if dice.below(80) == 0:
            deadline = (33_333, 40_000, 16_666, 50_000, 5_000)[dice.below(5)]
        now += dice.between(20_000, 90_000) if dice.below(50) else dice.between(0, 25 * SECOND)
        frame = {"now_us": now, "deadline_us": deadline, "slow": slow + dice.below(120)}
        if dice.below(25) == 0:
            frame["slow"] *= 2
        if dice.below(3):
            frame["status"] = max(0, min((heat - 700) // 100, 5))
        if dice.below(4):
            frame |= {"headroom_milli": heat + dice.between(-30, 30), "forecast_milli": heat + dice.between(-60, 90)}
        if dice.below(3) == 0:
            frame["battery_permille"] = dice.below(1000) if dice.below(4) else dice.below(230)
        if dice.below(8) == 0:
            frame["charging"] = 1
        if dice.below(12) == 0:
            frame["low_power"] = 1
        if dice.below(10) == 0:
            frame |= {"power_mw": dice.below(3000), "inferences_per_ks": dice.below(60_000)}
        if dice.below(15) == 0:
            frame |= {"user_cap": dice.between(-1, 9), "user_min": dice.between(-1, 5)}
        if dice.below(30) == 0:
            frame |= {"observed_us": dice.below(90_000), "observed_rung": dice.between(-1, 8)}
        if i % 400 == 399:
            frame["now_us"] = now - 5 * SECOND
        yield frame
