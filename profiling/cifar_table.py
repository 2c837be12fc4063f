"""US-Net against its ablations and against nets trained alone, on real 32 px images.

    python profiling/cifar_table.py run IMAGES.zip --out RUNS      one JSON per run; finished ones are skipped
    python profiling/cifar_table.py table RUNS [--record]          the table as Markdown, on stdout

24 runs: 3 seeds of (US-Net, without distillation, without sandwich bounds, 4 nets trained alone, and the paper's plain
soft targets), all with the same images, epochs, batch, learning rate, augmentation and calibration. "The widest's
statistics everywhere" is the US-Net itself, uncalibrated below its widest width. The setting is small so that one CPU
thread makes all of it in about half an hour: ResNet-18 with a quarter of its channels and less, images scaled to 20 px.
They are lossy JPEG besides, so no figure compares with published CIFAR-10 results.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import record
import torch

from edgeslim.core.width import Width
from edgeslim.data.augment import Augment
from edgeslim.data.named import load_data
from edgeslim.training.config import TrainConfig
from edgeslim.training.optim import OptimConfig
from edgeslim.training.sandwich import Sandwich

sys.path.insert(0, str(Path(__file__).parent))
from trained_nets import alone, cell, figure, markdown, read_runs, run_all, top1

MODEL = "us_resnet18"
INPUT_SIZE = 20  # 15.1 million multiply-adds at the widest
IMAGES, EPOCHS, BATCH = 8_000, 3, 64
LADDER = tuple(Width(permille) for permille in (63, 125, 188, 250))
SEEDS = (0, 1, 2)
US = Sandwich(low=LADDER[0], high=LADDER[-1])  # two widths of each step are drawn from the whole range
BASE = TrainConfig(
    data="cifar10-jpeg",
    epochs=EPOCHS,
    batch_size=BATCH,
    sandwich=US,
    optim=OptimConfig(lr=0.05, weight_decay=5e-4, warmup=0.2),
    augment=Augment(padding=2, flip=True),
    label_smoothing=0.0,
)
KINDS: dict[str, TrainConfig] = {
    "US-Net": BASE,
    "without distillation": replace(BASE, distill="none"),
    "without sandwich bounds": replace(BASE, sandwich=replace(US, bounds=False)),
    **alone(BASE, LADDER),
    "plain soft targets": replace(BASE, distill="plain"),
}


def run(archive: Path, out: Path, seeds: Sequence[int]) -> None:
    """All runs of these seeds on one thread; two processes with different seeds share a folder well."""
    torch.set_num_threads(1)
    source = f"folder:{archive}"
    train = load_data(source, "train", input_size=INPUT_SIZE, images=IMAGES)
    calib, test = (load_data(source, split, input_size=INPUT_SIZE) for split in ("calib", "test"))
    run_all(MODEL, KINDS, seeds, (train, calib, test), LADDER, out)


def table(runs: list[dict[str, Any]]) -> dict[str, list[list[float]]]:
    """Top-1 of every seed, for every row and width."""
    rows = {kind: [top1(runs, kind, w) for w in LADDER] for kind in KINDS if not kind.startswith("alone")}
    rows["each width trained alone"] = [top1(runs, f"alone {w}", w) for w in LADDER]
    rows["US-Net, the widest's statistics everywhere"] = [top1(runs, "US-Net", w, "uncalibrated") for w in LADDER]
    return rows


def render(folder: Path) -> str:
    """The Markdown section, from the runs that are finished."""
    runs = read_runs(folder)
    rows = {kind: [cell(values) for values in found] for kind, found in table(runs).items()}
    first, done = runs[0], len(runs)
    settings = first["settings"]
    words = (
        f"Top-1 in %, mean ± standard deviation over {len(SEEDS)} seeds, {first['test_images']:,} test images. "
        f"{MODEL} at {INPUT_SIZE} px, {first['train_images']:,} training images, {settings['epochs']} epochs, "
        f"batch {settings['batch_size']}, {settings['optim']['optimizer']} at {settings['optim']['lr']}, "
        f"torch {first['torch']}; {done} of {len(KINDS) * len(SEEDS)} runs done."
    )
    return f"{words}\n\n{markdown(LADDER, rows)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    running = verbs.add_parser("run")
    running.add_argument("archive", type=Path)
    running.add_argument("--out", type=Path, required=True)
    running.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    shown = verbs.add_parser("table")
    shown.add_argument("runs", type=Path)
    record.add_option(shown)
    chosen = parser.parse_args()
    if chosen.verb == "run":
        run(chosen.archive, chosen.out, chosen.seeds)
    else:
        print(render(chosen.runs))
        if chosen.record:
            found = table(read_runs(chosen.runs))
            rows = [figure(kind, LADDER, values) for kind, values in found.items()]
            record.write("cifar_table", rows, record.begin("torch"))


if __name__ == "__main__":
    main()
