"""What every user waits for, against an earlier checkout: ``python profiling/no_slower.py EARLIER [--record]``.

    help        `edgeslim --help`: a new process, the CPU time it takes
    step        one step of the controller, the worst scenario of ``profiling/controller_step.py --json``
    session     what a session adds to a frame, ``profiling/session_overhead.py BUNDLE`` (with --bundles only)

Both checkouts take turns, each with its own code and its own script, so that the ratio of their least times holds on a
busy machine. A bundle has to be in the format of the checkout that reads it: ``--bundles NEW EARLIER``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import record

HERE = Path(__file__).resolve().parents[1]
WITHIN = 1.05  # as a latency table that repeats: within 5 %


def environment(checkout: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(checkout)}


def help_ms(checkout: Path) -> float:
    """CPU milliseconds of the whole process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeslim", "--help"], env=environment(checkout), stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"edgeslim --help of {checkout} failed with {process.returncode}")
    return 1000 * (used.ru_utime + used.ru_stime)


def step_us(checkout: Path) -> float:
    """Microseconds of one step, in the scenario in which it takes longest."""
    out = run(checkout, "controller_step.py", "--json")
    figures: dict[str, float] = json.loads(out)["figures_us"]
    return max(value for name, value in figures.items() if name.startswith("step"))


def session_us(bundle: Path, checkout: Path) -> float:
    """Microseconds a session adds to a frame, median."""
    with tempfile.TemporaryDirectory() as cache:
        out = run(checkout, "session_overhead.py", str(bundle), "--cache-dir", cache)
    return float(json.loads(out)["outside_the_call_us"]["p50"])


def run(checkout: Path, script: str, *arguments: str) -> str:
    """The standard output of ``script``; its exit status is about other limits."""
    command = [sys.executable, str(checkout / "profiling" / script), *arguments]
    return subprocess.run(command, env=environment(checkout), stdout=subprocess.PIPE, text=True, check=False).stdout


def compared(aim: str, ours: Callable[[], float], theirs: Callable[[], float], rounds: int, unit: str) -> record.Figure:
    """The ratio of the least times; turns alternate who goes first."""
    new, old = list[float](), list[float]()
    for turn in range(rounds):
        for measure, times in ((ours, new), (theirs, old))[:: 1 if turn % 2 else -1]:
            times.append(measure())
    return record.Figure(
        aim=f"{aim}, now / before",
        promised=record.Promise(comparison="<=", number=WITHIN, text="no slower than before, within 5 %"),
        measured=(round(min(new) / min(old), 3),),
        unit="x",
        notes=(f"{min(new):.1f} and {min(old):.1f} {unit}, the least of {rounds} turns each.",),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("earlier", type=Path, help="a checkout of an earlier version")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--bundles", type=Path, nargs=2, metavar=("NEW", "EARLIER"), help="to compare sessions too")
    record.add_option(parser)
    options = parser.parse_args()
    passport = record.begin("click", "rich", "ai-edge-litert")
    earlier = options.earlier.resolve()
    figures = [
        compared("`edgeslim --help`", partial(help_ms, HERE), partial(help_ms, earlier), options.rounds, "ms of CPU"),
        compared("a step of the controller", partial(step_us, HERE), partial(step_us, earlier), options.rounds, "µs"),
    ]
    if options.bundles:
        ours, theirs = (partial(session_us, bundle.resolve()) for bundle in options.bundles)
        aim = "what a session adds to a frame"
        figures.append(compared(aim, partial(ours, HERE), partial(theirs, earlier), options.rounds, "µs"))
    for figure in figures:
        print(record.words(figure), *figure.notes)
    if options.record:
        record.write("no_slower", figures, passport)
    sys.exit(int(not all(figure.kept for figure in figures)))


if __name__ == "__main__":
    main()
