"""Soft targets: their loss by definition, no gradient into them, and each source of them really used."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from edgeslim.core.width import Width
from edgeslim.models.registry import create
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.tasks import Distill
from edgeslim.tasks.classify import LOGITS, Classify
from edgeslim.training.engines import AUTOGRAD
from edgeslim.training.step import accumulate_gradients
from edgeslim.training.teachers import EmaTeacher, FixedTeacher

WIDTHS = (Width(500), Width(300), Width(125))
TASK = Classify(smoothing=0.1, distill="plain")


def hard_loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    return Classify(smoothing=smoothing).loss({LOGITS: logits}, labels)


def soft_targets(logits: Tensor, labels: Tensor, distill: Distill) -> Tensor:
    return Classify(distill=distill).soften({LOGITS: logits}, labels)[LOGITS]


def soft_loss(logits: Tensor, targets: Tensor) -> Tensor:
    return TASK.soft_loss({LOGITS: logits}, {LOGITS: targets})


@pytest.fixture
def model() -> SlimmableModel:
    torch.manual_seed(0)
    return create("us_mobilenet_v1", num_classes=5, input_size=8, low=Width(125), high=Width(500))


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(8, 3, 8, 8, generator=generator), torch.randint(0, 5, (8,), generator=generator)


def gradients(model: SlimmableModel) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def logits_of(model: SlimmableModel, width: Width, images: Tensor) -> Tensor:
    with model.at(width):
        output: Tensor = model(images)
    return output


def test_soft_loss_is_the_cross_entropy_of_two_distributions() -> None:
    logits, targets = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[0.0, 0.0, 3.0]])
    p = [1 / (2 + torch.e**3), 1 / (2 + torch.e**3), torch.e**3 / (2 + torch.e**3)]
    total = torch.e**1 + torch.e**2 + 1
    q = [torch.e**1 / total, torch.e**2 / total, 1 / total]
    expected = -sum(a * torch.tensor(b).log() for a, b in zip(p, q, strict=True))
    assert torch.allclose(soft_loss(logits, targets.softmax(1)), torch.as_tensor(expected, dtype=torch.float32))


def test_no_gradient_flows_into_the_targets() -> None:
    logits, targets = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    soft_loss(logits, soft_targets(targets, torch.zeros(4, dtype=torch.int64), "trusted")).backward()
    assert targets.grad is None
    assert logits.grad is not None


def test_a_teacher_is_trusted_as_far_as_it_is_right() -> None:
    logits, labels = torch.tensor([[0.6, 0.4], [0.1, 0.9]]).log(), torch.tensor([0, 0])
    assert soft_targets(logits, labels, "plain").flatten().tolist() == pytest.approx([0.6, 0.4, 0.1, 0.9])
    # 0.6·(0.6, 0.4) + 0.4·(1, 0) and 0.1·(0.1, 0.9) + 0.9·(1, 0)
    assert soft_targets(logits, labels, "trusted").flatten().tolist() == pytest.approx([0.76, 0.24, 0.91, 0.09])
    assert soft_targets(logits, labels, "none").flatten().tolist() == [1, 0, 1, 0]


def test_a_step_adds_hard_loss_of_the_widest_and_soft_losses_of_the_rest(
    model: SlimmableModel, batch: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By autograd on both sides: another engine rounds otherwise, and activations near zero then change sides."""
    monkeypatch.setattr("edgeslim.training.step.choose", lambda model, images: AUTOGRAD)
    images, labels = batch
    losses = accumulate_gradients(model, images, labels, WIDTHS, TASK)
    ours = gradients(model)
    model.zero_grad()
    widest = logits_of(model, WIDTHS[0], images)
    by_hand = [hard_loss(widest, labels, 0.1)]
    by_hand += [soft_loss(logits_of(model, width, images), widest.detach().softmax(1)) for width in WIDTHS[1:]]
    sum(by_hand).backward()  # type: ignore[union-attr]
    assert torch.allclose(losses, torch.stack(by_hand), atol=1e-6)
    for mine, reference in zip(ours, gradients(model), strict=True):
        assert torch.allclose(mine, reference, atol=1e-5)


def test_without_distillation_every_width_has_hard_labels_and_only_the_widest_smooth_ones(
    model: SlimmableModel, batch: tuple[Tensor, Tensor]
) -> None:
    images, labels = batch
    losses = accumulate_gradients(model, images, labels, WIDTHS, replace(TASK, distill="none"))
    expected = [
        hard_loss(logits_of(model, width, images), labels, smoothing)
        for width, smoothing in zip(WIDTHS, (0.1, 0.0, 0.0), strict=True)
    ]
    assert torch.allclose(losses, torch.stack(expected), atol=1e-6)


def test_another_teacher_takes_the_place_of_the_widest(model: SlimmableModel, batch: tuple[Tensor, Tensor]) -> None:
    images, labels = batch

    class Certain(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.tensor([50.0, 0, 0, 0, 0]).expand(len(images), 5)

    losses = accumulate_gradients(model, images, labels, WIDTHS, TASK, FixedTeacher(Certain()))
    zeros = torch.zeros(8, dtype=torch.int64)
    for loss, width in zip(losses[1:], WIDTHS[1:], strict=True):
        assert torch.allclose(loss, hard_loss(logits_of(model, width, images), zeros, 0.0), atol=1e-5)
    assert torch.allclose(losses[0], hard_loss(logits_of(model, WIDTHS[0], images), labels, 0.1), atol=1e-6)


def test_the_moving_average_follows_the_weights(model: SlimmableModel, batch: tuple[Tensor, Tensor]) -> None:
    teacher = EmaTeacher(model, WIDTHS[0], decay=0.5)
    before = teacher.state()["classifier.0.weight"].clone()
    with torch.no_grad():
        model.get_parameter("classifier.0.weight").add_(1.0)
    teacher.after_step(model, step=0)  # decay (1 + 0) / (10 + 0) = 0.1
    assert torch.allclose(teacher.state()["classifier.0.weight"], before + 0.9, atol=1e-6)
    teacher.after_step(model, step=1000)  # decay 0.5
    assert torch.allclose(teacher.state()["classifier.0.weight"], before + 0.95, atol=1e-6)
    assert not teacher.outputs(batch[0]).requires_grad
