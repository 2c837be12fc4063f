"""What the measured loop of ``edgeslim bench`` adds to the runtime's own inference time.

    python profiling/bench_overhead.py [--model FILE.tflite] [--pairs 600] [--record]

Three loops over the same loaded net take turns in one process, in an order drawn anew every time:

    bare      for _ in range(runs): invoke()        the runtime's own inference, the clock read around all of them
    sampled   timed_runs(...)                       what a table is made of: every run timed
    whole     for _ in range(runs): runner.run()    input copied in and output copied out as well

Ratios are medians over pairs with a 95 % bootstrap interval.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import record
from numpy.typing import NDArray
from small_net import exported

from edgeslim.host.sampling import example_inputs, timed_runs
from edgeslim.targets.litert import LitertRunner

RUNS = 10  # per turn: short, so that most pairs are undisturbed


def bare_ns(call: Callable[[], object], runs: int = RUNS) -> float:
    """Nanoseconds per run of a loop that times nothing inside."""
    start = time.perf_counter_ns()
    for _ in range(runs):
        call()
    return (time.perf_counter_ns() - start) / runs


def sampled_ns(call: Callable[[], object], runs: int = RUNS) -> float:
    """Nanoseconds per run of the whole measured loop."""
    start = time.perf_counter_ns()
    timed_runs(call, runs)
    return (time.perf_counter_ns() - start) / runs


def interval(ratios: NDArray[np.float64]) -> dict[str, float]:
    """Median and its 95 % interval."""
    drawn = np.median(np.random.default_rng(0).choice(ratios, (2000, len(ratios))), axis=1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return {"ratio": float(np.median(ratios)), "low": float(low), "high": float(high)}


def measure(model: Path, pairs: int) -> dict[str, Any]:
    runner = LitertRunner(model, threads=1)
    inputs = example_inputs(runner.inputs)
    call = runner.bind(inputs)
    loops: dict[str, Callable[[], float]] = {
        "bare": lambda: bare_ns(runner._interpreter.invoke),
        "sampled": lambda: sampled_ns(call),
        "whole": lambda: bare_ns(lambda: runner.run(inputs)),
    }
    for _ in range(20):
        sampled_ns(call)
    rng = random.Random(0)
    turns: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(pairs):
        for name in rng.sample(sorted(loops), len(loops)):
            call()  # what ran last left its own things in the caches
            turns[name].append(loops[name]())
    bare = np.asarray(turns["bare"])
    return {
        "model": model.name,
        "inference_ms": round(float(np.median(bare)) / 1e6, 4),
        "pairs": pairs,
        **{name: interval(np.asarray(turns[name]) / bare) for name in ("sampled", "whole")},
    }


def figures(found: dict[str, Any]) -> list[record.Figure]:
    what = f"{found['inference_ms']} ms per inference of {found['model']}"
    return [
        record.Figure(
            aim=aim,
            measured=tuple(round(100 * (found[name][which] - 1), 3) for which in ("ratio", "low", "high")),
            unit="%",
            of=("median", "2.5 %", "97.5 %"),
            notes=(f"{found['pairs']} pairs of {RUNS} runs, {what}.",),
        )
        for name, aim in (
            ("sampled", "the measured loop adds to the runtime's own inference"),
            ("whole", "copying input and output adds to it"),
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a .tflite file; default: a net of about 1 ms, exported once")
    parser.add_argument("--pairs", type=int, default=600)
    parser.add_argument("--json", action="store_true")
    record.add_option(parser)
    options = parser.parse_args()
    model = options.model or exported()
    passport = record.begin("ai-edge-litert")
    found = measure(model, options.pairs)
    if options.record:
        record.write("bench_overhead", figures(found), passport)
    if options.json:
        print(json.dumps(found))
        return
    print(f"{found['model']}: {found['inference_ms']} ms per inference, {found['pairs']} pairs of {RUNS} runs")
    for name, words in (("sampled", "sampled / bare"), ("whole", "whole / bare")):
        one = found[name]
        print(f"{words:15} {one['ratio']:.4f}  (95 % {one['low']:.4f} … {one['high']:.4f})")


if __name__ == "__main__":
    main()
