"""US-Net against its ablations and against nets trained alone, on real 32 px images.

    python profiling/cifar_table.py run IMAGES.zip --out RUNS      one JSON per run; finished ones are skipped
    python profiling/cifar_table.py table RUNS                     the table as Markdown, on stdout

24 runs: 3 seeds of (US-Net, without distillation, without sandwich bounds, 4 nets trained alone, and the paper's plain
soft targets), all with the same images, epochs, batch, learning rate, augmentation and calibration. "The widest's
statistics everywhere" is the US-Net itself, uncalibrated below its widest width. The setting is small so that one CPU
thread makes all of it in about 45 minutes: ResNet-18 with a quarter of its channels and less, images scaled to 20 px.
They are lossy JPEG besides, so no figure compares with published CIFAR-10 results.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from edgeslim.core.files import write_atomically
from edgeslim.core.width import Width
from edgeslim.deploy.calibrate_pass import pooled_statistics
from edgeslim.models.registry import make_spec
from edgeslim.models.static import batch_norms, set_statistics
from edgeslim.training.augment import Augment
from edgeslim.training.config import TrainConfig
from edgeslim.training.data import load_data
from edgeslim.training.evaluation import evaluate
from edgeslim.training.images import ImageSet
from edgeslim.training.loop import Trainer
from edgeslim.training.optim import OptimConfig
from edgeslim.training.sandwich import Sandwich
from edgeslim.training.start import fresh

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
    **{f"alone {width}": replace(BASE, sandwich=Sandwich(low=width, high=width)) for width in LADDER},
    "plain soft targets": replace(BASE, distill="plain"),
}


def train_one(config: TrainConfig, train: ImageSet, calib: ImageSet, test: ImageSet) -> dict[str, Any]:
    """Train, calibrate and measure one net; top-1 in [0, 1] by permille."""
    sandwich = config.sandwich
    spec = make_spec(MODEL, num_classes=train.num_classes, input_size=INPUT_SIZE, low=sandwich.low, high=sandwich.high)
    model = fresh(spec, config.seed)
    began = time.monotonic()
    Trainer(model, train, config).run()
    seconds = time.monotonic() - began
    widths = [width for width in LADDER if sandwich.low <= width <= sandwich.high]
    widest = pooled_statistics(model.static(widths[-1]).eval(), calib)
    rows, uncalibrated = [], []
    for width in widths:
        net = model.static(width).eval()
        set_statistics(net, pooled_statistics(net, calib))
        rows.append({"permille": width.permille, **evaluate(net, test)})
        channels = {name: norm.num_features for name, norm in batch_norms(net).items()}
        set_statistics(net, {name: (mean[:c], var[:c]) for (name, c), (mean, var) in _with(channels, widest)})
        uncalibrated.append({"permille": width.permille, **evaluate(net, test)})
    return {"rows": rows, "uncalibrated": uncalibrated, "train_seconds": round(seconds, 1)}


def _with(channels: dict[str, int], widest: Any) -> list[Any]:
    return [((name, count), widest[name]) for name, count in channels.items()]


def run_all(archive: Path, out: Path) -> None:
    """All runs, seed by seed, one file each."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    source = f"folder:{archive}"
    train = load_data(source, "train", input_size=INPUT_SIZE, images=IMAGES)
    calib = load_data(source, "calib", input_size=INPUT_SIZE)
    test = load_data(source, "test", input_size=INPUT_SIZE)
    for seed in SEEDS:
        for kind, base in KINDS.items():
            path = out / f"{kind.replace(' ', '-')}-{seed}.json"
            if path.exists():
                continue
            config = replace(base, seed=seed)
            document = {
                "kind": kind,
                "seed": seed,
                "model": MODEL,
                "input_size": INPUT_SIZE,
                "train_images": len(train),
                "test_images": len(test),
                "train_sha256": train.data_sha256,
                "test_sha256": test.data_sha256,
                "settings": config.to_json(),
                "torch": torch.__version__,
                "machine": platform.machine(),
                **train_one(config, train, calib, test),
            }
            with write_atomically(path, overwrite=False) as stream:
                stream.write(json.dumps(document, indent=1).encode())
            print(kind, seed, [f"{100 * row['top1']:.1f}" for row in document["rows"]], flush=True)


def cells(values: list[list[float]]) -> str:
    """Mean ± standard deviation over the seeds, in percent, per width."""
    shown = []
    for column in values:
        spread = f" ± {100 * statistics.stdev(column):.1f}" if len(column) > 1 else ""
        shown.append(f"{100 * statistics.mean(column):.1f}{spread}" if column else "–")
    return " | ".join(shown)


def render(folder: Path) -> str:
    """The Markdown section, from the files that are there."""
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    if not runs:
        raise SystemExit(f"no finished run in {folder}")

    def top1(kind: str, width: Width, which: str = "rows") -> list[float]:
        return [
            row["top1"]
            for run in runs
            if run["kind"] == kind
            for row in run[which]
            if row["permille"] == width.permille
        ]

    rows = {kind: [top1(kind, width) for width in LADDER] for kind in KINDS if not kind.startswith("alone")}
    rows["each width trained alone"] = [top1(f"alone {width}", width) for width in LADDER]
    rows["US-Net, the widest's statistics everywhere"] = [top1("US-Net", width, "uncalibrated") for width in LADDER]
    first = runs[0]
    settings = first["settings"]
    lines = [
        f"Top-1 in %, mean ± standard deviation over {len(SEEDS)} seeds, {first['test_images']:,} test images. "
        f"{MODEL} at {INPUT_SIZE} px, {first['train_images']:,} training images, {settings['epochs']} epochs, "
        f"batch {settings['batch_size']}, {settings['optim']['optimizer']} at {settings['optim']['lr']}, "
        f"torch {first['torch']}; {len(runs)} of {len(KINDS) * len(SEEDS)} runs done.",
        "",
        "| | " + " | ".join(f"{width}x" for width in LADDER) + " |",
        "|---|" + "---|" * len(LADDER),
        *(f"| {name} | {cells(values)} |" for name, values in rows.items()),
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run")
    run.add_argument("archive", type=Path)
    run.add_argument("--out", type=Path, required=True)
    table = verbs.add_parser("table")
    table.add_argument("runs", type=Path)
    chosen = parser.parse_args()
    if chosen.verb == "run":
        run_all(chosen.archive, chosen.out)
    else:
        print(render(chosen.runs))


if __name__ == "__main__":
    main()
