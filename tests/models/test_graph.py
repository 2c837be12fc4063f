"""Graphs of nets: who reads whose output, however the code is written; and what is counted on them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeslim.errors import ModelError
from edgeslim.models import names
from edgeslim.models.count import count
from edgeslim.models.graph import Graph, trace
from edgeslim.models.registry import create


class Mixed(nn.Module):
    """A norm that stands far from its convolution, a function, a parameter, a module used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.shared = nn.ReLU()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.factor = nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.shared(self.norm(self.conv(x)))
        y += F.silu(y) * self.factor
        return self.shared(y).mean((2, 3))  # type: ignore[no-any-return]


class Branching(Mixed):
    """The same, but torch.fx cannot follow it: its code looks at a value's shape."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] < 4:
            raise ValueError("too small")
        return super().forward(x)


def edges(graph: Graph) -> list[tuple[str, list[str]]]:
    """(operation, operations it reads), without the names that the two ways give differently."""
    return [(node.operation, [read.operation for read in node.inputs]) for node in graph.nodes if node.kind != "output"]


def test_who_reads_what() -> None:
    graph = trace(Mixed(), torch.empty(1, 3, 8, 8))
    by_name = {node.name: node for node in graph.nodes}
    norm = by_name["norm"]
    assert [node.name for node in norm.inputs] == ["conv"]
    assert [node.name for node in graph.users[norm]] == ["shared"]
    assert norm.shape == (1, 4, 8, 8)
    assert by_name["factor"].kind == "parameter"
    assert [len(calls) for calls in graph.calls().values()] == [1, 1, 2]
    assert [node.operation for node in graph.nodes if node.kind == "function"] == ["silu", "mul", "add", "mean"]


def test_code_that_branches_is_followed_with_an_example() -> None:
    net, x = Branching(), torch.empty(1, 3, 8, 8)
    with pytest.raises(ModelError, match="cannot follow the data"):
        trace(net)
    ours, plain = trace(net, x), trace(Mixed(), x)
    assert sorted(edges(ours)) == sorted(edges(plain))
    assert {n.name: n.shape for n in ours.nodes if n.kind == "module"} == {
        n.name: n.shape for n in plain.nodes if n.kind == "module"
    }
    assert net.training  # it stays as it was


@pytest.mark.parametrize("name", names())
def test_both_ways_agree_on_our_networks(name: str) -> None:
    torch.manual_seed(0)
    model = create(name, num_classes=10, input_size=32)
    twin: Any = model.static(model.spec.low, weights=False)
    x = torch.empty(1, 3, 32, 32, device="meta")
    by_fx = trace(twin, x)

    class Opaque(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.classifier = twin.features, twin.classifier

        def forward(self, x: Tensor) -> Tensor:
            assert bool(x.shape[0] == 1)
            return self.classifier(self.features(x).flatten(1))  # type: ignore[no-any-return]

    opaque = Opaque()
    by_run = trace(opaque, x)
    assert [(n.name, n.shape) for n in by_run.nodes if n.kind == "module"] == [
        (n.name, n.shape) for n in by_fx.nodes if n.kind == "module"
    ]


class Attention(nn.Module):
    """5 x 5 patches of 8 channels, two heads of 4, by hand or by torch's own function."""

    def __init__(self, *, fused: bool) -> None:
        super().__init__()
        self.patch, self.qkv, self.norm = nn.Conv2d(3, 8, 2, stride=2), nn.Linear(8, 24), nn.LayerNorm(8)
        self.position = nn.Parameter(torch.zeros(1, 25, 8))
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(self.patch(x).flatten(2).transpose(1, 2) + self.position)
        q, k, v = self.qkv(tokens).reshape(1, 25, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            return F.scaled_dot_product_attention(q, k, v)
        mixed: Tensor = (q @ k.transpose(-2, -1) * 0.5).softmax(-1) @ v
        return mixed


@pytest.mark.parametrize("fused", [False, True])
def test_tokens_and_attention_count(fused: bool) -> None:
    found = count(Attention(fused=fused), input_size=10)
    patch, linear, products = 25 * 3 * 4 * 8, 25 * 8 * 24, 2 * (25 * 25 * 4) * 2  # q·k and ·v, two heads
    assert found.macs == patch + linear + products
    assert found.params == (3 * 4 * 8 + 8) + (8 * 24 + 24) + 16 + 25 * 8
    assert not found.unsupported


def test_what_is_not_counted_is_told() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.odd = nn.Conv2d(3, 4, 1), nn.Fold(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum("bchw,bchw->bc", self.conv(x), self.conv(x)) + torch.cumsum(x.mean((1, 2, 3)), 0)

    found = count(Odd(), input_size=4)
    assert found.unsupported == {"cumsum": 1, "einsum": 1}
    assert found.macs == 2 * (3 * 4 * 16) + 3 * 16
    assert found.params == 16


def test_transposed_convolutions_count_their_inputs() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2))
    assert count(net, input_size=5).macs == 25 * 3 * 4 + 25 * 4 * (6 // 2) * 4
