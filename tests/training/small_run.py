"""A training run of a second, as a process of its own: killed and resumed, or one of two ranks."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import torch

from edgeslim.core.width import Width
from edgeslim.data.augment import Augment
from edgeslim.data.named import load_data
from edgeslim.models.registry import create
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.training.config import TrainConfig
from edgeslim.training.distributed import ALONE, Ranks, joined
from edgeslim.training.loop import Trainer
from edgeslim.training.optim import OptimConfig
from edgeslim.training.resume import RunFiles
from edgeslim.training.sandwich import Sandwich
from edgeslim.training.teachers import EmaTeacher

BATCH = 16

CONTEXT = multiprocessing.get_context("forkserver")  # one process imports torch for all of them
CONTEXT.set_forkserver_preload(["edgeslim.training.loop", "edgeslim.data.named", "edgeslim.models.registry"])


def small_model(network: str, norm: str) -> SlimmableModel:
    torch.manual_seed(0)
    widths = (Width(125), Width(250))
    if network.startswith("s_"):
        return create(network, num_classes=10, input_size=8, widths=widths)
    return create(network, num_classes=10, input_size=8, low=widths[0], high=widths[1], norm=norm)  # type: ignore[arg-type]


def small_trainer(
    network: str, norm: str, steps: int, out: Path | None = None, ranks: Ranks = ALONE, *, double: bool = False
) -> Trainer:
    """Four steps per epoch, in float64 with ``double``."""
    model = small_model(network, norm)
    if double:
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


def start(
    out: Path,
    network: str,
    norm: str,
    steps: int,
    *,
    double: bool = False,
    rank: int = 0,
    ranks: int = 1,
    port: int = 0,
) -> ForkServerProcess:
    """Begin (or resume) the run in a process of its own, with the environment ``torchrun`` would give a rank."""
    environment = {
        "WORLD_SIZE": ranks,
        "RANK": rank,
        "LOCAL_RANK": rank,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    process = CONTEXT.Process(target=_run, args=(environment, out, network, norm, steps, double))
    process.start()
    return process


def _run(environment: dict[str, object], out: Path, network: str, norm: str, steps: int, double: bool) -> None:
    torch.set_num_threads(1)
    os.environ.update({name: str(value) for name, value in environment.items()})
    with joined(torch.device("cpu")) as members:
        trainer = small_trainer(network, norm, steps, out, members, double=double)
        trainer.resume()
        trainer.run()
        if members.first:
            torch.save(trainer.model.state_dict(), out)
