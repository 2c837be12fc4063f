"""Learning rates and which parameters decay."""

from __future__ import annotations

import math

import pytest

from edgeslim.errors import UsageError
from edgeslim.models.registry import create
from edgeslim.training.optim import OptimConfig, split_by_decay


def test_warmup_then_cosine() -> None:
    config = OptimConfig(lr=1.0, warmup=2.0)
    rates = [config.lr_at(step, 100, 5) for step in range(100)]
    assert rates[:10] == [(step + 1) / 10 for step in range(10)]
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.5 * (1 + math.cos(math.pi * 89 / 90)))


def test_linear_falls_to_zero() -> None:
    config = OptimConfig(lr=0.4, schedule="linear", warmup=0)
    assert [config.lr_at(step, 4, 1) for step in range(4)] == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_a_warmup_longer_than_the_run_is_cut() -> None:
    assert OptimConfig(lr=1.0, warmup=100).lr_at(1, 4, 1) == 1.0


def test_only_dense_weights_decay() -> None:
    model = create("us_mobilenet_v2", num_classes=4, input_size=8)
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, free = ([name_of[id(p)] for p in group] for group in split_by_decay(model))
    assert "features.0.0.weight" in decayed  # the stem
    assert "classifier.0.weight" in decayed
    assert "classifier.0.bias" in free
    assert "features.0.1.weight" in free  # gamma
    assert "features.1.body.0.weight" in free  # depthwise
    assert len(decayed) + len(free) == len(name_of)


def test_two_groups_reach_the_optimiser() -> None:
    model = create("us_mobilenet_v1", num_classes=4, input_size=8)
    for name in ("sgd", "adamw"):
        groups = OptimConfig(optimizer=name, weight_decay=0.25).build(model).param_groups
        assert [group["weight_decay"] for group in groups] == [0.25, 0.0]


@pytest.mark.parametrize(
    "settings", [{"lr": 0}, {"lr": math.nan}, {"weight_decay": -1}, {"clip": -1}, {"warmup": math.inf}]
)
def test_values_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        OptimConfig(**settings)  # type: ignore[arg-type]
