"""MIL operations in torch: what convolutional classifiers are saved as, and nothing else.

Source: the MIL operation reference of coremltools 9 (iOS 15–16 opsets). Every function takes the operation's arguments
by their MIL names, tensors as float32, everything else as numpy values; the caller rounds results to fp16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgeslim.errors import CannotCheckError

Inputs = dict[str, Any]


def _padded(x: Tensor, inputs: Inputs, kernel: list[int], value: float = 0.0) -> Tensor:
    """``pad_type`` and ``pad`` (before, after per spatial dimension) applied to NCHW ``x``."""
    kind = str(inputs["pad_type"])
    if kind == "valid":
        return x
    if kind == "custom":
        top, bottom, left, right = (int(p) for p in inputs["pad"])
        return F.pad(x, (left, right, top, bottom), value=value)
    if kind not in ("same", "same_lower"):
        raise CannotCheckError(f"cannot evaluate the MIL padding {kind!r} here")
    pads: list[int] = []
    strides = _ints(inputs["strides"])
    dilations = _ints(inputs.get("dilations", [1, 1]))
    for size, k, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size)
        small, large = total // 2, total - total // 2
        pads = ([small, large] if kind == "same" else [large, small]) + pads
    return F.pad(x, pads, value=value)


def _ints(values: Any) -> list[int]:
    return [int(value) for value in values]


def _conv(inputs: Inputs) -> Tensor:
    weight: Tensor = inputs["weight"]
    x = _padded(inputs["x"], inputs, list(weight.shape[2:]))
    strides, dilations = _ints(inputs["strides"]), _ints(inputs["dilations"])
    return F.conv2d(x, weight, inputs.get("bias"), strides, 0, dilations, int(inputs["groups"]))


def _max_pool(inputs: Inputs) -> Tensor:
    kernel = _ints(inputs["kernel_sizes"])
    x = _padded(inputs["x"], inputs, kernel, float("-inf"))
    return F.max_pool2d(x, kernel, _ints(inputs["strides"]), ceil_mode=bool(inputs.get("ceil_mode", False)))


def _avg_pool(inputs: Inputs) -> Tensor:
    kernel, strides = _ints(inputs["kernel_sizes"]), _ints(inputs["strides"])
    ceil = bool(inputs.get("ceil_mode", False))
    x = _padded(inputs["x"], inputs, kernel)
    mean = F.avg_pool2d(x, kernel, strides, ceil_mode=ceil)
    if not bool(inputs.get("exclude_padding_from_average", False)):
        return mean
    inside = _padded(torch.ones_like(inputs["x"]), inputs, kernel)
    return mean / F.avg_pool2d(inside, kernel, strides, ceil_mode=ceil)


def _linear(inputs: Inputs) -> Tensor:
    return F.linear(inputs["x"], inputs["weight"], inputs.get("bias"))


def _concat(inputs: Inputs) -> Tensor:
    if bool(inputs.get("interleave", False)):
        raise CannotCheckError("cannot evaluate an interleaved MIL concat here")
    return torch.cat(list(inputs["values"]), int(inputs["axis"]))


def _split(inputs: Inputs) -> tuple[Tensor, ...]:
    x, axis = inputs["x"], int(inputs["axis"])
    if inputs.get("split_sizes") is not None:
        return torch.split(x, _ints(inputs["split_sizes"]), axis)
    return torch.chunk(x, int(inputs["num_splits"]), axis)


def _squeeze(inputs: Inputs) -> Tensor:
    x: Tensor = inputs["x"]
    return x.squeeze(tuple(_ints(inputs["axes"])) if inputs.get("axes") is not None else tuple(range(x.ndim)))


def _expand_dims(inputs: Inputs) -> Tensor:
    x: Tensor = inputs["x"]
    for axis in sorted(_ints(inputs["axes"])):
        x = x.unsqueeze(axis)
    return x


def _reduce_mean(inputs: Inputs) -> Tensor:
    x: Tensor = inputs["x"]
    return x.mean(_ints(inputs["axes"]), keepdim=bool(inputs["keep_dims"]))


OPERATIONS: dict[str, Callable[[Inputs], Tensor | tuple[Tensor, ...]]] = {
    "add": lambda i: torch.add(i["x"], i["y"]),
    "avg_pool": _avg_pool,
    "cast": lambda i: i["x"],
    "clip": lambda i: torch.clamp(i["x"], float(i["alpha"]), float(i["beta"])),
    "concat": _concat,
    "conv": _conv,
    "expand_dims": _expand_dims,
    "identity": lambda i: i["x"],
    "linear": _linear,
    "max_pool": _max_pool,
    "mul": lambda i: torch.mul(i["x"], i["y"]),
    "real_div": lambda i: torch.div(i["x"], i["y"]),
    "reduce_mean": _reduce_mean,
    "relu": lambda i: torch.relu(i["x"]),
    "relu6": lambda i: torch.clamp(i["x"], 0.0, 6.0),
    "reshape": lambda i: i["x"].reshape(_ints(i["shape"])),
    "split": _split,
    "squeeze": _squeeze,
    "sub": lambda i: torch.sub(i["x"], i["y"]),
    "transpose": lambda i: i["x"].permute(_ints(i["perm"])),
}
