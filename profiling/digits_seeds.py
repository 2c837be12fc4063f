"""One US-Net against four nets trained alone, on digits with the default settings, over 5 seeds and one fixed split.

    python profiling/digits_seeds.py run --out RUNS        about 15 minutes of one CPU core; goes on where it stopped
    python profiling/digits_seeds.py table RUNS [--record]

The last row is the difference of the means in points: at least -3 is what a universally slimmable net has to keep.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import record
import torch

from edgeslim.core.width import Width
from edgeslim.data.augment import Augment
from edgeslim.data.named import load_data
from edgeslim.training.config import TrainConfig, defaults_for
from edgeslim.training.optim import OptimConfig
from edgeslim.training.sandwich import Sandwich

sys.path.insert(0, str(Path(__file__).parent))
from trained_nets import alone, cell, figure, markdown, read_runs, run_all, top1

MODEL = "us_mobilenet_v2"
LADDER = tuple(Width(permille) for permille in (250, 500, 750, 1000))
SEEDS = (0, 1, 2, 3, 4)


def settings(input_size: int) -> TrainConfig:
    """What ``edgeslim train --model us_mobilenet_v2 --data digits`` uses."""
    known = defaults_for("digits", input_size)
    return TrainConfig(
        data="digits",
        epochs=known.epochs,
        batch_size=known.batch_size,
        sandwich=Sandwich(low=LADDER[0], high=LADDER[-1]),
        optim=OptimConfig(lr=known.lr, weight_decay=known.weight_decay),
        augment=Augment(padding=known.padding_for(input_size), flip=False),
        label_smoothing=known.label_smoothing,
    )


def figures(runs: list[dict[str, Any]]) -> list[record.Figure]:
    ours = figure("US-Net", LADDER, [top1(runs, "US-Net", width) for width in LADDER])
    theirs = figure("each width trained alone", LADDER, [top1(runs, f"alone {width}", width) for width in LADDER])
    behind = record.Figure(
        aim="a net for all widths less nets trained alone",
        promised=record.Promise(comparison=">=", number=-3, text="at most 3 points behind"),
        measured=tuple(round(a - b, 1) for a, b in zip(ours.measured, theirs.measured, strict=True)),
        unit="points",
        of=ours.of,
    )
    return [ours, theirs, behind]


def render(folder: Path) -> str:
    runs = read_runs(folder)
    ours = [top1(runs, "US-Net", width) for width in LADDER]
    theirs = [top1(runs, f"alone {width}", width) for width in LADDER]
    rows = {"US-Net": [cell(values) for values in ours], "trained alone": [cell(values) for values in theirs]}
    rows["difference"] = [
        f"{statistics.mean(a) - statistics.mean(b):+.1f}" if a and b else "–" for a, b in zip(ours, theirs, strict=True)
    ]
    rows["seeds done"] = [str(min(len(a), len(b))) for a, b in zip(ours, theirs, strict=True)]
    return markdown(LADDER, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    running = verbs.add_parser("run")
    running.add_argument("--out", type=Path, required=True)
    running.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    shown = verbs.add_parser("table")
    shown.add_argument("runs", type=Path)
    record.add_option(shown)
    chosen = parser.parse_args()
    if chosen.verb == "run":
        torch.set_num_threads(1)
        train, calib, test = (load_data("digits", split) for split in ("train", "calib", "test"))
        base = settings(train.input_size)
        run_all(MODEL, {"US-Net": base, **alone(base, LADDER)}, chosen.seeds, (train, calib, test), LADDER, chosen.out)
    else:
        print(render(chosen.runs))
        if chosen.record:
            record.write("digits_seeds", figures(read_runs(chosen.runs)), record.begin("torch"))


if __name__ == "__main__":
    main()
