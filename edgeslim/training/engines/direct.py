"""Layers for training on CPUs, each with its own backward: ``y, pull = layer(x, …)``, ``pull(grad of y)`` is that of x.

A *pullback* adds the gradient of the weights it used to the first rows and columns of ``weight.grad`` and returns the
gradient of its input. Autograd would do the same for a sliced weight with much more work: it allocates a gradient of
the master's full size, fills it with zeros, copies the slice in and adds all of it. A pullback belongs to one forward,
is called once, and owns the gradient it is given: activations overwrite it. The arithmetic is chosen as well:

``linear``, ``pointwise``: a matrix product over the first channels, by oneDNN. PyTorch's own products of float32
matrices go through MKL, which keeps AVX-512 for Intel's processors; its 1x1 convolutions are oneDNN's, but their
weight gradient reads the image in strides, which is slow once the image has left the cache.

    one thread, AMD EPYC with AVX-512, batch 32, forward + both gradients, ms    here    conv2d    torch.mm
    1x1 convolution 96 to 576, 4 x 4                                             0.83      0.89        1.71
    1x1 convolution 160 to 960, 2 x 2                                            0.69      0.81        1.17
    linear 1280 to 1000                                                          2.05      9.09        2.70
    weight gradient only, 144 to 24, 16 x 16, image out of the cache             0.69      1.51        0.88

``convolution`` of one channel per group on maps of at most 2 x 2 pixels: oneDNN's weight gradient is ten to twenty
times slower than the arithmetic (960 channels, 2 x 2, batch 32, one thread: 1.5 to 2.2 ms, here 0.12 ms). With so few
pixels the gradient of every tap is a sum over at most 16 pairs of an input and an output pixel.

``relu6`` keeps its output; autograd keeps a copy of the input of an inplace ReLU6, a third of what a MobileNetV2 needs
for ``backward``. ``mean`` has a gradient that lies densely in memory; autograd's is one number per channel with strides
of zero, on which the activation and BatchNorm before it take 2.0 ms instead of 0.15 (1280 channels, 2 x 2, batch 32).
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

MAX_SIDE = 2  # of a map whose depthwise weight gradient is summed pixel by pixel

Pullback = Callable[[Tensor], Tensor]
Step = tuple[Tensor, Pullback]

_aten = torch.ops.aten


def linear(x: Tensor, weight: Tensor, bias: Tensor, out_features: int) -> Step:
    """(N, C) with (O, I) and (O,) → (N, out_features), using weight[:out_features, :C] and bias[:out_features]."""
    x, used = x.contiguous(), _matrix(weight, out_features, x.shape[1])

    def pull(grad: Tensor) -> Tensor:
        grad = grad.contiguous()
        _add_product(weight, grad, x)
        _add(bias, grad.sum(0))
        return times_transposed(grad, used.t())

    return times_transposed(x, used, bias.detach()[:out_features]), pull


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None, out_channels: int, *, first: bool) -> Step:
    """1x1 convolution with stride 1: (N, C, H, W) channels_last → (N, out_channels, H, W), with the first rows and
    columns of (O, I, 1, 1). ``first``: nothing before it learns; ``pull`` then returns a tensor without meaning."""
    rows, used = _as_rows(x), _matrix(weight, out_channels, x.shape[1])
    shape = x.shape

    def pull(grad: Tensor) -> Tensor:
        grad_rows = _as_rows(grad)
        _add_product(weight, grad_rows, rows)
        if bias is not None:
            _add(bias, grad_rows.sum(0))
        return grad if first else _as_maps(times_transposed(grad_rows, used.t()), shape)

    used_bias = None if bias is None else bias.detach()[:out_channels]
    return _as_maps(times_transposed(rows, used, used_bias), shape), pull


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    out_channels: int,
    groups: int,
    *,
    stride: int,
    padding: int,
    first: bool,
) -> Step:
    """K x K, ``padding`` zeros on every side, ungrouped or with a group per channel: (N, C, H, W) → (N, out_channels,
    H', W'), with the first rows and columns of (O, I, K, K). ``first`` as in ``pointwise``."""
    used = weight.detach()[:out_channels, : x.shape[1] // groups]
    used_bias = None if bias is None else bias.detach()[:out_channels]
    strides, zeros = (stride, stride), (padding, padding)
    depthwise = 1 < groups == out_channels
    few_pixels = depthwise and stride == padding == 1 and weight.shape[2] == 3 and max(x.shape[2:]) <= MAX_SIDE

    def pull(grad: Tensor) -> Tensor:
        grad_x, grad_weight, grad_bias = _aten.convolution_backward(
            grad,
            x,
            used,
            None if bias is None else [out_channels],
            strides,
            zeros,
            (1, 1),
            False,
            (0, 0),
            groups,
            (not first, not few_pixels, bias is not None),
        )
        _add(weight, _tap_gradient(x, grad) if few_pixels else grad_weight)
        if bias is not None:
            _add(bias, grad_bias)
        return grad if first else grad_x

    y = torch.conv2d(x, used, used_bias, strides, zeros, 1, groups)
    return y.contiguous(memory_format=torch.channels_last), pull  # torch answers NCHW to images of one channel


def batch_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Step:
    """(N, C, H, W) normalised with the batch's own statistics, using weight[:C] and bias[:C].

    Raises:
        ValueError: one value per channel, which has no variance (as ``F.batch_norm``).
    """
    channels = x.shape[1]
    if x.numel() == channels:
        raise ValueError(f"BatchNorm needs more than one value per channel in training, got {tuple(x.shape)}")
    used = weight.detach()[:channels]
    y, mean, invstd = torch.native_batch_norm(x, used, bias.detach()[:channels], None, None, True, 0.0, eps)

    def pull(grad: Tensor) -> Tensor:
        grad_x, grad_weight, grad_bias = _aten.native_batch_norm_backward(
            grad, x, used, None, None, mean, invstd, True, eps, (True, True, True)
        )
        _add(weight, grad_weight)
        _add(bias, grad_bias)
        return grad_x  # type: ignore[no-any-return]

    return y, pull


def relu(x: Tensor) -> Step:
    """max(x, 0), in place."""
    y = x.relu_()
    return y, lambda grad: _aten.threshold_backward.grad_input(grad, y, 0, grad_input=grad)


def relu6(x: Tensor) -> Step:
    """x clamped to 0…6, in place."""
    y = x.clamp_(0, 6)
    return y, lambda grad: _aten.hardtanh_backward.grad_input(grad, y, 0, 6, grad_input=grad)


def mean(x: Tensor) -> Step:
    """(N, C, H, W) → (N, C, 1, 1)."""
    shape = x.shape
    area = shape[2] * shape[3]

    def pull(grad: Tensor) -> Tensor:
        return (grad / area).expand(shape).contiguous(memory_format=torch.channels_last)

    return x.mean((2, 3), keepdim=True), pull


def times_transposed(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a · bᵀ (+ bias): (M, K) with (N, K), and (N,), → (M, N). Each dense, or dense when transposed: others fall to a
    reference loop of oneDNN, 1,000 times slower."""
    product = _onednn_linear() if a.dtype == torch.float32 else None
    if product is None:
        return torch.mm(a, b.t()) if bias is None else torch.addmm(bias, a, b.t())
    return product(a, b, bias, "none", [], "")  # type: ignore[no-any-return]


@functools.cache
def _onednn_linear() -> Any:
    """The product that torch.compile uses for linear layers on CPUs; None where this torch was built without it, and
    on processors that it was not measured on."""
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available():
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def _matrix(weight: Tensor, rows: int, columns: int) -> Tensor:
    """The used part of a (O, I) or (O, I, 1, 1) weight, (rows, columns), dense."""
    return weight.detach()[:rows, :columns].reshape(rows, columns).contiguous()


def _as_rows(maps: Tensor) -> Tensor:
    """(N, C, H, W) channels_last → (N·H·W, C), the same memory."""
    n, c, h, w = maps.shape
    return maps.contiguous(memory_format=torch.channels_last).as_strided((n * h * w, c), (c, 1))


def _as_maps(rows: Tensor, like: torch.Size) -> Tensor:
    """(N·H·W, C) → (N, C, H, W) channels_last, the same memory; N, H and W from ``like``."""
    c, (n, _, h, w) = rows.shape[1], like
    return rows.as_strided((n, c, h, w), (h * w * c, 1, w * c, c))


def _add_product(weight: Tensor, grad: Tensor, x: Tensor) -> None:
    """Add gradᵀ · x, of (R, out) and (R, in), to the gradient's prefix."""
    # The larger matrix second: there oneDNN packs it once, up to three times faster.
    if grad.shape[1] <= x.shape[1]:
        _add(weight, times_transposed(grad.t(), x.t()))
    else:
        _add(weight, times_transposed(x.t(), grad.t()).t())


def _add(weight: Tensor, part: Tensor) -> None:
    """Add ``part`` to the first rows and columns of the gradient; a matrix stands for a 1x1 convolution's weight."""
    if not weight.requires_grad:
        return
    if weight.grad is None:
        if part.shape == weight.shape and part.stride() == weight.stride():
            weight.grad = part
            return
        weight.grad = torch.zeros_like(weight)
    weight.grad.as_strided(part.shape, weight.grad.stride()[: part.dim()]).add_(part)


def _tap_gradient(x: Tensor, grad: Tensor) -> Tensor:
    """The weight gradient (C, 1, 3, 3) of a depthwise 3x3 with stride 1 on very small maps."""
    n, channels, height, width = x.shape
    pixels = height * width
    inputs = x.permute(0, 2, 3, 1).reshape(n, pixels, 1, channels)
    outputs = grad.permute(0, 2, 3, 1).reshape(n, 1, pixels, channels)
    pairs = (inputs * outputs).sum(0).view(pixels * pixels, channels)
    return torch.mm(_taps(height, width).to(pairs.dtype), pairs).t().reshape(channels, 1, 3, 3)


@functools.cache
def _taps(height: int, width: int) -> Tensor:
    """(9, pixels²) of zeros and ones: which pairs (input pixel, output pixel) meet at which tap of the kernel."""
    pixels = [(y, x) for y in range(height) for x in range(width)]
    table = torch.zeros(9, len(pixels), len(pixels))
    for i, (y_in, x_in) in enumerate(pixels):
        for o, (y_out, x_out) in enumerate(pixels):
            table[3 * (y_in - y_out + 1) + (x_in - x_out + 1), i, o] = 1
    return table.view(9, -1)
