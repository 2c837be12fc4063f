"""A whole net forward and backward by the pullbacks of ``direct``; autograd sees one function.

    model(x) ─► _Net ─► run(features) ─► run(its layers) …          each returns what it computed and a pullback
    loss.backward() ─► _Net ─► pull(grad) ─► the pullbacks, last first, each freed with what it kept

Where a layer is small, and most layers of a narrow net are, bookkeeping costs more than arithmetic. Forward and
backward of US-MobileNetV2 at width 0.35 (64 px, batch 32, one thread): 41.5 ms by autograd with plain slices, 39.0 with
the arithmetic of ``direct`` in one autograd function per layer, 33.5 here.

The modules that were proved here are listed (``_RUNS``), by their exact type: a subclass may do anything. All others
run under autograd, one by one; where the network's own forward is not among them, autograd does it all
(``engines.choose``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from edgeslim.models.blocks import Chain, Classifier, Repeat, Residual
from edgeslim.models.layers import PrivateBatchNorm2d, SharedBatchNorm2d, SlimBatchNorm2d, SlimConv2d, SlimLinear
from edgeslim.models.shufflenet import ShuffleUnit
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.training.engines import direct
from edgeslim.training.engines.direct import Pullback, Step


class Pullbacks:
    """An engine (``engines.Engine``) for float32 on CPUs.

    ``backward`` adds the weights' gradients to ``.grad`` directly: hooks on modules and weights do not run, and
    ``torch.autograd.grad`` does not see the weights. DistributedDataParallel must not be used with it.
    """

    name = "pullbacks"

    def suits(self, model: SlimmableModel, x: Tensor) -> bool:
        """In training, with gradients, float32 on a CPU, a network whose own forward was proved here, and no hooks."""
        return (
            type(model.network) in _RUNS
            and model.training
            and torch.is_grad_enabled()
            and x.device.type == "cpu"
            and x.dtype == next(model.parameters()).dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        )

    def forward(self, model: SlimmableModel, x: Tensor) -> Tensor:
        """The network's output, differentiable once."""
        # The anchor makes the output need a gradient where the images need none.
        return _Net.apply(x, torch.empty(0, requires_grad=True), model.network)  # type: ignore[no-any-return]


class _Net(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, _anchor: Tensor, network: nn.Module) -> Tensor:
        y, ctx.pull = run(network, x, first=not ctx.needs_input_grad[0])
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None]:
        if ctx.pull is None:
            raise RuntimeError("direct gradients keep nothing for a second backward of the same forward")
        pull, ctx.pull = ctx.pull, None
        grad_x = pull(grad)
        return (grad_x if ctx.needs_input_grad[0] else None), None, None


def run(module: nn.Module, x: Tensor, first: bool = False) -> Step:
    """What ``module`` makes of ``x``, and its pullback; ``first``: the gradient of x is not needed."""
    return _RUNS.get(type(module), _by_autograd)(module, x, first)


def _sequence(modules: Iterable[nn.Module], x: Tensor, first: bool) -> Step:
    pulls: list[Pullback] = []
    for module in modules:
        x, pull = run(module, x, first)
        first = False
        pulls.append(pull)

    def pull_all(grad: Tensor) -> Tensor:
        while pulls:
            grad = pulls.pop()(grad)
        return grad

    return x, pull_all


def _classifier(module: Classifier, x: Tensor, first: bool) -> Step:
    return _sequence((module.features, _FLATTEN, module.classifier), x, first)


def _chain(module: Chain, x: Tensor, first: bool) -> Step:
    return run(module.body, x, first)


def _residual(module: Residual, x: Tensor, first: bool) -> Step:
    short, pull_short = run(module.shortcut, x, first)
    body, pull_body = run(module.body, x, first)
    y, pull_activation = run(module.activation, short + body, False)
    keeps = type(module.body) is nn.Sequential and type(module.body[-1]) in (
        SlimConv2d,
        SharedBatchNorm2d,
        PrivateBatchNorm2d,
    )

    def pull(grad: Tensor) -> Tensor:
        grad = pull_activation(grad)
        # Two pullbacks, one gradient: the first gets a copy, unless it is known not to overwrite it or pass it on.
        grad_body = pull_body(grad if keeps else grad.clone())
        grad_short = pull_short(grad)
        return grad if first else grad_body + grad_short

    return y, pull


def _convolution(conv: SlimConv2d, x: Tensor, first: bool) -> Step:
    out, groups = conv.used()
    if not conv.prefix:
        return _by_autograd(conv, x, first)
    if conv.kernel_size == conv.stride == groups == 1:
        return direct.pointwise(x, conv.weight, conv.bias, out, first=first)
    return direct.convolution(
        x, conv.weight, conv.bias, out, groups, stride=conv.stride, padding=conv.padding, first=first
    )


def _batch_norm(norm: SlimBatchNorm2d, x: Tensor, first: bool) -> Step:
    if not norm.prefix:
        return _by_autograd(norm, x, first)
    return direct.batch_norm(x, *norm.masters(), norm.eps)


def _linear(layer: SlimLinear, x: Tensor, first: bool) -> Step:
    if not layer.prefix or x.dim() != 2:
        return _by_autograd(layer, x, first)
    return direct.linear(x, layer.weight, layer.bias, layer.used())


def _relu(module: nn.ReLU, x: Tensor, first: bool) -> Step:
    return direct.relu(x if module.inplace else x.clone())


def _relu6(module: nn.ReLU6, x: Tensor, first: bool) -> Step:
    return direct.relu6(x if module.inplace else x.clone())


def _mean(module: nn.AdaptiveAvgPool2d, x: Tensor, first: bool) -> Step:
    return direct.mean(x) if module.output_size == 1 else _by_autograd(module, x, first)


def _flatten(module: nn.Flatten, x: Tensor, first: bool) -> Step:
    shape = x.shape
    return x.flatten(1), lambda grad: grad.view(shape)


def _identity(module: nn.Identity, x: Tensor, first: bool) -> Step:
    return x, lambda grad: grad


def _by_autograd(module: nn.Module, x: Tensor, first: bool) -> Step:
    with torch.enable_grad():
        inside = x.detach().requires_grad_(not first)
        # A module may overwrite what it is given, which autograd allows for no leaf.
        y = module(inside if type(module) in _KEEPS_ITS_INPUT else inside.clone())

    def pull(grad: Tensor) -> Tensor:
        if y.requires_grad:
            y.backward(grad)
        return grad if inside.grad is None else inside.grad

    return y.detach(), pull


_FLATTEN = nn.Flatten()
_KEEPS_ITS_INPUT = frozenset(
    {SlimConv2d, SlimLinear, SharedBatchNorm2d, PrivateBatchNorm2d, ShuffleUnit, nn.MaxPool2d, nn.AvgPool2d, Repeat}
)
_RUNS: dict[type[nn.Module], Callable[[Any, Tensor, bool], Step]] = {
    nn.Sequential: _sequence,
    Classifier: _classifier,
    Chain: _chain,
    Residual: _residual,
    SlimConv2d: _convolution,
    SharedBatchNorm2d: _batch_norm,
    PrivateBatchNorm2d: _batch_norm,
    SlimLinear: _linear,
    nn.ReLU: _relu,
    nn.ReLU6: _relu6,
    nn.AdaptiveAvgPool2d: _mean,
    nn.Flatten: _flatten,
    nn.Identity: _identity,
}
