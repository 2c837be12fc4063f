"""MIL operations in torch: what convolutional nets, attention and their usual activations are saved as.

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


def _conv_transpose(inputs: Inputs) -> Tensor:
    strides, dilations = _ints(inputs["strides"]), _ints(inputs["dilations"])
    kind = str(inputs["pad_type"])
    if kind not in ("valid", "custom"):
        raise CannotCheckError(f"cannot evaluate the MIL padding {kind!r} of a transposed convolution here")
    whole = F.conv_transpose2d(
        inputs["x"], inputs["weight"], inputs.get("bias"), strides, 0, 0, int(inputs["groups"]), dilations
    )
    top, bottom, left, right = _ints(inputs["pad"]) if kind == "custom" else [0] * 4
    height, width = whole.shape[2:]
    return whole[:, :, top : height - bottom, left : width - right]


def _crop(inputs: Inputs) -> Tensor:
    x: Tensor = inputs["x"]
    (top, bottom), (left, right) = _ints(inputs["crop_height"]), _ints(inputs["crop_width"])
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


def _slice_by_index(inputs: Inputs) -> Tensor:
    x: Tensor = inputs["x"]

    def of_axis(name: str, otherwise: int) -> list[int]:
        return _ints(inputs[name]) if inputs.get(name) is not None else [otherwise] * x.ndim

    begins, ends, steps = _ints(inputs["begin"]), _ints(inputs["end"]), of_axis("stride", 1)
    open_begins, open_ends, squeezed = (of_axis(name, 0) for name in ("begin_mask", "end_mask", "squeeze_mask"))
    if min(steps) < 1:
        raise CannotCheckError("cannot evaluate a MIL slice that goes backwards here")
    index: list[int | slice] = [
        begins[axis]
        if squeezed[axis]
        else slice(None if open_begins[axis] else begins[axis], None if open_ends[axis] else ends[axis], steps[axis])
        for axis in range(x.ndim)
    ]
    return x[tuple(index)]


def _upsample(inputs: Inputs, mode: str) -> Tensor:
    factors = (float(inputs["scale_factor_height"]), float(inputs["scale_factor_width"]))
    if mode == "nearest":
        return F.interpolate(inputs["x"], scale_factor=factors, mode=mode)
    return F.interpolate(inputs["x"], scale_factor=factors, mode=mode, align_corners=bool(inputs["align_corners"]))


def _tensor(value: Any) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float32)


def _per_channel(x: Tensor, values: Any) -> Tensor:
    return _tensor(values).reshape(1, -1, *([1] * (x.ndim - 2)))


def _batch_norm(inputs: Inputs) -> Tensor:
    x: Tensor = inputs["x"]
    return F.batch_norm(
        x, inputs["mean"], inputs["variance"], inputs.get("gamma"), inputs.get("beta"), eps=float(inputs["epsilon"])
    )


def _instance_norm(inputs: Inputs) -> Tensor:
    return F.instance_norm(
        inputs["x"], weight=inputs.get("gamma"), bias=inputs.get("beta"), eps=float(inputs["epsilon"])
    )


def _layer_norm(inputs: Inputs) -> Tensor:
    x: Tensor = inputs["x"]
    axes = [axis % x.ndim for axis in _ints(inputs["axes"])]
    mean = x.mean(axes, keepdim=True)
    normed = (x - mean) / (x.var(axes, correction=0, keepdim=True) + float(inputs["epsilon"])).sqrt()
    shape = [x.shape[axis] if axis in axes else 1 for axis in range(x.ndim)]
    for name, apply in (("gamma", torch.mul), ("beta", torch.add)):
        if inputs.get(name) is not None:
            normed = apply(normed, _tensor(inputs[name]).reshape(shape))
    return normed


def _matmul(inputs: Inputs) -> Tensor:
    x, y = inputs["x"], inputs["y"]
    x = x.transpose(-1, -2) if bool(inputs.get("transpose_x", False)) else x
    y = y.transpose(-1, -2) if bool(inputs.get("transpose_y", False)) else y
    return torch.matmul(x, y)


def _gelu(inputs: Inputs) -> Tensor:
    x: Tensor = inputs["x"]
    mode = str(inputs.get("mode", "EXACT"))
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    return F.gelu(x, approximate="tanh" if mode == "TANH_APPROXIMATION" else "none")


def _thresholded_relu(inputs: Inputs) -> Tensor:
    x: Tensor = inputs["x"]
    return torch.where(x >= float(inputs["alpha"]), x, torch.zeros_like(x))


def _pad(inputs: Inputs) -> Tensor:
    """``pad``: before, after for each of the last dimensions, the last one last."""
    if str(inputs.get("mode", "constant")) != "constant":
        raise CannotCheckError("cannot evaluate a MIL pad that is not constant here")
    pairs = _ints(inputs["pad"])
    reversed_pairs = [size for axis in range(len(pairs) - 2, -1, -2) for size in pairs[axis : axis + 2]]
    return F.pad(inputs["x"], reversed_pairs, value=float(inputs.get("constant_val", 0.0)))


def _reduced(inputs: Inputs, function: Callable[..., Tensor]) -> Tensor:
    return function(inputs["x"], _ints(inputs["axes"]), keepdim=bool(inputs["keep_dims"]))


OPERATIONS: dict[str, Callable[[Inputs], Tensor | tuple[Tensor, ...]]] = {
    "abs": lambda i: torch.abs(i["x"]),
    "add": lambda i: torch.add(i["x"], i["y"]),
    "avg_pool": _avg_pool,
    "batch_norm": _batch_norm,
    "cast": lambda i: i["x"],
    "clip": lambda i: torch.clamp(i["x"], float(i["alpha"]), float(i["beta"])),
    "concat": _concat,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "crop": _crop,
    "elu": lambda i: F.elu(i["x"], float(i["alpha"])),
    "exp": lambda i: torch.exp(i["x"]),
    "expand_dims": _expand_dims,
    "gelu": _gelu,
    "identity": lambda i: i["x"],
    "instance_norm": _instance_norm,
    "layer_norm": _layer_norm,
    "leaky_relu": lambda i: F.leaky_relu(i["x"], float(i["alpha"])),
    "linear": _linear,
    "matmul": _matmul,
    "max_pool": _max_pool,
    "maximum": lambda i: torch.maximum(_tensor(i["x"]), _tensor(i["y"])),
    "minimum": lambda i: torch.minimum(_tensor(i["x"]), _tensor(i["y"])),
    "mul": lambda i: torch.mul(i["x"], i["y"]),
    "pad": _pad,
    "pixel_shuffle": lambda i: F.pixel_shuffle(i["x"], int(i["upscale_factor"])),
    "pow": lambda i: torch.pow(i["x"], i["y"]),
    "prelu": lambda i: torch.where(i["x"] >= 0, i["x"], i["x"] * _per_channel(i["x"], i["alpha"])),
    "real_div": lambda i: torch.div(i["x"], i["y"]),
    "reduce_max": lambda i: _reduced(i, torch.amax),
    "reduce_mean": lambda i: _reduced(i, torch.mean),
    "reduce_sum": lambda i: _reduced(i, torch.sum),
    "relu": lambda i: torch.relu(i["x"]),
    "relu6": lambda i: torch.clamp(i["x"], 0.0, 6.0),
    "reshape": lambda i: i["x"].reshape(_ints(i["shape"])),
    "rsqrt": lambda i: torch.rsqrt(i["x"] + float(i.get("epsilon", 0.0))),
    "sigmoid": lambda i: torch.sigmoid(i["x"]),
    "sigmoid_hard": lambda i: torch.clamp(i["x"] * float(i["alpha"]) + float(i["beta"]), 0.0, 1.0),
    "silu": lambda i: F.silu(i["x"]),
    "slice_by_index": _slice_by_index,
    "softmax": lambda i: torch.softmax(i["x"], int(i["axis"])),
    "softplus": lambda i: F.softplus(i["x"]),
    "split": _split,
    "sqrt": lambda i: torch.sqrt(i["x"]),
    "square": lambda i: torch.square(i["x"]),
    "squeeze": _squeeze,
    "sub": lambda i: torch.sub(i["x"], i["y"]),
    "tanh": lambda i: torch.tanh(i["x"]),
    "thresholded_relu": _thresholded_relu,
    "transpose": lambda i: i["x"].permute(_ints(i["perm"])),
    "upsample_bilinear": lambda i: _upsample(i, "bilinear"),
    "upsample_nearest_neighbor": lambda i: _upsample(i, "nearest"),
}
