"""Pooled statistics of plain nets against the literal definition, however the pass is cut up."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from literal import largest_error, literal_statistics
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import mobilenet_v2
from torchvision.models.resnet import BasicBlock, ResNet

from edgeslim.deploy.calibration.passes import PassUsage, pooled_statistics
from edgeslim.deploy.calibration.store import Workspace, default_memory_bytes
from edgeslim.errors import CheckpointError, DataError, ModelError, OutputError, UsageError


def images(count: int = 48, pixels: int = 16, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, pixels, pixels, generator=torch.Generator().manual_seed(seed))


def conv(inputs: int, outputs: int, **kwargs: Any) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False, **kwargs), nn.BatchNorm2d(outputs))


class Shortcut(nn.Module):
    """A BatchNorm in the shortcut, one in the body, one ReLU module used twice, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.shortcut = conv(3, 8, stride=2), conv(8, 8), conv(3, 8, stride=2)
        self.last = conv(8, 4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        body = self.second(self.relu(self.first(x)))
        body += self.shortcut(x)
        out: Tensor = self.last(self.relu(body))
        return out


class Branches(nn.Module):
    """Branches of unequal depth, concatenated and normalised, split and shuffled by the batch's own shape."""

    def __init__(self) -> None:
        super().__init__()
        self.a = conv(3, 4)
        self.b = nn.Sequential(conv(3, 6), nn.ReLU6(), conv(6, 6))
        self.pool = nn.AvgPool2d(3, stride=1, padding=1)
        self.joined = nn.BatchNorm2d(13)
        self.tail = conv(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.joined(torch.cat([self.a(x), self.b(x), self.pool(x)], dim=1))[:, :12]
        batch, channels, height, width = x.size()
        x = x.view(batch, 3, channels // 3, height, width).transpose(1, 2).reshape(batch, channels, height, width)
        left, middle, right = x.chunk(3, dim=1)
        out: Tensor = self.tail(left + right * middle)
        return out.mean((2, 3))


class Overwriting(nn.Module):
    """In-place operations on values that others read as well, before and after."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.before, self.after = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        left: Tensor = self.before(x)
        F.relu(x, inplace=True)
        x.mul_(3.0)
        right: Tensor = self.after(x)  # reads what was overwritten
        return left + right


class Flat(nn.Module):
    """BatchNorm without learnt parameters, then one over features."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.plain = nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4, affine=False, eps=1e-3)
        self.head, self.norm = nn.Linear(4, 6), nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.plain(self.stem(x))).mean((2, 3))
        out: Tensor = self.norm(self.head(x))
        return out


def perturbed(net: nn.Module) -> nn.Module:
    """Gammas and betas away from 1 and 0, running statistics away from everything."""
    generator = torch.Generator().manual_seed(5)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            if module.weight is not None:
                module.weight.data = 0.5 + torch.rand(module.num_features, generator=generator)
                module.bias.data = torch.rand(module.num_features, generator=generator) - 0.3
            module.running_mean = torch.full((module.num_features,), 7.0)
    return net


def small_mobilenet() -> nn.Module:
    blocks = [[1, 8, 1, 1], [6, 8, 2, 2], [6, 16, 2, 2]]
    net: nn.Module = mobilenet_v2(inverted_residual_setting=blocks, width_mult=1.0, num_classes=4)
    return net


NETS: dict[str, Callable[[], nn.Module]] = {
    "mobilenet_v2": small_mobilenet,
    "resnet": lambda: ResNet(BasicBlock, [1, 1, 1, 1], num_classes=4),
    "shortcut": Shortcut,
    "branches": Branches,
    "overwriting": Overwriting,
    "flat": Flat,
}


@pytest.fixture(params=NETS)
def net(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return perturbed(NETS[request.param]())


def test_equals_the_literal_definition(net: nn.Module) -> None:
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = pooled_statistics(net, images())
    assert largest_error(found, literal_statistics(net, images())) < 1e-5
    assert all(mean.dtype == variance.dtype == torch.float64 for mean, variance in found.values())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(module.training for module in net.modules())


def test_chunks_order_and_memory_do_not_matter(net: nn.Module) -> None:
    everything = pooled_statistics(net, images(), chunk=48)
    shuffled = images()[torch.randperm(48, generator=torch.Generator().manual_seed(1))]
    used: list[PassUsage] = []
    for chunk in (1, 7, 16, 1000):
        assert largest_error(pooled_statistics(net, shuffled, chunk=chunk), everything) < 1e-5
    for memory_bytes in (300_000, 600_000):
        workspace = Workspace(memory_bytes)
        spilled = pooled_statistics(net, images(), workspace=workspace, on_usage=used.append)
        assert largest_error(spilled, everything) < 1e-5
        assert used[-1].peak_bytes <= memory_bytes


def test_memory_is_respected_and_files_take_the_rest() -> None:
    net, used = small_mobilenet(), list[PassUsage]()
    held = images(pixels=32)
    for memory_bytes in (1 << 30, 4_000_000, 800_000):
        pooled_statistics(net, held, workspace=Workspace(memory_bytes), on_usage=used.append)
    free, some, little = used
    assert free.spilled_bytes == 0
    assert free.peak_bytes > 4_000_000
    assert 0 < some.spilled_bytes < little.spilled_bytes
    assert some.peak_bytes <= 4_000_000
    assert little.peak_bytes <= 800_000


def test_the_arena_is_reused() -> None:
    workspace, small, large = Workspace(1 << 30), images(8), images(40)
    net = small_mobilenet()
    alone = pooled_statistics(net, small)
    for held in (large, small, large):
        found = pooled_statistics(net, held, workspace=workspace)
    assert largest_error(pooled_statistics(net, small, workspace=workspace), alone) == 0.0
    assert largest_error(found, literal_statistics(net, large)) < 1e-5


def test_spilled_files_have_no_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[list[Path]] = []
    net = small_mobilenet()
    pooled_statistics(
        net, images(), workspace=Workspace(400_000), on_stage=lambda *_: seen.append(list(tmp_path.iterdir()))
    )
    assert not any(seen)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(OutputError, match="cannot put activations") as caught:
        pooled_statistics(net, images(), workspace=Workspace(400_000))
    assert "--memory" in (caught.value.hint or "")


def test_a_full_gpu_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Workspace, "arena", full)
    with pytest.raises(UsageError, match="the GPU has no room for 8,000,000 bytes") as caught:
        pooled_statistics(small_mobilenet(), images(), workspace=Workspace(8_000_000))
    assert caught.value.hint == "--memory 2000000, or --device cpu"


def test_the_default_memory_is_that_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (3 << 30, 8 << 30))
    assert default_memory_bytes("cuda") == 3 << 29
    assert 0 < default_memory_bytes() <= 4 << 30


def test_too_little_memory_names_what_is_needed() -> None:
    with pytest.raises(UsageError, match="cannot hold one image") as caught:
        pooled_statistics(small_mobilenet(), images(), workspace=Workspace(1000))
    needed = int((caught.value.hint or "").split()[1])
    pooled_statistics(small_mobilenet(), images(), workspace=Workspace(needed))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_fewer_images_than_a_chunk(count: int) -> None:
    net = NETS["branches"]()
    found = pooled_statistics(net, images(count), chunk=16)
    assert largest_error(found, literal_statistics(net, images(count))) < 1e-5


def test_one_value_per_channel_has_variance_zero() -> None:
    found = pooled_statistics(nn.Sequential(nn.Conv2d(3, 4, 16), nn.BatchNorm2d(4)), images(1))
    assert found["1"][1].tolist() == [0.0] * 4


def test_mean_far_above_the_deviation() -> None:
    """The second BatchNorm sees means of thousands with deviations around one."""
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))
    nn.init.constant_(net[2].bias, 3000.0)
    assert largest_error(pooled_statistics(net, images(), chunk=5), literal_statistics(net, images())) < 1e-4


def test_dead_channels() -> None:
    net: Any = Shortcut()
    nn.init.zeros_(net.first[0].weight[2:5])
    nn.init.zeros_(net.second[1].weight[:4])
    found = pooled_statistics(net, images())
    assert found["first.1"][1][2:5].tolist() == [0.0] * 3
    assert largest_error(found, literal_statistics(net, images())) < 1e-5


def test_a_network_without_batchnorm_needs_nothing() -> None:
    assert pooled_statistics(nn.Conv2d(3, 4, 3), images()) == {}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_broken_images(bad: float) -> None:
    broken = images()
    broken[17, 1, 3, 3] = bad
    with pytest.raises(DataError, match="NaN or infinity"):
        pooled_statistics(Shortcut(), broken)


def test_no_images() -> None:
    with pytest.raises(DataError, match="no images"):
        pooled_statistics(Shortcut(), images()[:0])


def test_broken_weights_are_named() -> None:
    net: Any = Shortcut()
    nn.init.constant_(net.second[0].weight, float("nan"))
    with pytest.raises(CheckpointError, match=r"second\.1"):
        pooled_statistics(net, images())


class Twice(nn.Module):
    def __init__(self, times: int) -> None:
        super().__init__()
        self.norm, self.times = nn.BatchNorm2d(3), times

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = self.norm(x)
        return x


class Functional(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, None, None, training=True)


class Untraceable(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (Twice(2), "called 2 times"),
        (Twice(0), "called 0 times"),
        (Functional(), "batch_norm as a function"),
        (Untraceable(), "cannot follow"),
    ],
)
def test_networks_that_cannot_be_calibrated(net: nn.Module, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        pooled_statistics(net, images(4))


def test_averaging_batches_is_something_else() -> None:
    """What a sweep with cumulative averages gives: exact in the first layer, wrong in the last."""
    torch.manual_seed(0)
    net = perturbed(small_mobilenet())
    exact = pooled_statistics(net, images(64))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        for batch in images(64).split(16):
            net(batch)
    norms = {name: module for name, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)}
    averaged = {name: (norm.get_buffer("running_mean"), norm.get_buffer("running_var")) for name, norm in norms.items()}
    (first, *_, last) = norms
    assert largest_error({first: averaged[first]}, {first: exact[first]}) < 1e-2
    assert largest_error({last: averaged[last]}, {last: exact[last]}) > 0.03
