"""Does a table repeat, and does a disturbed one say so?

    python profiling/bench_repeat.py us_mbv2.slim --target litert [--widths 0.35,1.0] [--threads 1]

Four tables: two on the machine as it is, then two while every core runs a busy loop half of the time (0.5 s of every
second, then 10 ms of every 20 ms). For each width the ratio of the p50s and whether the rows count. It fails (exit 1)
when two rows that count differ by more than 5 %.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from edgeslim.bench.table.compare import SAME
from edgeslim.cli.main import main as edgeslim
from edgeslim.core.latency import LatencyRow, LatencyTable

PERIODS_S = (1.0, 0.02)


def busy(period_s: float) -> None:
    while True:
        end = time.perf_counter() + period_s / 2
        while time.perf_counter() < end:
            pass
        time.sleep(period_s / 2)


@contextlib.contextmanager
def disturbance(period_s: float | None) -> Iterator[None]:
    """A busy loop on every core half of the time."""
    count = (os.cpu_count() or 1) if period_s else 0
    loops = [multiprocessing.Process(target=busy, args=(period_s,), daemon=True) for _ in range(count)]
    for loop in loops:
        loop.start()
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.join()


def table(arguments: list[str], out: Path, period_s: float | None) -> dict[int, LatencyRow]:
    with disturbance(period_s):
        code = edgeslim(["bench", *arguments, "-o", str(out), "--quiet", "--json"])
    if code:
        raise SystemExit(code)
    return {row.width_permille: row for row in LatencyTable.read(out).rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--target", default="litert")
    parser.add_argument("--widths")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--seconds", default="3")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    arguments = [options.bundle, "--target", options.target, "--threads", options.threads, "--seconds", options.seconds]
    arguments += ["--widths", options.widths] if options.widths else []
    names = ("first", "second", *(f"disturbed, {period:g} s" for period in PERIODS_S))
    with tempfile.TemporaryDirectory() as name, open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        tables = [
            table(arguments, Path(name) / f"{number}.json", period)
            for number, period in enumerate((None, None, *PERIODS_S))
        ]
    report = []
    for permille, first in tables[0].items():
        for label, found in zip(names[1:], tables[1:], strict=True):
            row = found[permille]
            assert first.p50_ms is not None
            assert row.p50_ms is not None
            ratio, both = row.p50_ms / first.p50_ms, first.valid and row.valid
            report.append(
                {
                    "permille": permille,
                    "against": label,
                    "first_ms": first.p50_ms,
                    "p50_ms": row.p50_ms,
                    "ratio": ratio,
                    "first_counts": first.valid,
                    "counts": row.valid,
                    "holds": not both or max(ratio, 1 / ratio) <= 1 + SAME,
                    "reasons": list(row.reasons),
                }
            )
    if options.json:
        print(json.dumps(report))
    else:
        for line in report:
            says = "counts" if line["counts"] else f"does not count: {'; '.join(line['reasons'])}"
            what = f"{line['permille'] / 1000:5.3f}x {line['against']:17}"
            print(f"{what} {line['first_ms']:8.4f} → {line['p50_ms']:8.4f} ms  {line['ratio']:.3f}  {says}")
        quiet = sum(line["first_counts"] and line["counts"] for line in report if line["against"] == "second")
        print(f"{quiet} of {len(tables[0])} widths count in both quiet tables")
    raise SystemExit(not all(line["holds"] for line in report))


if __name__ == "__main__":
    main()
