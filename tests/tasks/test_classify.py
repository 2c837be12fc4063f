"""The classification task: what it measures and compares, by hand. Its losses: tests/training/test_distill.py."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from edgeslim.errors import ModelError
from edgeslim.tasks.base import MAX_DB, Task, named, sqnr_db
from edgeslim.tasks.classify import Accuracy, Classify

TASK: Task = Classify()


def test_outputs_by_name_however_a_network_returns_them() -> None:
    logits = torch.zeros(2, 3)
    output: Any
    for output in (logits, (logits,), {"logits": logits}):
        assert named(TASK, output)["logits"] is logits
    for output in ((logits, logits), {"boxes": logits}, None):
        with pytest.raises(ModelError, match="task classify has the outputs"):
            named(TASK, output)


def test_accuracy_over_batches() -> None:
    """Eight classes, so that five of them leave some out."""
    metric = Accuracy()
    logits = torch.arange(8.0).flip(0).repeat(4, 1)  # class 0 first, 7 last
    metric.add({"logits": logits[:3]}, torch.tensor([0, 4, 5]))
    metric.add({"logits": logits[3:]}, torch.tensor([7]))
    found = metric.result()
    assert (found["top1"], found["top5"]) == (0.25, 0.5)
    total = math.log(sum(math.exp(i) for i in range(8)))
    assert found["loss"] == pytest.approx(sum(total - value for value in (7, 3, 2, 0)) / 4)
    assert metric.answers.tolist() == [0, 0, 0, 0]
    assert metric.primary in found
    assert metric.larger_is_better


def test_closeness_is_that_of_the_worst_example_and_the_share_of_same_answers() -> None:
    ours = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    theirs = torch.tensor([[3.0, 3.5], [0.0, 1.0]])
    found = TASK.compare({"logits": ours}, {"logits": theirs})
    assert found.agreement == 0.5
    assert found.sqnr_db["logits"] == pytest.approx(10 * math.log10(1 / 2))  # the first: 10·log10(25/0.25) = 20
    assert sqnr_db(ours[:1], theirs[:1]) == pytest.approx(20)


@pytest.mark.parametrize(("gap", "ties"), [(0.56, 1.0), (0.57, 0.0)])
def test_another_answer_is_a_tie_where_the_two_best_lie_closer_than_four_times_the_rms_error(
    gap: float, ties: float
) -> None:
    """Of 100 classes the two best are wrong by 1: rms √(2 / 100), and 4 times that is 0.566."""
    ours = torch.zeros(1, 100, dtype=torch.float64)
    ours[0, 3], ours[0, 4] = 5 + gap, 5
    theirs = ours.clone()
    theirs[0, 3] -= 1
    theirs[0, 4] += 1
    found = TASK.compare({"logits": ours}, {"logits": theirs})
    assert (found.agreement, found.ties) == (0.0, ties)
    same = TASK.compare({"logits": ours}, {"logits": ours + 0.1})
    assert (same.agreement, same.ties) == (1.0, 0.0)  # the same answer is no tie, however close


def test_noise_and_a_single_class_are_no_ties() -> None:
    nan = torch.full((1, 3), math.nan)
    assert TASK.compare({"logits": torch.tensor([[0.0, 2.0, 1.0]])}, {"logits": nan}).ties == 0
    one = torch.tensor([[2.0]])
    assert TASK.compare({"logits": one}, {"logits": one + 1}).agreement == 1


def test_closeness_at_its_ends() -> None:
    x = torch.tensor([[1.0, 2.0]])
    assert sqnr_db(x, x) == MAX_DB
    assert sqnr_db(x, x * float("nan")) == -MAX_DB
    assert sqnr_db(x * 0, x) == -MAX_DB


def test_soft_targets_are_float32_also_of_half_precision() -> None:
    soft = TASK.soften({"logits": torch.randn(2, 3, dtype=torch.bfloat16)}, torch.tensor([0, 1]))
    assert soft["logits"].dtype == torch.float32
