"""Does a table repeat, and does a disturbed one say so?

    python profiling/bench_repeat.py us_mbv2.slim --target litert [--widths 0.35,1.0] [--threads 1] [--record]

Four tables: two on the machine as it is, then two while every core runs a busy loop half of the time (0.5 s of every
second, then 10 ms of every 20 ms). For each artifact the ratio of the p50s and whether the rows count. It fails
(exit 1) when two rows that count differ by more than 5 %.
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
from typing import Any

import record

from edgeslim.benchmark.table.compare import SAME
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


def table(arguments: list[str], out: Path, period_s: float | None) -> dict[str, LatencyRow]:
    with disturbance(period_s):
        code = edgeslim(["bench", *arguments, "-o", str(out), "--quiet", "--json"])
    if code:
        raise SystemExit(code)
    return {row.artifact: row for row in LatencyTable.read(out).rows}


def figures(report: list[dict[str, Any]]) -> list[record.Figure]:
    found = []
    for against in dict.fromkeys(line["against"] for line in report):
        lines = [line for line in report if line["against"] == against]
        counting = [line["artifact"] for line in lines if line["first_counts"] and line["counts"]]
        found += [
            record.Figure(
                aim=f"p50 against that of the first table: {against}",
                measured=tuple(round(100 * (line["ratio"] - 1), 2) for line in lines),
                unit="%",
                of=tuple(line["artifact"] for line in lines),
                notes=(f"Both rows count: {', '.join(counting) or 'none'}.",),
            ),
            record.Figure(
                aim=f"rows that count and differ all the same: {against}",
                promised=record.Promise(comparison="==", number=0, text=f"none by more than {SAME:.0%}"),
                measured=(float(sum(not line["holds"] for line in lines)),),
                unit="rows",
            ),
        ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--target", default="litert")
    parser.add_argument("--widths")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--seconds", default="3")
    parser.add_argument("--json", action="store_true")
    record.add_option(parser)
    options = parser.parse_args()
    passport = record.begin("ai-edge-litert", "executorch")
    arguments = [options.bundle, "--target", options.target, "--threads", options.threads, "--seconds", options.seconds]
    arguments += ["--widths", options.widths] if options.widths else []
    names = ("first", "second", *(f"disturbed, {period:g} s" for period in PERIODS_S))
    with tempfile.TemporaryDirectory() as name, open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        tables = [
            table(arguments, Path(name) / f"{number}.json", period)
            for number, period in enumerate((None, None, *PERIODS_S))
        ]
    report: list[dict[str, Any]] = []
    for artifact, first in tables[0].items():
        for label, found in zip(names[1:], tables[1:], strict=True):
            row = found[artifact]
            assert first.p50_ms is not None
            assert row.p50_ms is not None
            ratio, both = row.p50_ms / first.p50_ms, first.valid and row.valid
            report.append(
                {
                    "artifact": artifact,
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
    if options.record:
        record.write(f"bench_repeat-{options.target}", figures(report), passport)
    if options.json:
        print(json.dumps(report))
    else:
        for line in report:
            says = "counts" if line["counts"] else f"does not count: {'; '.join(line['reasons'])}"
            what = f"{line['artifact']} {line['against']:17}"
            print(f"{what} {line['first_ms']:8.4f} → {line['p50_ms']:8.4f} ms  {line['ratio']:.3f}  {says}")
        quiet = sum(line["first_counts"] and line["counts"] for line in report if line["against"] == "second")
        print(f"{quiet} of {len(tables[0])} artifacts count in both quiet tables")
    raise SystemExit(not all(line["holds"] for line in report))


if __name__ == "__main__":
    main()
