"""Whether a row counts, and if not why. A reason is ``word: sentence``; the words are stable, for programs.

The limits were chosen on a quiet and on a disturbed machine (a busy loop on every core half of the time):
quiet, the others' share stayed under 0.04 and the waited share under 0.02; disturbed, they were above 0.18 and 0.09.
``profiling/bench_repeat.py`` repeats that.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeslim.benchmark.board.messages import Block
from edgeslim.core.job import SUSTAINED_RUNS, SUSTAINED_SECONDS, Job
from edgeslim.core.passport import BatterySpan, ClockSpan, LoadSpan, RuntimeInfo, ThermalSpan
from edgeslim.host.load import Load

OTHERS_LIMIT = 0.06
WAITED_LIMIT = 0.05
STEAL_LIMIT = 0.03
CLOCK_LIMIT = 0.05
SPREAD_LIMIT = 0.025
"""Half of the 95 % interval of the p50: two such rows agree within 5 %."""
MIN_BLOCKS = 6
_RESAMPLES = 200

# A row with one of these may come out better when it is measured again.
PASSING = ("load", "wait", "steal", "clock", "unstable")


def p50_interval(
    blocks: Sequence[Sequence[float]], *, seed: int = 0, resamples: int = _RESAMPLES
) -> tuple[float, float]:
    """The 95 % bootstrap interval of the p50, drawing whole blocks: samples of one turn are not independent."""
    low, high = np.percentile(p50_resampled(blocks, seed=seed, resamples=resamples), (2.5, 97.5))
    return float(low), float(high)


def p50_resampled(blocks: Sequence[Sequence[float]], *, seed: int, resamples: int) -> NDArray[np.float64]:
    """The p50 of each resample, shape [resamples]."""
    rng = np.random.default_rng(seed)
    arrays = [np.asarray(block, dtype=np.float64) for block in blocks]
    draws = rng.integers(0, len(arrays), (resamples, len(arrays)))
    return np.array([np.median(np.concatenate([arrays[index] for index in draw])) for draw in draws])


def spread(blocks: Sequence[Block]) -> float | None:
    """Half of the p50's 95 % interval as a share of the p50; None for fewer than ``MIN_BLOCKS`` blocks."""
    if len(blocks) < MIN_BLOCKS:
        return None
    low, high = p50_interval([block.samples_ns for block in blocks])
    return (high - low) / (high + low)


def disturbed(load: LoadSpan) -> bool:
    return next(_load_reasons(load), None) is not None


def settled(blocks: Sequence[Block]) -> bool:
    """Measuring longer would not make a burst row better."""
    width = spread(blocks)
    return width is not None and width <= SPREAD_LIMIT and not disturbed(Load.total(block.load for block in blocks))


def reasons(
    job: Job,
    blocks: Sequence[Block],
    *,
    thermal: ThermalSpan,
    battery: BatterySpan,
    clock: ClockSpan,
    load: LoadSpan,
    runtime: RuntimeInfo,
    threads_used: int,
) -> tuple[str, ...]:
    """Why a measured row does not count; empty when it does.

    Heat, a falling clock and a drifting p50 are what a sustained row is there to show: they are no reasons against it.
    """
    found = [
        *_amount_reasons(job, blocks),
        *_load_reasons(load),
        *_power_reasons(battery),
        *_runtime_reasons(runtime, threads_used),
    ]
    if job.kind == "burst":
        found += [*_thermal_reasons(thermal), *_clock_reasons(clock), *_spread_reasons(blocks)]
    return tuple(found)


def _amount_reasons(job: Job, blocks: Sequence[Block]) -> Iterator[str]:
    runs = sum(len(block.samples_ns) for block in blocks)
    seconds = sum(block.load.wall_s for block in blocks)
    if runs < job.runs:
        yield f"samples: {runs} of {job.runs} runs within {job.limit_s:g} s"
    if job.kind == "sustained" and (runs < SUSTAINED_RUNS or math.ceil(seconds) < SUSTAINED_SECONDS):
        yield (
            f"samples: {runs} runs in {seconds:.0f} s, a sustained table takes "
            f"{SUSTAINED_RUNS} runs and {SUSTAINED_SECONDS:.0f} s"
        )


def _load_reasons(load: LoadSpan) -> Iterator[str]:
    if (load.others_share or 0.0) > OTHERS_LIMIT:
        yield f"load: other processes used {load.others_share:.0%} of the processors"
    if (load.waited_share or 0.0) > WAITED_LIMIT:
        yield f"wait: the net was ready but had no core for {load.waited_share:.0%} of its time"
    if (load.steal_share or 0.0) > STEAL_LIMIT:
        yield f"steal: the virtual machine's host took {load.steal_share:.0%} of the processors"


def _power_reasons(battery: BatterySpan) -> Iterator[str]:
    if battery.charging:
        yield "charging: the battery was being charged"
    if battery.low_power:
        yield "power-save: the system was saving power"


def _runtime_reasons(runtime: RuntimeInfo, threads_used: int) -> Iterator[str]:
    if runtime.threads != threads_used:
        yield f"threads: asked for {runtime.threads}, the runtime used {threads_used}"
    if runtime.delegate_requested != runtime.delegate_actual:
        yield f"delegate: asked for {runtime.delegate_requested}, ran on {runtime.delegate_actual}"


def _thermal_reasons(thermal: ThermalSpan) -> Iterator[str]:
    if thermal.level_start:
        yield f"thermal: level {thermal.level_start} at the start"
    elif thermal.level_max:
        yield f"thermal: the level rose to {thermal.level_max}"


def _clock_reasons(clock: ClockSpan) -> Iterator[str]:
    reference = clock.baseline_ms_reference
    slowest = max(clock.baseline_ms_start or 0.0, clock.baseline_ms_end or 0.0)
    if reference and slowest > reference * (1 + CLOCK_LIMIT):
        yield f"clock: a fixed piece of work took {slowest / reference - 1:.0%} longer than before the table"


def _spread_reasons(blocks: Sequence[Block]) -> Iterator[str]:
    width = spread(blocks)
    if width is not None and width > SPREAD_LIMIT:
        yield f"unstable: the p50 is known to ±{width:.1%} only"


def third_medians_ms(values_ns: Sequence[int]) -> tuple[float, float]:
    """Medians of the first and of the last third, in ms."""
    third = max(1, len(values_ns) // 3)
    return statistics.median(values_ns[:third]) / 1e6, statistics.median(values_ns[-third:]) / 1e6
