"""Devices: what is picked, how exactly it computes, and that nothing of a step stays behind on another device."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgeslim.core.width import Width
from edgeslim.data.augment import Augment
from edgeslim.data.named import load_data
from edgeslim.errors import HostError, UsageError
from edgeslim.models.devices import exact, mixed, pick
from edgeslim.models.registry import create
from edgeslim.training.config import TrainConfig
from edgeslim.training.loop import Trainer
from edgeslim.training.sandwich import Sandwich
from edgeslim.training.teachers import EmaTeacher, FixedTeacher

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("kind", ["inplace", "ema", "fixed"])
def test_a_whole_step_runs_on_the_device_it_was_given(kind: str) -> None:
    """The meta device computes nothing, but refuses tensors of another device: a machine without a GPU can see so
    whether images, labels, weights, optimiser and teacher all went along."""
    low, high = Width(250), Width(500)
    data = load_data("digits", "train", input_size=8, in_channels=1, images=64)
    model = create("us_mobilenet_v2", num_classes=10, input_size=8, in_channels=1, low=low, high=high)
    config = TrainConfig(
        data="digits",
        epochs=1,
        batch_size=32,
        sandwich=Sandwich(low=low, high=high),
        augment=Augment(padding=1, flip=True, jitter=0.2),
    )
    teacher = {"inplace": lambda: None, "ema": lambda: EmaTeacher(model, high)}.get(
        kind, lambda: FixedTeacher(model.static(high))
    )()
    trainer = Trainer(model, data, config, teacher=teacher, device="meta")
    for images, labels in trainer.source.batches(range(2), trainer.device):
        assert images.is_contiguous(memory_format=torch.channels_last)
        losses = trainer.train_step(images, labels, 0.1)
        assert losses.device.type == "meta"
        assert losses.shape == (4,)
    momenta: list[Tensor] = [state["momentum_buffer"] for state in trainer.optimizer.state.values()]
    assert {buffer.device.type for buffer in momenta} == {"meta"}


def test_auto_is_the_cpu_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick("auto") == pick("cpu") == CPU
    with pytest.raises(HostError) as caught:
        pick("cuda")
    assert caught.value.hint == "--device cpu"


@pytest.mark.parametrize("name", ["banana", "mps", "meta", "", "cpu:1", "cuda:", "cuda:x", "cuda:-1"])
def test_other_devices_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no such device"):
        pick(name)


def test_every_process_of_torchrun_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert pick("auto") == pick("cuda") == torch.device("cuda", 0)
    assert pick("cuda:1") == torch.device("cuda", 1)
    for name in ("cuda:2", "cuda:200", "cuda:256"):  # torch.device wraps the last two to -56 and 0
        with pytest.raises(HostError, match="there are 2") as caught:
            pick(name)
        assert caught.value.hint == "--device cuda:1 is the last"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert pick("auto") == torch.device("cuda", 1)
    assert chosen == [0, 0, 1, 1]
    with pytest.raises(UsageError, match="3 processes cannot share cuda:0"):
        pick("cuda:0")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(HostError, match="no GPU 2 here: there are 2") as caught:
        pick("auto")
    assert caught.value.hint == "--nproc-per-node 2, or --device cpu"


def test_float32_on_cuda_is_float32_while_it_matters() -> None:
    before = torch.backends.cudnn.allow_tf32
    with exact(CUDA):
        assert torch.backends.cudnn.allow_tf32 is False
        assert torch.backends.cudnn.enabled
    assert torch.backends.cudnn.allow_tf32 is before
    with exact(CPU), mixed(CPU):
        assert torch.backends.cudnn.allow_tf32 is before
        assert not torch.is_autocast_enabled("cpu")
