"""A net of a spike as a torch module: constants from arithmetic.py, operations written in nets.py.

The same ``body`` serves all dialects; what differs is how a weight is given (float, or integers behind a dequantize)
and whether activations are quantised:

    float          weights and activations as they are
    w8             int8 weights, dequantised per row; float activations and biases
    int8           int8 weights and activations, for ExecuTorch
    int8-litert    the same, integers given as floats behind a quantize
    int8-coreml    the same, zero points of weights in int8, float biases
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
import torch.ao.quantization.fx._decomposed
from arithmetic import F32, bias, quantised, vector, weight
from described import Array, Fold, Master, Net, Spike
from torch import Tensor, nn
from torch.nn import functional as F

QD = torch.ops.quantized_decomposed
Range = tuple[float, int]  # scale, zero point
Body = Callable[["Deployed", Tensor], Tensor]


class Deployed(nn.Module):
    """One net. ``ranges`` are those of the activations, by the names that ``body`` gives them."""

    def __init__(
        self, spike: Spike, net: Net, body: Body, dialect: str = "float", ranges: Mapping[str, Range] | None = None
    ) -> None:
        super().__init__()
        self.body, self.dialect, self.ranges = body, dialect, ranges or {}
        self.seen: dict[str, tuple[float, float]] = {}
        self.reads: dict[str, str] = {}  # weight → activation
        self.names: list[tuple[Tensor, str]] = []
        self.axis: dict[str, int] = {}
        biases = {master.bias for master in spike.masters}
        for master in spike.masters:
            if master.role == "weight":
                self._add_weight(master, spike, net)
            elif master.name not in biases:
                self._add(master.name, vector(master, spike, net))

    def _add_weight(self, master: Master, spike: Spike, net: Net) -> None:
        self.axis[master.name] = master.rows
        values = bias(master, spike, net)
        if self.dialect == "float":
            self._add(master.name, weight(master, spike, net))
        else:
            q = quantised(master, spike, net)
            self._add(f"{master.name}_scale", q.weight_scale)
            zero = torch.int8 if self.dialect in ("w8", "int8-coreml") else torch.int64
            self.register_buffer(f"{master.name}_zero", torch.zeros(len(q.weight_scale), dtype=zero))
            if self.dialect in ("int8", "int8-litert"):
                values = q.bias_dequantised
            if self.dialect == "int8-litert":
                self._add(master.name, q.dequantised)
            else:
                self.register_buffer(master.name, torch.from_numpy(q.integers.copy()))
        if values is not None:
            self._add(f"{master.name}_bias", values)

    def _add(self, name: str, values: Array) -> None:
        self.register_buffer(name, torch.from_numpy(np.array(values, np.float32)))

    def forward(self, image: Tensor) -> Tensor:
        return self.body(self, image)

    # what bodies use

    def tensor(self, name: str) -> Tensor:
        return self.get_buffer(name)

    def has(self, name: str) -> bool:
        return name in self._buffers

    def size(self, name: str, axis: int) -> int:
        return self.get_buffer(name).shape[axis]

    def conv(self, x: Tensor, name: str, *, stride: int = 1, padding: int = 0, groups: int = 1) -> Tensor:
        return F.conv2d(x, self._weight(x, name), self._bias(name), stride, padding, groups=groups)

    def deconv(self, x: Tensor, name: str, *, stride: int, groups: int = 1) -> Tensor:
        return F.conv_transpose2d(x, self._weight(x, name), self._bias(name), stride, groups=groups)

    def linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._weight(x, name), self._bias(name))

    def average(self, x: Tensor) -> Tensor:
        """The mean over the last axis as a linear. Its constant has no master; the first, eager run makes it."""
        name = f"average{x.shape[-1]}"
        if name not in self._buffers:
            self._add(name, np.full((1, x.shape[-1]), 1 / x.shape[-1]))
        return F.linear(x, self.tensor(name))

    def act(self, x: Tensor, name: str) -> Tensor:
        """Name an activation: a place where int8 nets quantise."""
        if self.dialect.startswith("int8"):
            scale, zero = self.ranges[name]
            limits = (scale, zero, -128, 127, torch.int8)
            x = QD.dequantize_per_tensor(QD.quantize_per_tensor(x, *limits), *limits)
        elif not torch.compiler.is_compiling():
            low, high = self.seen.get(name, (0.0, 0.0))
            self.seen[name] = (min(low, float(x.min())), max(high, float(x.max())))
            self.names.append((x, name))
        return x

    def _bias(self, name: str) -> Tensor | None:
        return self._buffers.get(f"{name}_bias")

    def _weight(self, x: Tensor, name: str) -> Tensor:
        if not torch.compiler.is_compiling() and self.dialect == "float":
            self.reads[name] = next((known for tensor, known in self.names if tensor is x), "")
        values = self.tensor(name)
        if self.dialect == "float":
            return values
        limits = (self.tensor(f"{name}_scale"), self.tensor(f"{name}_zero"), self.axis[name], -127, 127, torch.int8)
        if self.dialect == "int8-litert":
            values = QD.quantize_per_channel(values, *limits)
        return QD.dequantize_per_channel(values, *limits)  # type: ignore[no-any-return]


def _short(value: float) -> np.float32:
    """16 bits of it: another processor's last bits give the same scale."""
    fraction, exponent = np.frexp(value)
    return F32(np.ldexp(np.rint(fraction * 2**16) / 2**16, exponent))


def calibrated(spike: Spike, net: Net, body: Body, images: Tensor) -> tuple[Net, dict[str, Range]]:
    """Ranges of the float net's activations on ``images``; the net with the input scale of every weight."""
    observed = Deployed(spike, net, body).eval()
    with torch.no_grad():
        for image in images:
            observed(image[None])
    ranges: dict[str, Range] = {}
    for name, (low, high) in observed.seen.items():
        scale = _short((high - low) / 255)
        ranges[name] = float(scale), int(np.clip(-128 - np.rint(F32(low) / scale), -128, 127))
    folds = dict(net.folds)
    for name, activation in observed.reads.items():
        folds[name] = replace(folds.get(name, Fold()), input_scale=np.array([ranges[activation][0]], F32))
    return replace(net, folds=folds), ranges
