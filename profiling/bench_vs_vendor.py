"""p50 of ``edgeslim bench`` against LiteRT's own ``litert-benchmark``, same file, taking turns.

    python profiling/bench_vs_vendor.py [--model FILE.tflite] [--rounds 12] [--threads 1] [--record]

Each round: a turn of edgeslim's child process, then a run of the vendor's program (its own process, its own warm-up);
every second round the other way round. The ratio is that of the medians over rounds, with a 95 % bootstrap interval
over rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import record
from small_net import exported

from edgeslim.benchmark.board.child_handle import Child
from edgeslim.benchmark.board.messages import Block, Prepare, Turn, Warm, Warmed
from edgeslim.core.job import Cell
from edgeslim.files import sha256_file

VENDOR = Path(sys.executable).with_name("litert-benchmark")
SECONDS = 0.5  # of measuring per turn
TIMEOUT_S = 120.0


def vendor_ms(model: Path, runs: int, threads: int, folder: Path) -> float:
    """Median of one run of the vendor's program."""
    out = folder / "vendor.json"
    command = [str(VENDOR), "--model", str(model), "--num_threads", str(threads), "--num_runs", str(runs),
               "--warmup_runs", "50", "--result_json", str(out)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S)
    return float(json.loads(out.read_text())["latency"]["median_ms"])


def measure(model: Path, rounds: int, threads: int) -> dict[str, Any]:
    cell = Cell(
        artifact="litert-fp32/model", label=model.name, width_permille=None,
        target="litert", threads=threads, precision="fp32", input_shape=(1,),
        file_sha256=sha256_file(model), path=str(model),
    )  # fmt: skip
    ours: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory() as name, Child(Path(name) / "log") as child:
        folder = Path(name)
        child.ask(Prepare(cell=cell, bundle=None, folder=name), timeout_s=TIMEOUT_S)
        warmed = child.ask(Warm(runs=50, seconds=0.5), timeout_s=TIMEOUT_S)
        assert isinstance(warmed, Warmed)
        runs = max(20, round(SECONDS * 1000 / warmed.run_ms))

        def our_turn() -> None:
            block = child.ask(Turn(lead_in_runs=50, runs=runs), timeout_s=TIMEOUT_S)
            assert isinstance(block, Block)
            ours.append(statistics.median(block.samples_ns) / 1e6)

        for number in range(rounds):
            if number % 2 == 0:
                our_turn()
            theirs.append(vendor_ms(model, runs, threads, folder))
            if number % 2:
                our_turn()
    rng = np.random.default_rng(0)
    draws = rng.integers(0, rounds, (2000, rounds))
    ratios = np.median(np.asarray(ours)[draws], axis=1) / np.median(np.asarray(theirs)[draws], axis=1)
    low, high = np.percentile(ratios, (2.5, 97.5))
    return {
        "model": model.name,
        "threads": threads,
        "rounds": rounds,
        "runs_per_turn": runs,
        "edgeslim_p50_ms": statistics.median(ours),
        "vendor_p50_ms": statistics.median(theirs),
        "ratio": statistics.median(ours) / statistics.median(theirs),
        "low": float(low),
        "high": float(high),
        "edgeslim_turns_ms": ours,
        "vendor_turns_ms": theirs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a .tflite file; default: a net of about 1 ms, exported once")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    record.add_option(parser)
    options = parser.parse_args()
    model = options.model or exported()
    passport = record.begin("ai-edge-litert")
    found = measure(model, options.rounds, options.threads)
    if options.record:
        figure = record.Figure(
            aim="p50 of `edgeslim bench` / p50 of `litert-benchmark`, same file, in turns",
            measured=tuple(round(found[name], 4) for name in ("ratio", "low", "high")),
            unit="x",
            of=("ratio", "2.5 %", "97.5 %"),
            notes=(f"{found['rounds']} rounds, {found['edgeslim_p50_ms']:.3f} ms per inference.",),
        )
        record.write("bench_vs_vendor", [figure], passport)
    if options.json:
        print(json.dumps(found))
        return
    print(f"{found['model']}, {found['threads']} thread(s), {found['rounds']} rounds of {found['runs_per_turn']} runs")
    print(f"edgeslim p50 {found['edgeslim_p50_ms']:.4f} ms, litert-benchmark p50 {found['vendor_p50_ms']:.4f} ms")
    print(f"ratio {found['ratio']:.4f}  (95 % {found['low']:.4f} … {found['high']:.4f})")


if __name__ == "__main__":
    main()
