"""Starting from existing weights: the full-width function stays, the channels come in order of importance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgeslim.core.width import Width
from edgeslim.errors import CheckpointError, ModelError
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.models.importance import sort_channels
from edgeslim.models.registry import create
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.models.warm_start import open_source, warm_start

torchvision = pytest.importorskip("torchvision")
FULL = Width(1000)


def lively(net: nn.Module) -> Any:
    """Random gammas, betas and statistics, so that a wrong permutation cannot hide behind ones and zeros."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return net.eval()


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "resnet50"])
def test_the_full_width_function_is_torchvisions(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = lively(getattr(torchvision.models, name)(num_classes=20))
    torch.save(theirs.state_dict(), tmp_path / "theirs.pt")
    model: Any = create(f"us_{name}", num_classes=20, input_size=64).eval()

    done = warm_start(model, open_source(tmp_path / "theirs.pt"))

    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert relative(model(x), theirs(x)) <= 1e-5
    assert done.sorted_bundles > 10
    assert done.fresh == ()
    stem = next(iter(theirs.modules())).state_dict()
    first = stem.get("conv1.weight", stem.get("features.0.0.weight"))
    assert not torch.equal(model.features[0][0].weight, first), "nothing was reordered"


@pytest.mark.parametrize(
    "name", ["us_mobilenet_v1", "us_mobilenet_v2", "us_resnet50", "s_mobilenet_v2", "s_shufflenet"]
)
def test_sorting_keeps_the_function_and_orders_the_channels(name: str) -> None:
    torch.manual_seed(0)
    model: Any = create(name, num_classes=10, input_size=32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn(parameter.shape))
    widest = model.spec.high
    model.set_statistics(
        widest,
        {
            n: (0.1 * torch.randn(c), 0.5 + torch.rand(c))
            for n, norm in model.norms().items()
            for c in [norm.outputs.at(widest)]
        },
    )
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = model(x)
        moved = sort_channels(model)
        assert relative(model(x), before) <= 1e-5
    assert (moved == 0) == (name == "s_shufflenet")  # its shuffle ties every channel to its place
    sort_channels(model)
    if name == "us_mobilenet_v1":  # the second stage's 128 channels, by hand: gammas times what reads them
        norm, dw_norm = model.norms()["features.2.body.4"], model.norms()["features.3.body.1"]
        written = norm.affine(model.net)[0].abs() + dw_norm.affine(model.net)[0].abs()
        score = written * model.features[3].body[3].weight.abs().sum((0, 2, 3))
        assert bool((score.diff() <= 0).all())


def test_a_half_dead_net_loses_nothing_at_half_width() -> None:
    """Of every bundle a random half has gamma = beta = 0. Sorted, the live half is the half-width net."""
    torch.manual_seed(0)
    model: Any = create("us_mobilenet_v1", num_classes=10, input_size=32).eval()
    dead: dict[int, Tensor] = {}  # by bundle of channels: a depthwise convolution shares its input's
    with torch.no_grad():
        for norm in model.norms().values():
            gamma, beta = norm.affine(model.net)
            chosen = dead.setdefault(id(norm.outputs), torch.randperm(len(gamma))[: len(gamma) // 2])
            gamma[chosen] = 0
            beta[chosen] = 0
    x = torch.randn(4, 3, 32, 32)
    statistics = {n: (torch.zeros(len(norm.affine(model.net)[0])),) * 2 for n, norm in model.norms().items()}
    model.set_statistics(FULL, {n: (mean, var + 1) for n, (mean, var) in statistics.items()})
    sort_channels(model)
    half = Width(500)
    model.set_statistics(half, {n: (m[: len(m) // 2], v[: len(v) // 2] + 1) for n, (m, v) in statistics.items()})
    with torch.no_grad():
        full = model(x)
        with model.at(half):
            assert relative(model(x), full) <= 1e-5


def test_another_number_of_classes_is_a_new_head(tmp_path: Path) -> None:
    theirs = lively(torchvision.models.mobilenet_v2())
    torch.save({"model": theirs.state_dict()}, tmp_path / "theirs.pt")
    model: Any = create("us_mobilenet_v2", num_classes=10, input_size=64).eval()
    head = model.classifier[0].weight.clone()
    done = warm_start(model, open_source(tmp_path / "theirs.pt"))
    assert done.fresh == ("classifier.0",)
    assert torch.equal(model.classifier[0].weight, head)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert relative(model.features(x).flatten(1), theirs.features(x).mean((2, 3))) <= 1e-5


def test_a_small_stem_starts_afresh_and_takes_no_statistics(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18(num_classes=10).state_dict(), tmp_path / "theirs.pt")
    model: Any = create("us_resnet18", num_classes=10, input_size=32)
    assert warm_start(model, open_source(tmp_path / "theirs.pt")).fresh == ("features.0.0",)
    assert model.calibrated() == ()


def checkpoint_of(model: SlimmableModel, path: Path) -> Path:
    Checkpoint.from_model(model).save(path)
    return path


def test_a_slimmable_checkpoint_keeps_its_order(tmp_path: Path) -> None:
    torch.manual_seed(0)
    old: Any = create("us_mobilenet_v2", num_classes=10, input_size=32)
    path = checkpoint_of(old, tmp_path / "old.pt")
    new: Any = create("us_mobilenet_v2", num_classes=5, input_size=32, low=Width(250))
    done = warm_start(new, open_source(path))
    assert (done.sorted_bundles, done.fresh) == (0, ("classifier.0",))
    assert torch.equal(new.features[3].body[0].weight, old.features[3].body[0].weight)


def test_a_net_trained_alone_is_sorted(tmp_path: Path) -> None:
    old: Any = create("us_mobilenet_v1", num_classes=10, input_size=32, low=FULL)
    source = open_source(checkpoint_of(old, tmp_path / "old.pt"))
    assert source.trained_alone
    assert warm_start(create("us_mobilenet_v1", num_classes=10, input_size=32), source).sorted_bundles > 10


def test_an_s_net_starts_a_us_net_and_the_other_way_round(tmp_path: Path) -> None:
    torch.manual_seed(0)
    s_net = create("s_mobilenet_v2", num_classes=10, input_size=32).train()
    us_net = create("us_mobilenet_v2", num_classes=10, input_size=32).train()
    x = torch.randn(4, 3, 32, 32)
    warm_start(us_net, open_source(checkpoint_of(s_net, tmp_path / "s.pt")))
    with torch.no_grad():
        assert relative(us_net(x), s_net(x)) <= 1e-5
        other = create("s_mobilenet_v2", num_classes=10, input_size=32).train()
        warm_start(other, open_source(checkpoint_of(us_net, tmp_path / "us.pt")))
        with other.at(Width(500)), us_net.at(Width(500)):  # private BatchNorms begin as the shared ones' prefix
            assert relative(other(x), us_net(x)) <= 1e-5


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18(num_classes=10).state_dict(), tmp_path / "r18.pt")
    with pytest.raises(ModelError, match="cannot start a us_mobilenet_v2"):
        warm_start(create("us_mobilenet_v2", num_classes=10), open_source(tmp_path / "r18.pt"))
    with pytest.raises(ModelError, match="has BatchNorm"):
        warm_start(create("us_resnet18", num_classes=10, norm="none"), open_source(tmp_path / "r18.pt"))
    with pytest.raises(CheckpointError, match=r"features\.0\.0\.weight: expected shape|features"):
        warm_start(
            create("us_resnet18", num_classes=10, high=Width(500), low=Width(250)), open_source(tmp_path / "r18.pt")
        )
    torch.save(torchvision.models.resnet34(num_classes=10).state_dict(), tmp_path / "r34.pt")
    with pytest.raises(CheckpointError, match="another depth"):
        open_source(tmp_path / "r34.pt")
    state = torchvision.models.resnet18(num_classes=10).state_dict()
    del state["layer2.0.bn1.weight"]
    torch.save(state, tmp_path / "broken.pt")
    with pytest.raises(CheckpointError, match=r"missing key 'layer2\.0\.bn1\.weight'"):
        warm_start(create("us_resnet18", num_classes=10), open_source(tmp_path / "broken.pt"))
    with pytest.raises(ModelError, match="cannot start from torchvision's 'vgg16'"):
        open_source("torchvision:vgg16")
