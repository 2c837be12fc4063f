"""Is the controller worth it? Every policy on the device model, mean over seeds, against the promised limits.

    python profiling/controller_score.py [--record]               30 seeds, built-in table, about 10 minutes
    python profiling/controller_score.py --seeds 4                a quick look
    python profiling/controller_score.py --table FILE --widest-ms 30 --load-ms 300 --within 1.5
    python profiling/controller_score.py --thinning --seeds 10    by value against from the top, about 15 minutes
    python profiling/controller_score.py --queue --seeds 2        where narrower is not faster

``--widest-ms`` scales a table from a fast machine so that its widest net is as tight in a frame as on a phone; energy
is then 2 W while an inference runs. Limits: delivered accuracy at most ``--within`` points below the state oracle, at
most 0.6 % late, at most 4 switches per minute, never 45 °C; score ahead of every other causal policy on the mean of
the three rooms and within 0.5 of the best static width chosen in hindsight for each.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import record
from ladders import SHAPES, at_speeds, drawn

from edgeslim.core.ladder import Ladder, Rung, ladder, thinned
from edgeslim.core.latency import LatencyTable
from edgeslim.simulation import policies
from edgeslim.simulation.engine import Setting, simulate
from edgeslim.simulation.oracle import best_oracle
from edgeslim.simulation.scenario import SCENARIOS
from edgeslim.simulation.simulation import Row, summarise
from edgeslim.simulation.tables import BUILTIN, at_speed, percents

ROOMS = ("cool_desk", "room", "hot")
OURS = "balanced"
MOST_LATE, MOST_SWITCHES, NEAR_STATIC = 0.6, 4.0, 0.5  # %, per minute, points

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


def figures(found: dict[str, dict[str, Figures]], within: float) -> list[record.Figure]:
    """Every promise, with a number for each room."""
    ours = [rows[OURS] for rows in found.values()]
    static = [
        max((rows[n]["score"], n) for n in rows if n.startswith("static:") or n in ("widest", "narrowest"))
        for rows in found.values()
    ]

    def figure(
        aim: str,
        comparison: record.Comparison,
        limit: float,
        text: str,
        unit: str,
        values: list[float],
        *notes: str,
    ) -> record.Figure:
        return record.Figure(
            aim=aim,
            promised=record.Promise(comparison=comparison, number=limit, text=text),
            measured=tuple(round(value, 3) for value in values),
            unit=unit,
            of=tuple(found),
            notes=notes,
        )

    checks = [
        figure(
            "delivered accuracy below the state oracle", "<=", within, f"at most {within:g} points", "points",
            [f["regret"] for f in ours],
        ),
        figure("late inferences", "<=", MOST_LATE, f"at most {MOST_LATE:g} %", "%",
               [100 * f["miss_rate"] for f in ours]),
        figure("switches per minute", "<=", MOST_SWITCHES, f"at most {MOST_SWITCHES:g}", "per minute",
               [f["switches_per_min"] for f in ours]),
        figure("time at 45 °C and more", "==", 0, "never", "%", [100 * f["share_45c"] for f in ours]),
        figure(
            "score beside the best static width in hindsight", ">=", -NEAR_STATIC, f"within {NEAR_STATIC:g}", "points",
            [f["score"] - best for f, (best, _) in zip(ours, static, strict=True)],
            "Best in hindsight: " + ", ".join(name for _, name in static) + ".",
        ),
    ]  # fmt: skip
    scores = {name: sum(rows[name]["score"] for rows in found.values()) / len(found) for name in found[ROOMS[0]]}
    others = {n: s for n, s in scores.items() if n not in ("balanced", "battery_saver", "quality", "oracle")}
    best = max(others, key=lambda name: others[name])
    ahead = scores[OURS] - others[best]
    mean_score = record.Figure(
        aim="mean score ahead of every other causal policy",
        promised=record.Promise(comparison=">", number=0, text="ahead"),
        measured=(round(ahead, 3),),
        unit="points",
        notes=(f"Mean score {scores[OURS]:.2f}; the next is {best}.",),
    )
    return [*checks, mean_score]


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


def in_turns(work: Sequence[tuple[list[Rung], int]], room: str, policy: str, jobs: int) -> list[tuple[Row, Row]]:
    """Each (rungs before thinning, seed) thinned from the top and by value, on the same noise."""
    both = [
        (Ladder(rungs=tuple(kept)), room, seed, policy)
        for rungs, seed in work
        for kept in (from_the_top(rungs), thinned(list(rungs), []))
    ]
    different = list(dict.fromkeys(both))
    with ProcessPoolExecutor(jobs) as pool:
        rows = dict(zip(different, pool.map(balanced, different), strict=True))
    return [(rows[top], rows[value]) for top, value in zip(both[::2], both[1::2], strict=True)]


def compare_thinnings(seeds: int, jobs: int) -> None:
    """Both rules on every shape of ladders.py, then on shapes at eight speeds and on drawn tables; three rooms."""
    print("score from the top, by value, and the mean of the differences on the same noise with its standard error")
    cases = [(name, [(rungs, seed) for seed in range(seeds)]) for name, rungs in SHAPES.items()]
    cases += [
        (f"{name}, 8 speeds", list(zip(at_speeds(rungs), range(8), strict=True))) for name, rungs in SHAPES.items()
    ]
    cases.append((f"{10 * seeds} drawn tables", [(drawn(seed), seed) for seed in range(10 * seeds)]))
    for name, work in cases:
        for policy in ("balanced", "quality"):
            for room in ROOMS:
                tops, values = zip(*in_turns(work, room, policy, jobs), strict=True)
                differences = [value.score - top.score for top, value in zip(tops, values, strict=True)]
                error = statistics.stdev(differences) / len(differences) ** 0.5
                print(
                    f"{name:32s} {policy:9s} {room:10s} score {_change(tops, values, 'score')}, "
                    f"{statistics.fmean(differences):+.3f} ± {error:.3f}; "
                    f"late {_change(tops, values, 'miss_rate', 100)} %; "
                    f"switches per minute {_change(tops, values, 'switches_per_min')}",
                    flush=True,
                )


def _change(before: Sequence[Row], after: Sequence[Row], field: str, times: int = 1) -> str:
    means = (times * statistics.fmean(getattr(row, field) for row in rows) for rows in (before, after))
    return " → ".join(f"{mean:.2f}" for mean in means)


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
    record.add_option(parser)
    options = parser.parse_args()
    if options.thinning or options.queue:
        (compare_thinnings if options.thinning else show_queue)(options.seeds, options.jobs)
        return 0
    passport = dataclasses.replace(record.begin(), notes=())  # simulated time does not mind what else runs
    rungs = measured(options.table, options.widest_ms) if options.table else BUILTIN
    jobs = [(rungs, room, seed, options.load_ms) for room in ROOMS for seed in range(options.seeds)]
    with ProcessPoolExecutor(options.jobs) as pool:
        results = list(pool.map(one, jobs))
    found: dict[str, dict[str, Figures]] = {}
    for room in ROOMS:
        mine = [result for job, result in zip(jobs, results, strict=True) if job[1] == room]
        found[room] = {name: mean([result[name] for result in mine]) for name in mine[0]}
    checks = figures(found, options.within)
    if options.record:
        record.write(f"controller_score-{'table' if options.table else 'builtin'}", checks, passport)
    if options.json:
        limits = [{"kept": check.kept, "aim": check.aim, "measured": check.measured} for check in checks]
        print(json.dumps({"seeds": options.seeds, "rooms": found, "limits": limits}))
    else:
        print(
            "ladder:",
            ", ".join(
                f"{r.label} {r.t_us / 1000:.1f} ms {p:.1f}" for r, p in zip(rungs.rungs, percents(rungs), strict=True)
            ),
        )
        show(found)
        print()
        for check in checks:
            print("kept  " if check.kept else "BROKEN", record.words(check))
    return int(not all(check.kept for check in checks))


if __name__ == "__main__":
    sys.exit(main())
