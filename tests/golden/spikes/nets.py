"""The spikes' nets: a few channels each, random masters and folds, operations in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from arithmetic import bias, cut, fold
from described import Float32, Fold, Master, Net, Parts, Spike
from layers import Deployed
from torch import Tensor
from torch.nn import functional as F


class Maker:
    """Collects axes and masters by name; the same seed gives the same numbers."""

    def __init__(self, seed: int, axes: Mapping[str, Parts]) -> None:
        self.random = np.random.default_rng(seed)
        self.index = {name: number for number, name in enumerate(axes)}
        self.axes = tuple(tuple(parts) for parts in axes.values())
        self.masters: list[Master] = []

    def normal(self, shape: Sequence[int], deviation: float, mean: float = 0.0) -> Float32:
        return self.random.normal(mean, deviation, shape).astype(np.float32)

    def add(self, name: str, axes: str, role: str = "weight", *, rows_axis: int = 0, groups: int = 1) -> None:
        chosen = tuple(self.index[axis] for axis in axes.split())
        shape = [sum(self.axes[axis]) for axis in chosen]
        fan_in = int(np.prod(shape)) // shape[rows_axis]
        deviation = (2 / fan_in) ** 0.5 if role == "weight" else 0.2
        affine = role == "weight" and len(shape) == 1  # a norm without a layer: ones, that the fold scales and shifts
        values = np.ones(shape, np.float32) if affine else self.normal(shape, deviation)
        self.masters.append(
            Master(
                name=name,
                role=role,
                values=values,
                axes=chosen,
                rows_axis=rows_axis,
                groups=groups,
            )
        )

    def spike(self, name: str) -> Spike:
        return Spike(name=name, axes=self.axes, masters=tuple(self.masters), nets=())

    def net(self, spike: Spike, name: str, narrower: Mapping[str, Parts], normed: Sequence[str]) -> Net:
        """A net with random BatchNorms, as folded, behind ``normed``; about one scale in thirty is negative."""
        cuts = [tuple(parts) for parts in self.axes]
        for axis, parts in narrower.items():
            cuts[self.index[axis]] = tuple(parts)
        folds: dict[str, Fold] = {}
        for master in self.masters:
            if master.role == "weight":
                rows = sum(cuts[master.axes[master.rows_axis]])
                has = master.name in normed
                scale, shift = (self.normal([rows], 0.35, 0.8), self.normal([rows], 0.4)) if has else (None, None)
                folds[master.name] = fold(scale=scale, shift=shift)
        return Net(id=name, cuts=tuple(cuts), folds=folds)


# MobileNetV2, with a grouped convolution

MOBILE_AXES: dict[str, Parts] = {
    "rgb": (3,), "k": (3,), "1": (1,), "stem": (16,), "narrow": (6, 6), "expanded": (32,),
    "grouped": (8, 8), "column": (6,), "head": (32,), "class": (10,),
}  # fmt: skip
MOBILE_HALF: dict[str, Parts] = {
    "stem": (8,), "narrow": (3, 3), "expanded": (16,), "grouped": (4, 4), "column": (3,), "head": (24,)
}  # fmt: skip
MOBILE_NORMED = ("stem", "dw1", "project1", "expand2", "dw2", "project2", "head")


def mobile(name: str, *, awkward: bool) -> Spike:
    """``awkward``: a dead channel, one nearly dead, one whose int32 bias is large, negative scales."""
    make = Maker(1, MOBILE_AXES)
    make.add("stem", "stem rgb k k")
    make.add("dw1", "stem 1 k k", groups=16)
    make.add("project1", "narrow stem 1 1")
    make.add("expand2", "expanded narrow 1 1")
    make.add("dw2", "expanded 1 k k", groups=32)
    make.add("project2", "narrow expanded 1 1")
    make.add("grouped", "grouped column k k", groups=2)
    make.add("grouped", "grouped", "own")
    make.add("head", "head grouped 1 1")
    make.add("classes", "class head")
    make.add("classes", "class", "own")
    spike = make.spike(name)
    nets = [make.net(spike, "0500", MOBILE_HALF, MOBILE_NORMED), make.net(spike, "1000", {}, MOBILE_NORMED)]
    for net in nets if awkward else []:
        scales = {layer: net.folds[layer].scale for layer in MOBILE_NORMED}
        scales["expand2"][3] = 0
        scales["dw2"][5] = -0.4
        scales["stem"][2] = 1e-8
        scales["project2"][1] = 2e-3
        net.folds["project2"].shift[1] = 1.75
    return Spike(name=name, axes=spike.axes, masters=spike.masters, nets=tuple(nets))


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

UNET_AXES: dict[str, Parts] = {
    "rgb": (3,), "k": (3,), "up": (2,), "1": (1,), "skip1": (8,), "skip2": (16,), "mid": (12,), "raised": (16,),
    "cat2": (16, 16), "dec2": (8,), "cat1": (8, 8), "dec1": (8,), "mask": (2,),
}  # fmt: skip
UNET_NORMED = ("enc1", "enc2", "mid", "lift", "affine2", "dec2", "dec1")


def unet_cut(skip1: int, skip2: int, mid: int, raised: int, dec2: int, dec1: int) -> dict[str, Parts]:
    """Cuts of all axes; a concatenation has a part per source, in the order of the concatenation."""
    return {
        "skip1": (skip1,), "skip2": (skip2,), "mid": (mid,), "raised": (raised,),
        "cat2": (raised, skip2), "dec2": (dec2,), "cat1": (dec2, skip1), "dec1": (dec1,),
    }  # fmt: skip


def unet(name: str) -> Spike:
    """Two widths and a vector of channels whose two parts of a concatenation are cut differently."""
    make = Maker(3, UNET_AXES)
    make.add("enc1", "skip1 rgb k k")
    make.add("slope", "skip1", "tensor")
    make.add("enc2", "skip2 skip1 k k")
    make.add("mid", "mid skip2 k k")
    make.add("lift", "mid raised up up", rows_axis=1)
    make.add("affine2", "cat2", groups=32)
    make.add("dec2", "dec2 cat2 k k")
    make.add("dec1", "dec1 cat1 k k")
    make.add("mask", "mask dec1 1 1")
    make.add("mask", "mask", "own")
    spike = make.spike(name)
    nets = [
        make.net(spike, "0500", unet_cut(4, 8, 6, 8, 4, 4), UNET_NORMED),
        make.net(spike, "1000", {}, UNET_NORMED),
        make.net(spike, "wide-skip", unet_cut(7, 5, 12, 9, 3, 6), UNET_NORMED),
    ]
    for net in nets:
        net.folds["enc1"].scale[1] = 0.0  # products are 0 and −0
        net.folds["enc2"].scale[2] = 3e-8  # less than float16 has
        net.folds["dec2"].shift[0] = 1e-9
    return Spike(name=name, axes=spike.axes, masters=spike.masters, nets=tuple(nets))


def unet_body(d: Deployed, image: Tensor) -> Tensor:
    skip1 = F.prelu(d.conv(image, "enc1", padding=1), d.tensor("slope"))
    skip2 = F.relu(d.conv(skip1, "enc2", stride=2, padding=1))
    x = F.relu(d.conv(skip2, "mid", stride=2, padding=1))
    x = F.relu(d.deconv(x, "lift", stride=2))
    x = F.relu(d.affine(torch.cat((x, skip2), 1), "affine2"))
    x = F.relu(d.conv(x, "dec2", padding=1))
    x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    x = F.relu(d.conv(torch.cat((x, skip1), 1), "dec1", padding=1))
    return d.conv(x, "mask")


def int8_unet(name: str) -> Spike:
    """The same without what int8 kernels lack (PReLU, affine)."""
    full = unet(name)
    masters = tuple(master for master in full.masters if master.name not in ("slope", "affine2"))
    nets = tuple(
        Net(id=net.id, cuts=net.cuts, folds={k: v for k, v in net.folds.items() if k != "affine2"}) for net in full.nets
    )
    return Spike(name=name, axes=full.axes, masters=masters, nets=nets)


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

VIT_AXES: dict[str, Parts] = {
    "rgb": (3,), "patch": (4,), "token": (16,), "channel": (16,), "qkv": (16, 16, 16), "heads": (8, 8),
    "mlp": (32,), "class": (10,),
}  # fmt: skip
VIT_HALF: dict[str, Parts] = {"channel": (8,), "qkv": (8, 8, 8), "heads": (8, 0), "mlp": (16,)}
HEAD_SIZE = 8


def vit(name: str) -> Spike:
    """Two heads of eight: at half width the second is cut to nothing, in q, k and v and in the columns behind."""
    make = Maker(4, VIT_AXES)
    make.add("patch", "channel rgb patch patch")
    make.add("patch", "channel", "own")
    make.add("position", "token channel", "tensor")
    make.add("qkv", "qkv channel")
    make.add("qkv", "qkv", "own")
    make.add("attended", "channel heads")
    make.add("attended", "channel", "own")
    make.add("lift", "mlp channel")
    make.add("lift", "mlp", "own")
    make.add("lower", "channel mlp")
    make.add("lower", "channel", "own")
    make.add("classes", "class channel")
    make.add("classes", "class", "own")
    spike = make.spike(name)
    nets = []
    for net_id, narrower in (("0500", VIT_HALF), ("1000", {})):
        net = make.net(spike, net_id, narrower, ())
        folds = dict(net.folds)
        for layer in ("qkv", "lift", "classes"):
            folds[layer] = _norm_folded(make, spike, net, layer)
        nets.append(Net(id=net.id, cuts=net.cuts, folds=folds))
    return Spike(name=name, axes=spike.axes, masters=spike.masters, nets=tuple(nets))


def _norm_folded(make: Maker, spike: Spike, net: Net, layer: str) -> Fold:
    """A LayerNorm in front: its gamma scales the columns, its beta goes through them; 1/√d scales the rows of q."""
    master = next(m for m in spike.masters if m.name == layer and m.role == "weight")
    columns, rows = cut(master.values, master, spike, net), bias(master, spike, net)
    gamma, beta = make.normal(columns.shape[1:], 0.2, 1.0), make.normal(columns.shape[1:], 0.2)
    shift = rows + columns @ beta
    if layer != "qkv":
        return fold(in_scale=gamma, shift=shift)
    scale = np.ones(len(rows), np.float32)
    scale[: len(rows) // 3] = HEAD_SIZE**-0.5
    return fold(in_scale=gamma, scale=scale, shift=shift * scale)


def vit_body(d: Deployed, image: Tensor) -> Tensor:
    """With aten's LayerNorm."""
    return _vit(d, image, lambda x: F.layer_norm(x, x.shape[-1:]))


def vit_body_of_linears(d: Deployed, image: Tensor) -> Tensor:
    """LayerNorm as two averaging linears: XNNPACK takes it whole."""

    def norm(x: Tensor) -> Tensor:
        x = x - d.average(x)
        return x * torch.rsqrt(d.average(x * x) + 1e-5)

    return _vit(d, image, norm)


def _vit(d: Deployed, image: Tensor, norm: Callable[[Tensor], Tensor]) -> Tensor:
    x = d.conv(image, "patch", stride=4)
    height, width = x.shape[2:]
    x = x.flatten(2).transpose(1, 2) + d.tensor("position")
    q, k, v = _heads(d.linear(norm(x), "qkv"))
    weights = torch.softmax(torch.bmm(q, k.transpose(1, 2)), -1)
    y = torch.bmm(weights, v).transpose(0, 1).reshape(1, height * width, -1)
    x = x + d.linear(y, "attended")
    x = x + d.linear(F.gelu(d.linear(norm(x), "lift")), "lower")
    x = norm(x).transpose(1, 2).reshape(1, -1, height, width).mean((2, 3), keepdim=True).flatten(1)
    return d.linear(x, "classes")


def _heads(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(1, T, 3·h·d) to three of (h, T, d)."""
    tokens, size = x.shape[1], x.shape[2] // 3
    parts = [x[:, :, i * size : (i + 1) * size].reshape(tokens, -1, HEAD_SIZE).transpose(0, 1) for i in range(3)]
    return parts[0], parts[1], parts[2]
