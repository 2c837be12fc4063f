"""Two convolutions for training on CPUs whose weight gradient goes straight into the master's gradient.

``pointwise``: 1x1 over the first channels. Slicing a weight costs little forward but much backward: autograd allocates
a gradient of the master's full size, fills it with zeros, copies the slice in and adds all of it. Late layers have most
of the weights and the fewest pixels, so there that is a sizeable share of the pass. Here one matrix multiplication
accumulates into the prefix of ``weight.grad``.

``depthwise``: 3x3 on maps of at most 2 x 2 pixels, where oneDNN's weight gradient is ten to twenty times slower than
the arithmetic (960 channels, 2 x 2, batch 32, one thread: 1.5 to 2.2 ms, here 0.12 ms). With so few pixels the
gradient of every tap is a sum over at most 16 pairs of an input and an output pixel.

Measured on US-MobileNetV2, 64 px, batch 32, one thread, the first saves 2 to 9 % of a step over plain slicing, the
second another 3 %. On larger maps the ordinary kernels are as fast, and ``suits`` says no.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

MAX_ROWS = 1024  # of a pointwise convolution: batch x height x width
MAX_SIDE = 2  # of a depthwise convolution's map


def suits(x: Tensor, weight: Tensor, *, depthwise: bool) -> bool:
    """Whether this module takes the input and is expected to be faster than an ordinary convolution of a slice."""
    n, _, height, width = x.shape
    small = max(height, width) <= MAX_SIDE if depthwise else n * height * width <= MAX_ROWS
    return (
        small
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and weight.requires_grad
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def pointwise(x: Tensor, weight: Tensor, out_channels: int) -> Tensor:
    """(N, C, H, W) channels_last with (O, I, 1, 1) → (N, out_channels, H, W), using weight[:out_channels, :C].

    In ``backward`` the weight's gradient is added to ``weight.grad`` directly: hooks on the weight do not run and
    ``torch.autograd.grad`` does not see it.
    """
    return _Pointwise.apply(x, weight, out_channels)  # type: ignore[no-any-return]


def depthwise(x: Tensor, weight: Tensor) -> Tensor:
    """(N, C, H, W) channels_last with (O, 1, 3, 3) → (N, C, H, W), stride 1, padding 1, using weight[:C].

    The weight's gradient is added to ``weight.grad`` directly, as in ``pointwise``.
    """
    return _Depthwise.apply(x, weight)  # type: ignore[no-any-return]


class _Pointwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, out_channels: int) -> Tensor:
        n, c, h, w = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(-1, c)
        ctx.save_for_backward(rows)
        ctx.weight, ctx.out_channels, ctx.shape = weight, out_channels, (n, h, w)
        y = torch.mm(rows, _prefix(weight.detach(), out_channels, c).t())
        return y.view(n, h, w, out_channels).permute(0, 3, 1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (rows,) = ctx.saved_tensors
        weight, channels = ctx.weight, rows.shape[1]
        grad_rows = grad.permute(0, 2, 3, 1).reshape(-1, ctx.out_channels)
        _prefix(_gradient(weight), ctx.out_channels, channels).addmm_(grad_rows.t(), rows)
        grad_x = torch.mm(grad_rows, _prefix(weight.detach(), ctx.out_channels, channels))
        return grad_x.view(*ctx.shape, channels).permute(0, 3, 1, 2), None, None


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.weight = weight
        channels = x.shape[1]
        return torch.conv2d(x, weight.detach()[:channels], None, 1, 1, 1, channels)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        n, channels, height, width = x.shape
        pixels = height * width
        inputs = x.permute(0, 2, 3, 1).reshape(n, pixels, 1, channels)
        outputs = grad.permute(0, 2, 3, 1).reshape(n, 1, pixels, channels)
        pairs = (inputs * outputs).sum(0).view(pixels * pixels, channels)
        taps = torch.mm(_taps(height, width), pairs)
        _gradient(ctx.weight)[:channels].add_(taps.t().reshape(channels, 1, 3, 3))
        # Stride 1: the gradient of the input is a convolution with the kernel turned around.
        turned = ctx.weight.detach()[:channels].flip(2, 3)
        return torch.conv2d(grad, turned, None, 1, 1, 1, channels), None


@functools.cache
def _taps(height: int, width: int) -> Tensor:
    """(9, pixels²) of zeros and ones: which pairs (input pixel, output pixel) meet at which tap of the kernel."""
    pixels = [(y, x) for y in range(height) for x in range(width)]
    table = torch.zeros(9, len(pixels), len(pixels))
    for i, (y_in, x_in) in enumerate(pixels):
        for o, (y_out, x_out) in enumerate(pixels):
            table[3 * (y_in - y_out + 1) + (x_in - x_out + 1), i, o] = 1
    return table.view(9, -1)


def _gradient(weight: Tensor) -> Tensor:
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    return weight.grad


def _prefix(weight: Tensor, rows: int, columns: int) -> Tensor:
    """The used part of a (O, I, 1, 1) weight as a (rows, columns) view."""
    return weight.view(weight.shape[0], weight.shape[1])[:rows, :columns]
