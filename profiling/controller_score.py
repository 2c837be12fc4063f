"""Is the controller worth it? Every policy on the device model, mean over seeds, against the promised limits.

    .venv/bin/python profiling/controller_score.py                          30 seeds, built-in table, about 10 minutes
    .venv/bin/python profiling/controller_score.py --seeds 4                a quick look
    .venv/bin/python profiling/controller_score.py --table FILE --widest-ms 30 --load-ms 300 --within 1.5
    .venv/bin/python profiling/controller_score.py --thinning --seeds 2     by value against from the widest down
    .venv/bin/python profiling/controller_score.py --queue --seeds 2        where narrower is not faster

``--widest-ms`` scales a table from a fast machine so that its widest net is as tight in a frame as on a phone; energy
is then 2 W while an inference runs. Limits: delivered accuracy at most ``--within`` points below the state oracle, at
most 0.6 % late, at most 4 switches per minute, never 45 °C; score ahead of every other causal policy on the mean of
the three rooms and within 0.5 of the best static width chosen in hindsight for each.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from ladders import SHAPES

from edgeslim.core.ladder import Ladder, Rung, ladder, thinned
from edgeslim.core.latency import LatencyTable
from edgeslim.simulate import policies
from edgeslim.simulate.engine import Setting, simulate
from edgeslim.simulate.oracle import best_oracle
from edgeslim.simulate.scenario import SCENARIOS
from edgeslim.simulate.simulation import Row, summarise
from edgeslim.simulate.tables import BUILTIN, at_speed, percents

ROOMS = ("cool_desk", "room", "hot")
OURS = "balanced"
MOST_LATE, MOST_SWITCHES, NEAR_STATIC = 0.006, 4.0, 0.5

MINUTES = 10.0

Figures = dict[str, float]


def one(job: tuple[Ladder, str, int, float]) -> dict[str, Figures]:
    """Every policy on one seed of one room."""
    rungs, room, seed, load_ms = job
    # A policy's width takes time to load; the oracle and the limits it sets know no such delay.
    setting = Setting(scenario=SCENARIOS[room], seed=seed, load_ms=load_ms)
    oracle = best_oracle(rungs, dataclasses.replace(setting, load_ms=0.0))
    runs = {name: simulate(policies.chooser(name, rungs), rungs, setting) for name in policies.names(rungs)[:-1]}
    rows = [summarise(run, oracle=oracle) for run in (*runs.values(), oracle)]
    return {row.policy: {k: v for k, v in dataclasses.asdict(row).items() if k != "policy"} for row in rows}


def mean(figures: list[Figures]) -> Figures:
    return {name: sum(f[name] for f in figures) / len(figures) for name in figures[0]}


def measured(path: Path, widest_ms: float | None) -> Ladder:
    """The ladder of a table, its times scaled so that the widest takes ``widest_ms``."""
    rungs = ladder(LatencyTable.read(path))
    return rungs if widest_ms is None else at_speed(rungs, widest_ms)


def limits(found: dict[str, dict[str, Figures]], within: float) -> list[tuple[bool, str]]:
    """Every promise: whether it is kept, and the figure."""
    checks = []
    for room, rows in found.items():
        ours = rows[OURS]
        static = max((rows[n]["score"], n) for n in rows if n.startswith("static:") or n in ("widest", "narrowest"))
        checks += [
            (ours["regret"] <= within, f"{room}: {ours['regret']:.2f} below the oracle (at most {within})"),
            (ours["miss_rate"] <= MOST_LATE, f"{room}: {100 * ours['miss_rate']:.2f} % late (at most 0.6)"),
            (
                ours["switches_per_min"] <= MOST_SWITCHES,
                f"{room}: {ours['switches_per_min']:.2f} switches/min (at most 4)",
            ),
            (ours["share_45c"] == 0, f"{room}: {100 * ours['share_45c']:.2f} % of the time at 45 °C (never)"),
            (
                ours["score"] >= static[0] - NEAR_STATIC,
                f"{room}: score {ours['score']:.2f}, best static in hindsight {static[1]} {static[0]:.2f} (within 0.5)",
            ),
        ]
    scores = {name: sum(rows[name]["score"] for rows in found.values()) / len(found) for name in found[ROOMS[0]]}
    others = {n: s for n, s in scores.items() if n not in ("balanced", "battery_saver", "quality", "oracle")}
    best = max(others, key=lambda name: others[name])
    ahead = scores[OURS] - others[best]
    checks.append((ahead > 0, f"mean score {scores[OURS]:.2f}, {ahead:+.2f} to the next causal policy ({best})"))
    return checks


def show(found: dict[str, dict[str, Figures]]) -> None:
    for room, rows in found.items():
        print(f"\n{room}: {SCENARIOS[room].about}")
        heads = ("score", "deliv", "regret", "late %", "sw/min", "≥43 %", "≥45 %", "mJ")
        print(f"{'policy':16s}", *(f"{head:>6s}" for head in heads))
        for name, f in sorted(rows.items(), key=lambda item: -item[1]["score"]):
            print(
                f"{name:16s} {f['score']:6.2f} {f['delivered_accuracy']:6.2f} {f['regret']:6.2f} "
                f"{100 * f['miss_rate']:6.2f} {f['switches_per_min']:6.2f} {100 * f['share_43c']:6.1f} "
                f"{100 * f['share_45c']:6.1f} {f['energy_mj']:6.1f}"
            )


def from_the_top(rungs: list[Rung]) -> list[Rung]:
    """What thinning by value is judged against: the widest, then the next one that is 1.25x faster, and so on."""
    kept = rungs[-1:]
    for rung in reversed(rungs[:-1]):
        if rung.t_us * 5 <= kept[-1].t_us * 4:
            kept.append(rung)
    return kept[::-1]


def balanced(job: tuple[Ladder, str, int, str]) -> Row:
    """One seed of one room."""
    rungs, room, seed, policy = job
    setting = Setting(scenario=SCENARIOS[room], minutes=MINUTES, seed=seed)
    return summarise(simulate(policies.chooser(policy, rungs), rungs, setting))


def compare_thinnings(seeds: int, jobs: int) -> None:
    """Both rules on every shape of ladders.py, policies balanced and quality, three rooms."""
    print(f"{'ladder':24s} {'policy':9s} {'room':10s} score: from the top, by value")
    for name, rungs in SHAPES.items():
        table = (Ladder(rungs=tuple(from_the_top(rungs))), Ladder(rungs=tuple(thinned(rungs, []))))
        for policy in ("balanced", "quality"):
            for room in ROOMS:
                work = [(ladder_, room, seed, policy) for ladder_ in table for seed in range(seeds)]
                with ProcessPoolExecutor(jobs) as pool:
                    scores = [row.score for row in pool.map(balanced, work)]
                top, value = sum(scores[:seeds]) / seeds, sum(scores[seeds:]) / seeds
                print(f"{name:24s} {policy:9s} {room:10s} {top:6.2f} {value:6.2f} {value - top:+.2f}", flush=True)


def show_queue(seeds: int, jobs: int) -> None:
    """The scenario ``queue`` on the built-in table and every shape."""
    ladders = {"built in": BUILTIN} | {name: Ladder(rungs=tuple(thinned(r, []))) for name, r in SHAPES.items()}
    for name, rungs in ladders.items():
        for policy in (OURS, "threshold", *(n for n in policies.names(rungs) if n.startswith("static:"))):
            work = [(rungs, "queue", seed, policy) for seed in range(seeds)]
            with ProcessPoolExecutor(jobs) as pool:
                rows = list(pool.map(balanced, work))
            score, late = (sum(getattr(row, f) for row in rows) / seeds for f in ("score", "miss_rate"))
            print(f"{name:24s} {policy:16s} {score:6.2f} {100 * late:6.2f} % late", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--widest-ms", type=float)
    parser.add_argument("--load-ms", type=float, default=0.0)
    parser.add_argument("--within", type=float, default=1.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--thinning", action="store_true")
    parser.add_argument("--queue", action="store_true")
    options = parser.parse_args()
    if options.thinning or options.queue:
        (compare_thinnings if options.thinning else show_queue)(options.seeds, options.jobs)
        return 0
    rungs = measured(options.table, options.widest_ms) if options.table else BUILTIN
    jobs = [(rungs, room, seed, options.load_ms) for room in ROOMS for seed in range(options.seeds)]
    with ProcessPoolExecutor(options.jobs) as pool:
        results = list(pool.map(one, jobs))
    found: dict[str, dict[str, Figures]] = {}
    for room in ROOMS:
        mine = [result for job, result in zip(jobs, results, strict=True) if job[1] == room]
        found[room] = {name: mean([result[name] for result in mine]) for name in mine[0]}
    checks = limits(found, options.within)
    if options.json:
        print(
            json.dumps({"seeds": options.seeds, "rooms": found, "limits": [{"kept": k, "what": w} for k, w in checks]})
        )
    else:
        print(
            "ladder:",
            ", ".join(
                f"{r.label} {r.t_us / 1000:.1f} ms {p:.1f}" for r, p in zip(rungs.rungs, percents(rungs), strict=True)
            ),
        )
        show(found)
        print()
        for kept, what in checks:
            print("kept  " if kept else "BROKEN", what)
    return int(not all(kept for kept, _ in checks))


if __name__ == "__main__":
    sys.exit(main())
