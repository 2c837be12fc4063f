"""On a GPU: training learns in bf16, calibration and evaluation give what they give on the CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgeslim.core.width import Width
from edgeslim.data.augment import Augment
from edgeslim.data.named import load_data
from edgeslim.deploy.calibration.calibrate import CalibratedModel, calibrate
from edgeslim.deploy.evaluate import evaluate_checkpoint
from edgeslim.models.layers import SlimConv2d
from edgeslim.models.registry import create
from edgeslim.training.config import TrainConfig
from edgeslim.training.loop import Trainer
from edgeslim.training.sandwich import Sandwich
from edgeslim.training.step import accumulate_gradients

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")

LOW, HIGH = Width(250), Width(500)


def trainer(device: str) -> Trainer:
    torch.manual_seed(0)
    data = load_data("digits", "train", input_size=8, in_channels=1)
    model = create("us_mobilenet_v2", num_classes=10, input_size=8, in_channels=1, low=LOW, high=HIGH)
    config = TrainConfig(
        data="digits",
        epochs=3,
        batch_size=64,
        sandwich=Sandwich(low=LOW, high=HIGH),
        augment=Augment(padding=1, flip=False),
    )
    return Trainer(model, data, config, device=device)


def one_step(device: str) -> tuple[Tensor, set[tuple[torch.dtype, bool]]]:
    """Losses of one step, and (dtype, whether channels_last) of what convolutions answered."""
    run = trainer(device)
    images, labels = next(run.data.batches(64, device))
    seen: set[tuple[torch.dtype, bool]] = set()

    def note(_: nn.Module, __: object, y: Tensor) -> None:
        seen.add((y.dtype, y.is_contiguous(memory_format=torch.channels_last)))

    for module in run.model.modules():
        if isinstance(module, SlimConv2d):
            module.register_forward_hook(note)
    losses = accumulate_gradients(run.model, images, labels, (HIGH, LOW), run.task)
    assert all(bool(p.grad.isfinite().all()) for p in run.model.parameters() if p.grad is not None)
    return losses.cpu(), seen


def test_bf16_channels_last_and_nearly_the_same_losses() -> None:
    here, _ = one_step("cpu")
    there, seen = one_step("cuda")
    assert seen == {(torch.bfloat16, True)}
    assert torch.allclose(here, there, rtol=0.02)


def test_training_learns_and_both_devices_calibrate_alike() -> None:
    run = trainer("cuda")
    run.run()
    checkpoint = run.checkpoint()
    calib, test = (load_data("digits", split, input_size=8, in_channels=1) for split in ("calib", "test"))
    widths = (LOW, HIGH)
    scored = {}
    for device in ("cpu", "cuda"):
        calibrated = calibrate(checkpoint, calib, widths, device=device)
        scored[device] = (
            calibrated.checkpoint().statistics,
            evaluate_checkpoint(CalibratedModel.from_checkpoint(calibrated.checkpoint()), test, widths, device=device),
        )
    for permille, statistics in scored["cpu"][0].items():
        for name, (mean, var) in statistics.items():
            other_mean, other_var = scored["cuda"][0][permille][name]
            assert ((mean - other_mean).abs() / var.sqrt().clamp(min=1e-6)).max() <= 1e-3, name
            assert ((var - other_var).abs() / var.clamp(min=1e-12)).max() <= 1e-3, name
    for one, other in zip(scored["cpu"][1], scored["cuda"][1], strict=True):
        assert one.values["top1"] > 0.3  # chance is 0.1
        assert abs(one.values["top1"] - other.values["top1"]) <= 0.01
        assert abs(one.values["loss"] - other.values["loss"]) <= 1e-3
