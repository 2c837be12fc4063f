"""Runs that tables are made of: train, calibrate, measure; one JSON file each, so that a killed table goes on."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import record
import torch

from edgeslim.core.width import Width
from edgeslim.data.images import ImageSet
from edgeslim.deploy.calibration.passes import pooled_statistics
from edgeslim.files import write_atomically
from edgeslim.models.registry import make_spec
from edgeslim.models.static import batch_norms, set_statistics
from edgeslim.tasks.evaluation import evaluate
from edgeslim.training.config import TrainConfig
from edgeslim.training.loop import Trainer
from edgeslim.training.sandwich import Sandwich
from edgeslim.training.start import fresh

Sets = tuple[ImageSet, ImageSet, ImageSet]
"""Training, calibration and test images."""


def alone(base: TrainConfig, widths: Iterable[Width]) -> dict[str, TrainConfig]:
    """The same settings for nets of one width each."""
    return {f"alone {width}": replace(base, sandwich=Sandwich(low=width, high=width)) for width in widths}


def train_and_measure(model_name: str, config: TrainConfig, sets: Sets, widths: Sequence[Width]) -> dict[str, Any]:
    """Train one net and measure it at those of ``widths`` that it has.

    ``rows``: loss and top-1 (in [0, 1]) with each width's own statistics; ``uncalibrated``: with the widest's.
    """
    train, calib, test = sets
    low, high = config.sandwich.low, config.sandwich.high
    spec = make_spec(model_name, num_classes=train.num_classes, input_size=train.input_size, low=low, high=high)
    model = fresh(spec, config.seed)
    began, cpu_began = time.monotonic(), time.process_time()
    Trainer(model, train, config).run()
    seconds, cpu_seconds = time.monotonic() - began, time.process_time() - cpu_began
    widest = pooled_statistics(model.static(high).eval(), calib)
    rows, uncalibrated = [], []
    for width in (width for width in widths if low <= width <= high):
        net = model.static(width).eval()
        set_statistics(net, pooled_statistics(net, calib))
        rows.append({"permille": width.permille, **evaluate(net, test)})
        counts = {name: norm.num_features for name, norm in batch_norms(net).items()}
        set_statistics(net, {name: (widest[name][0][:c], widest[name][1][:c]) for name, c in counts.items()})
        uncalibrated.append({"permille": width.permille, **evaluate(net, test)})
    return {
        "model": model_name,
        "settings": config.to_json(),
        "input_size": train.input_size,
        "train_images": len(train),
        "test_images": len(test),
        "train_sha256": train.data_sha256,
        "test_sha256": test.data_sha256,
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "rows": rows,
        "uncalibrated": uncalibrated,
        "train_seconds": round(seconds, 1),
        "train_cpu_seconds": round(cpu_seconds, 1),
    }


def run_all(
    model_name: str, kinds: dict[str, TrainConfig], seeds: Sequence[int], sets: Sets, widths: Sequence[Width], out: Path
) -> None:
    """Every kind with every seed, seed by seed; a run whose file is there is skipped."""
    out.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for kind, base in kinds.items():
            path = out / f"{kind.replace(' ', '-')}-{seed}.json"
            if path.exists():
                continue
            document = train_and_measure(model_name, replace(base, seed=seed), sets, widths)
            with write_atomically(path, overwrite=False) as stream:
                stream.write(json.dumps({"kind": kind, "seed": seed, **document}, indent=1).encode())
            print(kind, seed, [f"{100 * row['top1']:.1f}" for row in document["rows"]], flush=True)


def read_runs(folder: Path) -> list[dict[str, Any]]:
    """What is finished."""
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    if not runs:
        raise SystemExit(f"no finished run in {folder}")
    return runs


def top1(runs: Iterable[dict[str, Any]], kind: str, width: Width, which: str = "rows") -> list[float]:
    """Top-1 of every seed, in percent."""
    chosen = [row for run in runs if run["kind"] == kind for row in run[which]]
    return [100 * row["top1"] for row in chosen if row["permille"] == width.permille]


def cell(values: Sequence[float]) -> str:
    """``mean ± standard deviation``."""
    if not values:
        return "–"
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def figure(kind: str, widths: Sequence[Width], values: Sequence[Sequence[float]]) -> record.Figure:
    """Mean and standard deviation of top-1 at every width, to be recorded.

    Raises:
        SystemExit: a width has fewer than two runs.
    """
    if min(map(len, values)) < 2:
        raise SystemExit(f"{kind}: at least two seeds are needed")
    return record.Figure(
        aim=f"top-1 of {kind}",
        measured=tuple(round(statistics.mean(seeds), 1) for seeds in values),
        spread=tuple(round(statistics.stdev(seeds), 1) for seeds in values),
        unit="%",
        of=tuple(f"{width}x" for width in widths),
        notes=(f"{len(values[0])} seeds.",),
    )


def markdown(widths: Sequence[Width], rows: dict[str, list[str]]) -> str:
    """A table with a column per width."""
    head = "| | " + " | ".join(f"{width}x" for width in widths) + " |"
    return "\n".join([head, "|---|" + "---|" * len(widths), *(f"| {k} | {' | '.join(v)} |" for k, v in rows.items())])
