"""Checkpoints as people have them: one small file of every kind, each read to the same net."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from edgeslim.errors import CheckpointError
from edgeslim.models.checkpoint import load_checkpoint
from edgeslim.models.registry import create
from edgeslim.models.warm_start import open_source, warm_start

torchvision = pytest.importorskip("torchvision")


def lively(net: nn.Module, seed: int) -> Any:
    """Every number of its own: nothing hides behind ones and zeros."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                for numbers in (module.weight, module.bias, module.running_mean, module.running_var):
                    assert numbers is not None
                    numbers.copy_(0.5 + torch.rand(numbers.shape, generator=generator))
    return net.eval()


@pytest.fixture(scope="module")
def net() -> Any:
    torch.manual_seed(0)
    return lively(torchvision.models.mobilenet_v2(num_classes=10), 1)


@pytest.fixture(scope="module")
def average() -> Any:
    """What the net would be after averaging: other weights."""
    torch.manual_seed(1)
    return lively(torchvision.models.mobilenet_v2(num_classes=10), 2)


class Lit(nn.Module):
    """As a LightningModule holds its net."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


def timm_keys(net: nn.Module) -> dict[str, Tensor]:
    """The net's tensors under the names that timm's mobilenetv2_100 has, by position: both list layers in order."""
    names = ["conv_stem", "bn1", *(f"blocks.0.0.{part}" for part in ("conv_dw", "bn1", "conv_pw", "bn2"))]
    parts = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
    for stage, repetitions in enumerate((2, 3, 4, 3, 3, 1), start=1):
        names += [f"blocks.{stage}.{repetition}.{part}" for repetition in range(repetitions) for part in parts]
    names += ["conv_head", "bn2", "classifier"]
    layers = [module for module in net.modules() if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear)]
    return {
        f"{name}.{part}": tensor
        for name, layer in zip(names, layers, strict=True)
        for part, tensor in layer.state_dict().items()
    }


def averaged(net: nn.Module, average: nn.Module) -> dict[str, Tensor]:
    """torch's own AveragedModel: a counter, and ``module.`` before every key."""
    model = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    model.module.load_state_dict(average.state_dict())
    state: dict[str, Tensor] = model.state_dict()
    assert "n_averaged" in state
    return state


def compiled(net: nn.Module) -> Any:
    return torch.compile(net)  # nothing is compiled before it runs


Maker = Callable[[Any, Any], Any]
LAST: dict[str, Maker] = {
    "bare": lambda net, average: net.state_dict(),
    "model": lambda net, average: {"model": net.state_dict(), "epoch": 3},
    "DDP": lambda net, average: nn.DataParallel(net).state_dict(),  # the same prefix as DistributedDataParallel
    "torch.compile": lambda net, average: compiled(net).state_dict(),
    "DDP of torch.compile": lambda net, average: {"state_dict": nn.DataParallel(compiled(net)).state_dict()},
    "Lightning": lambda net, average: {
        "epoch": 1,
        "global_step": 100,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": Lit(net).state_dict(),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_path": "x.ckpt"}},
        "optimizer_states": [torch.optim.SGD(net.parameters(), 0.1, momentum=0.9).state_dict()],
        "lr_schedulers": [],
        "hyper_parameters": {"lr": 0.1},
    },
    "Lightning with a compiled part": lambda net, average: {
        "state_dict": {
            key.replace("model.features.", "model.features._orig_mod."): tensor
            for key, tensor in Lit(net).state_dict().items()
        }
    },
    "timm": lambda net, average: {
        "epoch": 7,
        "arch": "mobilenetv2_100",
        "state_dict": timm_keys(net),
        "args": argparse.Namespace(lr=0.1, model="mobilenetv2_100", mean=None, sizes=[224]),
        "version": 2,
    },
}
AVERAGED: dict[str, Maker] = {
    "timm with EMA": lambda net, average: {
        "state_dict": timm_keys(net),
        "state_dict_ema": timm_keys(average),
        "args": argparse.Namespace(lr=0.1),
    },
    "torchvision's references with EMA": lambda net, average: {
        "model": net.state_dict(),
        "optimizer": torch.optim.SGD(net.parameters(), 0.1).state_dict(),
        "model_ema": averaged(net, average),
        "args": argparse.Namespace(device="cuda", model="mobilenet_v2"),
    },
    "EMA below a container": lambda net, average: {"ema": {"state_dict": average.state_dict()}},
}


@pytest.mark.parametrize("kind", [*LAST, *AVERAGED, "safetensors"])
def test_the_full_width_function_is_the_files(kind: str, net: Any, average: Any, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    if kind == "safetensors":
        save_file(timm_keys(net), path, metadata={"format": "pt"})
    else:
        torch.save((LAST | AVERAGED)[kind](net, average), path)
    model = create("us_mobilenet_v2", num_classes=10, input_size=64).eval()

    source = open_source(path)
    done = warm_start(model, source)

    theirs = average if kind in AVERAGED else net
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs(x)
        assert float((model(x) - expected).abs().max() / expected.abs().max()) <= 1e-5
        alone = load_checkpoint(path).build()  # the same file as a net of one width
        assert torch.allclose(alone(x), expected, atol=1e-5 * float(expected.abs().max()))
    assert done.fresh == ()
    assert ("the averaged weights are taken" in " ".join(source.notes)) == (kind in AVERAGED)


def test_a_head_of_another_size_is_replaced_and_named(net: Any, tmp_path: Path) -> None:
    torch.save(net.state_dict(), tmp_path / "net.pt")
    model: Any = create("us_mobilenet_v2", num_classes=7, input_size=64)
    own = model.classifier[0].weight.clone()
    done = warm_start(model, open_source(tmp_path / "net.pt"))
    assert torch.equal(model.classifier[0].weight, own)
    assert done.fresh == ("classifier.0",)
    assert done.notes == (f"the head classifier.0 starts afresh: {tmp_path / 'net.pt'} has 10 classes, this net 7",)


def test_keys_that_do_not_fit_are_listed_by_their_own_names(net: Any, tmp_path: Path) -> None:
    state = Lit(net).state_dict()
    for layer in range(2, 9):
        del state[f"model.features.{layer}.conv.3.bias"]
    state["criterion.weight"] = torch.ones(10)
    torch.save({"state_dict": state}, tmp_path / "net.ckpt")
    with pytest.raises(CheckpointError) as caught:
        open_source(tmp_path / "net.ckpt")
    five = ", ".join(f"'features.{layer}.conv.3.bias'" for layer in range(2, 7))
    assert f"missing keys {five} and 2 more; unexpected key 'criterion.weight'" in caught.value.message


def test_another_size_of_a_known_layout_is_an_error_with_names(tmp_path: Path) -> None:
    deeper = timm_keys(torchvision.models.mobilenet_v2(num_classes=10))
    deeper |= {key.replace("blocks.1.1.", "blocks.1.2."): tensor for key, tensor in deeper.items()}
    torch.save(deeper, tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match=r"unexpected keys 'blocks\.1\.2\..* more"):
        open_source(tmp_path / "net.pt")
    gated = {"blocks.0.0.conv_dw.weight": torch.ones(32, 1, 3, 3), "blocks.2.0.conv_dw.weight": torch.ones(9, 1, 5, 5)}
    torch.save({**gated, "blocks.0.0.se.conv_reduce.weight": torch.ones(8, 32, 1, 1)}, tmp_path / "b0.pt")
    with pytest.raises(CheckpointError, match="squeeze-and-excitation"):
        open_source(tmp_path / "b0.pt")


def test_options_of_another_class_are_still_refused(net: Any, tmp_path: Path) -> None:
    torch.save({"model": net.state_dict(), "args": Lit(nn.Identity())}, tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match="pickled objects"):
        open_source(tmp_path / "net.pt")


def test_the_allowed_class_is_allowed_for_one_file_only(net: Any, tmp_path: Path) -> None:
    torch.save(LAST["timm"](net, net), tmp_path / "net.pt")
    open_source(tmp_path / "net.pt")
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


def test_a_damaged_safetensors_file(net: Any, tmp_path: Path) -> None:
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    whole = (tmp_path / "net.safetensors").read_bytes()
    (tmp_path / "net.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="truncated, damaged or no safetensors file"):
        open_source(tmp_path / "net.safetensors")


def test_nothing_of_the_source_changes(net: Any, tmp_path: Path) -> None:
    state = copy.deepcopy(net.state_dict())
    torch.save(state, tmp_path / "net.pt")
    source = open_source(tmp_path / "net.pt")
    before = {key: tensor.clone() for key, tensor in source.tensors.items()}
    warm_start(create("us_mobilenet_v2", num_classes=10, input_size=64), source)
    assert all(torch.equal(tensor, before[key]) for key, tensor in source.tensors.items())
