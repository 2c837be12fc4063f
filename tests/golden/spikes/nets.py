"""The spikes' nets: a few channels each, random masters and folds, operations in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from arithmetic import fold, positions, weight
from described import Float32, Fold, Master, Net, Part, Spike
from layers import Deployed
from torch import Tensor
from torch.nn import functional as F


def given(numbers: Float32 | None) -> Float32:
    assert numbers is not None
    return numbers


class Maker:
    """Collects parts and masters by name; the same seed gives the same numbers."""

    def __init__(self, seed: int, sizes: Mapping[str, int], optional: Sequence[str] = ()) -> None:
        self.random = np.random.default_rng(seed)
        self.index = {name: number for number, name in enumerate(sizes)}
        self.parts = tuple(Part(name=name, size=size, optional=name in optional) for name, size in sizes.items())
        self.masters: list[Master] = []

    def normal(self, shape: Sequence[int], deviation: float, mean: float = 0.0) -> Float32:
        return self.random.normal(mean, deviation, shape).astype(np.float32)

    def weight(self, name: str, axes: str, *, rows: int = 0, groups: int = 1, bias: bool = False) -> None:
        """``axes`` are separated by spaces, the parts of one by ``+``. A bias is a tensor along the outputs."""
        chosen, shape = self._axes(axes)
        fan_in = int(np.prod(shape)) // shape[rows]
        values = self.normal(shape, (2 / fan_in) ** 0.5)
        bias_name = f"{name}_bias" if bias else None
        self.masters.append(
            Master(name=name, role="weight", values=values, axes=chosen, rows=rows, groups=groups, bias=bias_name)
        )
        if bias_name:
            self.tensor(bias_name, axes.split()[rows])

    def tensor(self, name: str, axes: str) -> None:
        chosen, shape = self._axes(axes)
        self.masters.append(Master(name=name, role="tensor", values=self.normal(shape, 0.2), axes=chosen))

    def own(self, name: str, axes: str) -> None:
        self.masters.append(Master(name=name, role="own", values=None, axes=self._axes(axes)[0]))

    def _axes(self, axes: str) -> tuple[tuple[tuple[int, ...], ...], list[int]]:
        chosen = tuple(tuple(self.index[part] for part in axis.split("+")) for axis in axes.split())
        return chosen, [sum(self.parts[part].size for part in axis) for axis in chosen]

    def spike(self, name: str, nets: Sequence[Net] = ()) -> Spike:
        return Spike(name=name, parts=self.parts, masters=tuple(self.masters), nets=tuple(nets))

    def net(self, name: str, narrower: Mapping[str, int], normed: Sequence[str]) -> Net:
        """A net with random BatchNorms, as folded, behind ``normed``; about one scale in a hundred is negative."""
        net = Net(id=name, cut=tuple(narrower.get(part.name, part.size) for part in self.parts), folds={})
        spike, folds = self.spike(""), {}
        for master in self.masters:
            if master.name in normed:
                rows = len(positions(spike, net, master.axes[master.rows]))
                folds[master.name] = fold(scale=self.normal([rows], 0.35, 0.8), shift=self.normal([rows], 0.4))
            elif master.role == "own":
                shape = [len(positions(spike, net, axis)) for axis in master.axes]
                folds[master.name] = fold(own=self.normal(shape, 0.3, 0.9))
        return replace(net, folds=folds)


# MobileNetV2, with a grouped convolution

MOBILE = {
    "rgb": 3, "k": 3, "1": 1, "stem": 16, "narrow": 6, "expanded": 32, "grouped": 8, "head": 32, "class": 10
}  # fmt: skip
MOBILE_HALF = {"stem": 8, "narrow": 3, "expanded": 16, "grouped": 4, "head": 24}
MOBILE_NORMED = ("stem", "dw1", "project1", "expand2", "dw2", "project2", "head")


def mobile(name: str, *, awkward: bool) -> Spike:
    """``awkward``: a dead channel, one nearly dead, one whose int32 bias is above 2^22, negative scales.

    Two groups: the channels in front of and in the grouped convolution are the same part twice.
    """
    make = Maker(1, MOBILE)
    make.weight("stem", "stem rgb k k")
    make.weight("dw1", "stem 1 k k", groups=16)
    make.weight("project1", "narrow+narrow stem 1 1")
    make.weight("expand2", "expanded narrow+narrow 1 1")
    make.weight("dw2", "expanded 1 k k", groups=32)
    make.weight("project2", "narrow+narrow expanded 1 1")
    make.weight("grouped", "grouped+grouped narrow k k", groups=2, bias=True)
    make.weight("head", "head grouped+grouped 1 1")
    make.weight("classes", "class head", bias=True)
    nets = [make.net("0500", MOBILE_HALF, MOBILE_NORMED), make.net("1000", {}, MOBILE_NORMED)]
    for net in nets if awkward else []:
        given(net.folds["expand2"].scale)[3] = 0
        given(net.folds["dw2"].scale)[5] = -0.4
        given(net.folds["stem"].scale)[2] = 1e-8
        given(net.folds["project2"].scale)[1] = 2e-3
        given(net.folds["project2"].shift)[1] = 1.75
    return make.spike(name, nets)


def mobile_body(d: Deployed, image: Tensor) -> Tensor:
    x = d.act(image, "image")
    x = d.act(F.relu6(d.conv(x, "stem", stride=2, padding=1)), "stem")
    x = d.act(F.relu6(d.conv(x, "dw1", padding=1, groups=d.size("dw1", 0))), "dw1")
    x = d.act(d.conv(x, "project1"), "project1")
    y = d.act(F.relu6(d.conv(x, "expand2")), "expand2")
    y = d.act(F.relu6(d.conv(y, "dw2", padding=1, groups=d.size("dw2", 0))), "dw2")
    x = d.act(d.act(d.conv(y, "project2"), "project2") + x, "sum")
    x = d.act(F.relu6(d.conv(x, "grouped", stride=2, padding=1, groups=2)), "grouped")
    x = d.act(F.relu6(d.conv(x, "head")), "head")
    x = d.act(x.mean((2, 3), keepdim=True), "pool")
    return d.act(d.linear(d.act(x.flatten(1), "pool"), "classes"), "logits")


# A U-Net: skip concatenations, a transposed convolution, a PReLU

UNET = {
    "rgb": 3, "k": 3, "up": 2, "1": 1, "skip1": 8, "skip2": 16, "mid": 12, "raised": 16, "dec2": 8, "dec1": 8, "mask": 2
}  # fmt: skip
UNET_HALF = {"skip1": 4, "skip2": 8, "mid": 6, "raised": 8, "dec2": 4, "dec1": 4}
WIDE_SKIP = {"skip1": 7, "skip2": 5, "mid": 12, "raised": 9, "dec2": 3, "dec1": 6}
UNET_NORMED = ("enc1", "enc2", "mid", "lift", "dec2", "dec1")


def unet(name: str, *, int8: bool = False) -> Spike:
    """Two widths and a vector of channels that cuts the two sources of a concatenation differently.

    ``int8``: without what int8 kernels lack, a PReLU and a norm that has no layer.
    """
    make = Maker(3, UNET)
    make.weight("enc1", "skip1 rgb k k")
    make.weight("enc2", "skip2 skip1 k k")
    make.weight("mid", "mid skip2 k k")
    make.weight("lift", "mid raised up up", rows=1)
    make.weight("dec2", "dec2 raised+skip2 k k")
    make.weight("dec1", "dec1 dec2+skip1 k k")
    make.weight("mask", "mask dec1 1 1", bias=True)
    if not int8:
        make.tensor("slope", "skip1")
        make.own("norm_scale", "raised+skip2")
        make.own("norm_shift", "raised+skip2")
    nets = [
        make.net(net, narrower, UNET_NORMED)
        for net, narrower in (("0500", UNET_HALF), ("1000", {}), ("wide-skip", WIDE_SKIP))
    ]
    for net in nets:
        given(net.folds["enc1"].scale)[1] = 0.0  # products are 0 and −0
        given(net.folds["enc2"].scale)[2] = 3e-8  # less than float16 has
        given(net.folds["dec2"].shift)[0] = 1e-9
    return make.spike(name, nets)


def unet_body(d: Deployed, image: Tensor) -> Tensor:
    skip1 = F.prelu(d.conv(image, "enc1", padding=1), d.tensor("slope"))
    skip2 = F.relu(d.conv(skip1, "enc2", stride=2, padding=1))
    x = F.relu(d.conv(skip2, "mid", stride=2, padding=1))
    x = F.relu(d.deconv(x, "lift", stride=2))
    x = torch.cat((x, skip2), 1)
    x = F.relu(x * d.tensor("norm_scale").reshape(1, -1, 1, 1) + d.tensor("norm_shift").reshape(1, -1, 1, 1))
    x = F.relu(d.conv(x, "dec2", padding=1))
    x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    x = F.relu(d.conv(torch.cat((x, skip1), 1), "dec1", padding=1))
    return d.conv(x, "mask")


def int8_unet_body(d: Deployed, image: Tensor) -> Tensor:
    """The sources of a concatenation share one activation's name, so one scale: XNNPACK wants it."""
    image = d.act(image, "image")
    skip1 = d.act(F.relu(d.conv(image, "enc1", padding=1)), "cat1")
    skip2 = d.act(F.relu(d.conv(skip1, "enc2", stride=2, padding=1)), "cat2")
    x = d.act(F.relu(d.conv(skip2, "mid", stride=2, padding=1)), "mid")
    x = d.act(F.relu(d.deconv(x, "lift", stride=2)), "cat2")
    x = d.act(torch.cat((x, skip2), 1), "cat2")
    x = d.act(F.relu(d.conv(x, "dec2", padding=1)), "cat1")
    x = d.act(F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False), "cat1")
    x = d.act(torch.cat((x, skip1), 1), "cat1")
    x = d.act(F.relu(d.conv(x, "dec1", padding=1)), "dec1")
    return d.act(d.conv(x, "mask"), "mask")


# One ViT block, LayerNorms folded into the linears behind them

VIT = {
    "rgb": 3, "patch": 4, "token": 16, "channel": 16, "head1": 8, "head2": 8, "mlp": 32, "class": 10
}  # fmt: skip
VIT_HALF = {"channel": 8, "head2": 0, "mlp": 16}
HEAD_SIZE = 8
HEADS = "head1+head2"
VIT_NORMS = {"norm1": "qkv", "norm2": "lift", "norm3": "classes"}  # and the linears behind


def vit(name: str, *, folded: bool) -> Spike:
    """Two heads of eight in one fused master of q, k and v; half width leaves the second head out.

    ``folded``: LayerNorms' factors and offsets, and 1/√d, are in the linears behind. LiteRT folds them itself where
    they are not, except in front of an int8 linear; int8 wants them unfolded, its integers go without input scales.
    """
    make = Maker(4, VIT, optional=["head2"])
    make.weight("patches", "channel rgb patch patch", bias=True)
    make.tensor("position", "token channel")
    for norm in () if folded else VIT_NORMS:
        make.tensor(f"{norm}_gamma", "channel")
        make.tensor(f"{norm}_beta", "channel")
    make.weight("qkv", f"{HEADS}+{HEADS}+{HEADS} channel", bias=not folded)
    make.weight("attended", f"channel {HEADS}", bias=True)
    make.weight("lift", "mlp channel", bias=not folded)
    make.weight("lower", "channel mlp", bias=True)
    make.weight("classes", "class channel", bias=not folded)
    nets = [make.net(net, narrower, ()) for net, narrower in (("0500", VIT_HALF), ("1000", {}))]
    if folded:
        nets = [
            replace(net, folds={**net.folds, **{layer: _norm_folded(make, net, layer) for layer in VIT_NORMS.values()}})
            for net in nets
        ]
    return make.spike(name, nets)


def _norm_folded(make: Maker, net: Net, layer: str) -> Fold:
    """A LayerNorm in front: its gamma scales the columns, its beta goes through them; 1/√d scales the rows of q."""
    columns = weight(next(master for master in make.masters if master.name == layer), make.spike(""), net)
    rows, width = columns.shape
    gamma, beta = make.normal([width], 0.2, 1.0), make.normal([width], 0.2)
    shift = make.normal([rows], 0.2) + (columns.astype(np.float64) @ beta).astype(np.float32)
    if layer != "qkv":
        return fold(in_scale=gamma, shift=shift)
    scale = np.ones(rows, np.float32)
    scale[: rows // 3] = HEAD_SIZE**-0.5
    return fold(in_scale=gamma, scale=scale, shift=shift * scale)


def vit_body(d: Deployed, image: Tensor) -> Tensor:
    """With aten's LayerNorm."""

    def norm(x: Tensor, name: str) -> Tensor:
        affine = (d.tensor(f"{name}_gamma"), d.tensor(f"{name}_beta")) if d.has(f"{name}_gamma") else ()
        return F.layer_norm(x, x.shape[-1:], *affine)

    return _vit(d, image, norm)


def vit_body_of_linears(d: Deployed, image: Tensor) -> Tensor:
    """LayerNorm as two averaging linears: XNNPACK takes it whole."""

    def norm(x: Tensor, name: str) -> Tensor:
        x = x - d.average(x)
        x = x * torch.rsqrt(d.average(x * x) + 1e-5)
        return x * d.tensor(f"{name}_gamma") + d.tensor(f"{name}_beta") if d.has(f"{name}_gamma") else x

    return _vit(d, image, norm)


def _vit(d: Deployed, image: Tensor, norm: Callable[[Tensor, str], Tensor]) -> Tensor:
    x = d.act(d.conv(d.act(image, "image"), "patches", stride=4), "patches")
    height, width = x.shape[2:]
    x = x.flatten(2).transpose(1, 2) + d.tensor("position")
    q, k, v = _heads(d.act(d.linear(d.act(norm(x, "norm1"), "norm1"), "qkv"), "qkv"))
    scores = torch.bmm(q, k.transpose(1, 2))
    weights = torch.softmax(scores * HEAD_SIZE**-0.5 if d.has("norm1_gamma") else scores, -1)
    y = torch.bmm(weights, v).transpose(0, 1).reshape(1, height * width, -1)
    x = x + d.act(d.linear(d.act(y, "heads"), "attended"), "attended")
    y = d.act(F.gelu(d.act(d.linear(d.act(norm(x, "norm2"), "norm2"), "lift"), "lift")), "gelu")
    x = x + d.act(d.linear(y, "lower"), "lower")
    x = norm(x, "norm3").transpose(1, 2).reshape(1, -1, height, width).mean((2, 3), keepdim=True).flatten(1)
    return d.act(d.linear(d.act(x, "pool"), "classes"), "logits")


def _heads(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(1, T, 3·h·d) to three of (h, T, d)."""
    tokens, size = x.shape[1], x.shape[2] // 3
    parts = [x[:, :, i * size : (i + 1) * size].reshape(tokens, -1, HEAD_SIZE).transpose(0, 1) for i in range(3)]
    return parts[0], parts[1], parts[2]


# Layers that rarely stand in a net, each of which an exporter might store in its own way

ODD = {"gray": 1, "k": 3, "up": 2, "1": 1, "stem": 8, "more": 16, "pair": 4, "raised": 6, "mixed": 12, "class": 5}
ODD_HALF = {"stem": 4, "more": 8, "pair": 2, "raised": 3, "mixed": 6}


def odd(name: str) -> Spike:
    """One input channel, a channel multiplier, no bias, a bias of zeros, groups of a transposed convolution."""
    make = Maker(5, ODD)
    make.weight("stem", "stem gray k k")
    make.weight("doubled", "more 1 k k", groups=8)
    make.weight("bare", "pair+pair more 1 1")
    make.weight("lift", "pair+pair raised up up", rows=1, groups=2)
    make.weight("zeros", "mixed raised+raised 1 1", bias=True)
    make.tensor("gain", "mixed")
    make.weight("twice", "mixed mixed 1 1", bias=True)
    make.weight("classes", "class mixed", bias=True)
    for master in make.masters:
        if master.name == "zeros_bias":
            given(master.values)[:] = 0
    nets = [make.net(net, narrower, ("stem", "doubled")) for net, narrower in (("0500", ODD_HALF), ("1000", {}))]
    return make.spike(name, nets)


def odd_body(d: Deployed, image: Tensor) -> Tensor:
    x = F.relu(d.conv(image, "stem", stride=2, padding=1))
    x = F.relu(d.conv(x, "doubled", padding=1, groups=x.shape[1]))
    x = F.hardswish(d.conv(x, "bare"))
    x = F.relu(d.deconv(x, "lift", stride=2, groups=2))
    x = F.relu(d.conv(x, "zeros")) * d.tensor("gain").reshape(1, -1, 1, 1)
    x = F.relu(d.conv(F.relu(d.conv(x, "twice")), "twice"))
    return d.linear(x.mean((2, 3), keepdim=True).flatten(1), "classes")
