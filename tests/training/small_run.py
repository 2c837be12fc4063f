"""A training run of a second, as a process of its own: killed and resumed, or one of two ranks.

python small_run.py OUT NETWORK NORM STEPS
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from edgeslim.core.width import Width
from edgeslim.models.registry import create
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.training.augment import Augment
from edgeslim.training.config import TrainConfig
from edgeslim.training.data import load_data
from edgeslim.training.distill import EmaTeacher
from edgeslim.training.distributed import ALONE, Ranks, joined
from edgeslim.training.loop import Trainer
from edgeslim.training.optim import OptimConfig
from edgeslim.training.resume import RunFiles
from edgeslim.training.sandwich import Sandwich

BATCH = 16


def small_model(network: str, norm: str) -> SlimmableModel:
    torch.manual_seed(0)
    widths = (Width(125), Width(250))
    if network.startswith("s_"):
        return create(network, num_classes=10, input_size=8, widths=widths)
    return create(network, num_classes=10, input_size=8, low=widths[0], high=widths[1], norm=norm)  # type: ignore[arg-type]


def small_trainer(network: str, norm: str, steps: int, out: Path | None = None, ranks: Ranks = ALONE) -> Trainer:
    """Four steps per epoch. With BatchNorm in float64: 8 images per BatchNorm make rounding errors grow up to a
    thousandfold per step, so in float32 two orders of summation could not be told from two different runs."""
    model = small_model(network, norm)
    if norm == "batch":
        model.double().register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    config = TrainConfig(
        data="digits",
        epochs=steps // 4,
        batch_size=BATCH,
        sandwich=Sandwich(low=Width(125), high=Width(250), ladder=model.spec.widths or None),
        optim=OptimConfig(lr=0.02, warmup=1.0),
        augment=Augment(padding=1, flip=False),
        teacher="ema",
    )
    return Trainer(
        model,
        load_data("digits", "train", input_size=8, images=4 * BATCH),
        config,
        teacher=EmaTeacher(model, Width(250)),
        ranks=ranks,
        files=None if out is None else RunFiles(out=out),
        save_seconds=0.0,
    )


def main() -> None:
    torch.set_num_threads(1)
    out, network, norm, steps = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    with joined(torch.device("cpu")) as ranks:
        trainer = small_trainer(network, norm, steps, out, ranks)
        trainer.resume()
        trainer.run()
        if ranks.first:
            torch.save(trainer.model.state_dict(), out)


if __name__ == "__main__":
    main()
