"""Two gloo processes against one."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
from small_run import BATCH, small_trainer, start
from torch import Tensor

from edgeslim.training.step import accumulate_gradients

STEPS = 4


def two_processes(out: Path, network: str, norm: str, *, double: bool = False) -> dict[str, Tensor]:
    """Weights after STEPS steps on two ranks, started as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [start(out, network, norm, STEPS, double=double, rank=rank, ranks=2, port=port) for rank in (0, 1)]
    for process in processes:
        process.join(300)
        assert process.exitcode == 0
    weights: dict[str, Tensor] = torch.load(out, weights_only=True)
    return weights


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max((one[name] - other[name]).abs().max().item() for name in one)


def test_without_batchnorm_two_processes_are_one(tmp_path: Path) -> None:
    trainer = small_trainer("us_mobilenet_v1", "none", STEPS)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.run()
    after = trainer.model.state_dict()
    assert largest_difference(before, after) > 1e-3  # it did train
    assert largest_difference(after, two_processes(tmp_path / "out.pt", "us_mobilenet_v1", "none")) < 1e-5


@pytest.mark.parametrize("network", ["us_mobilenet_v1", "s_mobilenet_v1"])
def test_with_batchnorm_they_are_one_that_normalises_the_same_halves(tmp_path: Path, network: str) -> None:
    """In float64: 8 images per BatchNorm make rounding errors grow up to a thousandfold per step, so in float32 two
    orders of summation could not be told from two different runs."""
    trainer = small_trainer(network, "batch", STEPS, double=True)
    config, model = trainer.config, trainer.model
    stream = trainer.source.batches(range(STEPS), trainer.device)
    for step, (images, labels) in enumerate(stream):
        nets = trainer.nets_at(step)
        for half in (slice(0, BATCH // 2), slice(BATCH // 2, BATCH)):
            accumulate_gradients(model, images[half], labels[half], nets, trainer.task, trainer.teacher)
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad /= 2
        trainer.apply_gradients(config.optim.lr_at(step, STEPS, trainer.source.steps_per_epoch))
        trainer.step += 1
    both = two_processes(tmp_path / "out.pt", network, "batch", double=True)
    assert largest_difference(dict(model.state_dict()), both) < 1e-5
