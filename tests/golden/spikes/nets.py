"""The spikes' nets: a few channels each, random masters and folds, operations in torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from arithmetic import fold
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
        self.masters.append(
            Master(
                name=name,
                role=role,
                values=self.normal(shape, deviation),
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
