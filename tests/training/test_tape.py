"""Whole nets by pullbacks against autograd, in float64 so that no activation changes sides by rounding."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgeslim.core.width import Width
from edgeslim.models import names
from edgeslim.models.blocks import Classifier, Residual
from edgeslim.models.builder import Builder
from edgeslim.models.registry import create, make_spec
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.training.engines import AUTOGRAD, choose, tape
from edgeslim.training.engines.tape import Pullbacks


def gradients(model: SlimmableModel, x: Tensor, widths: tuple[Width, ...], *, direct: bool) -> dict[str, Tensor | None]:
    for width in widths:
        with model.at(width):
            logits = (Pullbacks() if direct else AUTOGRAD).forward(model, x)
        logits.logsumexp(1).sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def check(model: SlimmableModel, x: Tensor, widths: tuple[Width, ...]) -> None:
    model = model.double().to(memory_format=torch.channels_last).train()
    expected = gradients(copy.deepcopy(model), x, widths, direct=False)
    found = gradients(model, x, widths, direct=True)
    assert found.keys() == expected.keys()
    for name, grad in expected.items():
        other = found[name]
        assert (grad is None) == (other is None), name
        if grad is not None and other is not None:
            assert (grad - other).abs().max() <= 1e-9 * grad.abs().max().clamp(min=1e-3), name


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("name", names())
def test_same_gradients(name: str, size: int) -> None:
    """64 px end as 2 x 2, 32 px as 4 x 4; the narrowest comes first, so that the prefix of no gradient is filled."""
    torch.manual_seed(0)
    model = create(name, num_classes=10, input_size=size)
    check(model, torch.randn(4, 3, size, size).double(), (model.spec.low, model.spec.high))


@pytest.mark.parametrize("name", ["us_mobilenet_v2", "us_resnet18"])
def test_same_gradients_without_batchnorm_and_with_one_channel(name: str) -> None:
    torch.manual_seed(0)
    model = create(name, num_classes=10, input_size=16, in_channels=1, norm="none")
    with torch.no_grad():  # residual branches start as zero: give them something to say
        for module in model.modules():
            if isinstance(module, Residual):
                for parameter in module.body.parameters():
                    parameter.add_(0.05 * torch.randn(parameter.shape))
    check(model, torch.randn(4, 1, 16, 16).double(), (Width(350), Width(1000)))


def test_gradient_of_the_images() -> None:
    torch.manual_seed(0)
    model = create("us_mobilenet_v1", num_classes=10, input_size=32).double()
    x = torch.randn(2, 3, 32, 32).double()
    found = []
    for direct in (False, True):
        images = x.clone().requires_grad_()
        gradients(model, images, (Width(500),), direct=direct)
        assert images.grad is not None
        found.append(images.grad)
    assert (found[0] - found[1]).abs().max() <= 1e-9 * found[0].abs().max()


def test_pullbacks_are_chosen_where_they_suit() -> None:
    torch.manual_seed(0)
    model = create("us_mobilenet_v2", num_classes=10, input_size=32).train()
    x = torch.randn(2, 3, 32, 32)
    assert "Net" not in model(x).grad_fn.name()  # a model by itself is plain PyTorch
    assert choose(model, x).name == "pullbacks"
    grad_fn = choose(model, x).forward(model, x).grad_fn
    assert grad_fn is not None
    assert "Net" in grad_fn.name()
    with torch.no_grad():
        assert choose(model, x).name == "autograd"
    assert choose(model.eval(), x).name == "autograd"
    assert choose(model.double().train(), x.double()).name == "autograd"


def test_a_network_with_a_forward_of_its_own_goes_by_autograd() -> None:
    """A subclass may do anything, so only exact types count."""

    class Twice(Classifier):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    b = Builder(make_spec("us_mobilenet_v1", num_classes=10, input_size=32))
    stem = b.channels("stem", 16)
    features = nn.Sequential(*b.conv_norm(b.fixed("image", 3), stem), nn.AdaptiveAvgPool2d(1))
    model = SlimmableModel(b.spec, b, Twice(features, b.classifier(stem)))
    assert choose(model, torch.randn(2, 3, 8, 8)).name == "autograd"


def squared(x: Tensor) -> Tensor:
    return x * x.abs()


ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.GELU, nn.Hardswish, nn.SiLU, nn.LeakyReLU, nn.Mish, nn.PReLU, nn.ELU, squared)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.__name__)
def test_any_activation_trains(activation: Any) -> None:
    """In place where it can be, also after the sum of a residual block."""
    torch.manual_seed(0)
    b = Builder(make_spec("us_mobilenet_v1", num_classes=10, input_size=32))
    image, stem = b.fixed("image", 3), b.channels("stem", 16)
    made = b.conv_norm(stem, stem, 3, activation=activation)
    features = nn.Sequential(
        *b.conv_norm(image, stem, 3, activation=activation),
        Residual(nn.Sequential(*made), activation=copy.deepcopy(made[2])),
        nn.AdaptiveAvgPool2d(1),
    )
    model = SlimmableModel(b.spec, b, Classifier(features, b.classifier(stem)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    assert choose(model.train(), torch.randn(2, 3, 8, 8)).name == "pullbacks"
    check(model, torch.randn(4, 3, 8, 8).double(), (Width(500), Width(1000)))


def test_a_second_backward_says_why_not() -> None:
    model = create("us_mobilenet_v1", num_classes=10, input_size=32).train()
    loss = Pullbacks().forward(model, torch.randn(2, 3, 32, 32)).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="second backward"):
        loss.backward()


def test_modules_without_a_pullback_run_under_autograd() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(3.0))

        def forward(self, x: Tensor) -> Tensor:
            return self.factor * x

    for first in (False, True):
        module = Scale()
        y, pull = tape.run(module, torch.full((2, 2), 2.0), first)
        assert torch.equal(y, torch.full((2, 2), 6.0))
        grad_x = pull(torch.ones(2, 2))
        assert first or torch.equal(grad_x, torch.full((2, 2), 3.0))
        assert module.factor.grad is not None
        assert module.factor.grad.item() == 8.0
    y, pull = tape.run(nn.MaxPool2d(2), torch.ones(1, 1, 2, 2), True)
    assert y.shape == (1, 1, 1, 1)
    pull(y)  # nothing to learn and nothing asked for


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("kind", [nn.ReLU, nn.ReLU6])
def test_activations_change_their_input_only_where_they_say_so(kind: type[nn.Module], inplace: bool) -> None:
    x = torch.tensor([-1.0, 1.0])
    y, _ = tape.run(kind(inplace=inplace), x)
    assert y.tolist() == [0.0, 1.0]
    assert (x.tolist() == [0.0, 1.0]) == inplace


@pytest.mark.parametrize(
    "block",
    [
        Residual(nn.Sequential(nn.Identity(), nn.ReLU())),
        Residual(nn.Sequential(nn.Identity(), nn.ReLU6(), nn.Identity())),
        Residual(nn.Sequential(nn.Sequential(nn.ReLU()))),
        Residual(nn.Sequential(nn.Identity()), shortcut=nn.Sequential(nn.ReLU())),
        Residual(nn.Sequential(nn.ReLU()), shortcut=nn.Sequential(nn.ReLU6()), activation=nn.ReLU()),
    ],
)
def test_a_branch_that_ends_in_an_activation_leaves_the_other_its_gradient(block: Residual) -> None:
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    block(x).backward(torch.tensor([3.0, 5.0]))
    _, pull = tape.run(block, x.detach())
    assert x.grad is not None
    assert torch.equal(pull(torch.tensor([3.0, 5.0])), x.grad)


def test_a_residual_block_in_front() -> None:
    block = Residual(nn.Sequential(nn.Identity()))
    y, pull = tape.run(block, torch.ones(2), True)
    assert y.tolist() == [2.0, 2.0]
    pull(y)
