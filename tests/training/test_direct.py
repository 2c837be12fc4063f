"""Each layer with a backward of its own against autograd: outputs, gradients of the input, of every weight's prefix."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from edgeslim.training.engines import direct
from edgeslim.training.engines.direct import Step

Layer = Callable[..., Step]


def grad_of(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def maps(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).contiguous(memory_format=torch.channels_last)


def parameters(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    made = [torch.randn(*shape, generator=generator) for shape in shapes]
    return [(w.contiguous(memory_format=torch.channels_last) if w.dim() == 4 else w).requires_grad_() for w in made]


def check(
    x: Tensor, weights: list[Tensor], layer: Layer, plain: Callable[..., Tensor], *, input_grad: bool = True
) -> None:
    """Twice, so that the second gradient is added to the first; tolerance: float32 rounding of sums."""
    expected_x = x.clone().requires_grad_()
    expected_weights = [weight.detach().clone().requires_grad_() for weight in weights]
    expected = plain(expected_x, *expected_weights)
    for weight in weights:
        weight.grad = None
    for turn in range(2):
        with torch.no_grad():
            y, pull = layer(x.clone(memory_format=torch.preserve_format), *weights)
            grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(turn)).contiguous(
                memory_format=torch.channels_last if y.dim() == 4 else torch.contiguous_format
            )
            grad_x = pull(grad.clone(memory_format=torch.preserve_format))
        expected_x.grad = None
        expected.backward(grad, retain_graph=True)
        assert y.shape == expected.shape
        assert torch.allclose(y, expected, rtol=1e-5, atol=1e-5)
        if input_grad:
            assert grad_x.shape == x.shape
            assert torch.allclose(grad_x, grad_of(expected_x), rtol=1e-5, atol=1e-4)
    for weight, same in zip(weights, expected_weights, strict=True):
        assert torch.allclose(grad_of(weight), grad_of(same), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("inputs", "outputs"), [(12, 20), (20, 12), (24, 32), (5, 3)])
@pytest.mark.parametrize("rows", [1, 7])
def test_linear(inputs: int, outputs: int, rows: int) -> None:
    check(
        torch.randn(rows, inputs),
        parameters((32, 24), (32,)),
        lambda x, w, b: direct.linear(x, w, b, outputs),
        lambda x, w, b: F.linear(x, w[:outputs, :inputs], b[:outputs]),
    )


@pytest.mark.parametrize(
    "grad",
    [
        torch.ones(1, 1).expand(7, 20),
        torch.randn(7, 1).expand(7, 20),
        torch.randn(20, 7).t(),
        torch.randn(7, 40)[:, ::2],
    ],
    ids=["one number", "one per row", "transposed", "strided"],
)
def test_linear_takes_gradients_of_any_layout(grad: Tensor) -> None:
    weight, bias = parameters((20, 12), (20,))
    x = torch.randn(12, 7).t()
    with torch.no_grad():
        y, pull = direct.linear(x, weight, bias, 20)
        assert torch.allclose(y, x @ weight.t() + bias, rtol=1e-5, atol=1e-5)
        assert torch.allclose(pull(grad), grad @ weight, rtol=1e-5, atol=1e-4)
    assert weight.grad is not None
    assert torch.allclose(weight.grad, grad.t() @ x, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("side", [1, 2, 9])
@pytest.mark.parametrize(("inputs", "outputs"), [(12, 20), (20, 12), (24, 32), (1, 1)])
@pytest.mark.parametrize("biased", [False, True])
def test_pointwise(inputs: int, outputs: int, side: int, biased: bool) -> None:
    check(
        maps(3, inputs, side, side),
        parameters((32, 24, 1, 1), *([(32,)] if biased else [])),
        lambda x, w, b=None: direct.pointwise(x, w, b, outputs, first=False),
        lambda x, w, b=None: F.conv2d(x, w[:outputs, :inputs], None if b is None else b[:outputs]),
    )


def test_pointwise_takes_any_memory_layout() -> None:
    x = torch.randn(3, 12, 5, 5)
    check(
        x,
        parameters((32, 24, 1, 1)),
        lambda x, w: direct.pointwise(x, w, None, 20, first=False),
        lambda x, w: F.conv2d(x, w[:20, :12]),
    )


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (7, 2, 3), (1, 2, 0), (3, 2, 0), (3, 1, 0)]
)
def test_convolution(kernel: int, stride: int, padding: int, biased: bool, first: bool) -> None:
    check(
        maps(3, 6, 11, 11),
        parameters((16, 8, kernel, kernel), *([(16,)] if biased else [])),
        lambda x, w, b=None: direct.convolution(x, w, b, 10, 1, stride=stride, padding=padding, first=first),
        lambda x, w, b=None: F.conv2d(x, w[:10, :6], None if b is None else b[:10], stride, padding),
        input_grad=not first,
    )


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (1, 2), (2, 1), (7, 5)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("biased", [False, True])
def test_depthwise_convolution(shape: tuple[int, int], stride: int, biased: bool) -> None:
    check(
        maps(4, 8, *shape),
        parameters((12, 1, 3, 3), *([(12,)] if biased else [])),
        lambda x, w, b=None: direct.convolution(x, w, b, 8, 8, stride=stride, padding=1, first=False),
        lambda x, w, b=None: F.conv2d(x, w[:8], None if b is None else b[:8], stride, 1, 1, 8),
    )


def test_two_outputs_per_channel_on_a_tiny_map() -> None:
    check(
        maps(4, 8, 2, 2),
        parameters((16, 1, 3, 3)),
        lambda x, w: direct.convolution(x, w, None, 16, 8, stride=1, padding=1, first=False),
        lambda x, w: F.conv2d(x, w, None, 1, 1, 1, 8),
    )


def test_a_weight_that_is_a_view() -> None:
    weight = torch.randn(6, 9)[:, :5].requires_grad_()
    x = torch.randn(3, 4)
    y, _ = direct.linear(x, weight, torch.zeros(6), 6)
    assert torch.allclose(y, x @ weight[:, :4].t(), atol=1e-5)


def test_convolution_of_one_channel_answers_channels_last() -> None:
    x = torch.randn(2, 1, 8, 8)
    (weight,) = parameters((16, 1, 3, 3))
    y, _ = direct.convolution(x, weight, None, 16, 1, stride=1, padding=1, first=True)
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_batch_norm() -> None:
    check(
        maps(5, 10, 6, 6),
        parameters((16,), (16,)),
        lambda x, w, b: direct.batch_norm(x, w, b, 1e-5),
        lambda x, w, b: F.batch_norm(x, None, None, w[:10], b[:10], training=True, eps=1e-5),
    )


def test_batch_norm_of_one_value_per_channel_is_refused() -> None:
    weight, bias = parameters((4,), (4,))
    with pytest.raises(ValueError, match="more than one value"):
        direct.batch_norm(torch.randn(1, 4, 1, 1), weight, bias, 1e-5)


@pytest.mark.parametrize(("layer", "plain"), [(direct.relu, F.relu), (direct.relu6, F.relu6)])
def test_activations_also_where_they_bend(layer: Layer, plain: Callable[[Tensor], Tensor]) -> None:
    x = 4 * maps(2, 8, 3, 3)
    x[0, :, 0, 0], x[0, :, 0, 1] = 0.0, 6.0
    check(x, [], layer, plain)


@pytest.mark.parametrize("side", [1, 2, 7])
def test_mean(side: int) -> None:
    x = maps(3, 8, side, side)
    check(x, [], direct.mean, lambda x: x.mean((2, 3), keepdim=True))
    y, pull = direct.mean(x)
    assert pull(y).is_contiguous(memory_format=torch.channels_last)


def test_products_without_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, bias = torch.randn(9, 5), torch.randn(4, 5), torch.randn(4)
    fast = direct.times_transposed(a, b), direct.times_transposed(a, b, bias)
    monkeypatch.setattr(direct, "_onednn_linear", lambda: None)
    slow = direct.times_transposed(a, b), direct.times_transposed(a, b, bias)
    for one, other in zip(fast, slow, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5)


def test_frozen_weights_get_no_gradient() -> None:
    weight, bias = (p.requires_grad_(False) for p in parameters((6, 4), (6,)))
    x = torch.randn(3, 4)
    y, pull = direct.linear(x, weight, bias, 6)
    assert torch.allclose(pull(y), y @ weight, rtol=1e-5, atol=1e-5)
    assert weight.grad is bias.grad is None
