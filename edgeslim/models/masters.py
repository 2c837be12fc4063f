"""What a net's parameters are cut from: one master tensor each, and how every axis of it is cut.

    masters_of(model) ─► (MasterSpec, …)      every parameter that deploys, by its key in the state dict
    spec.parts(net)   ─► ((16, 16), (3,), …)  per axis, how many are kept of every part: always its first

At the widest net the parts are the master itself; at any other they are the cut.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgeslim.errors import ModelError
from edgeslim.models.channels import Channels
from edgeslim.models.selection import Net

Axes = tuple[Channels | int, ...]
"""For every axis of a tensor the channels that lie along it, or its length where nothing is cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterSpec:
    """One parameter or buffer at its widest.

    ``name``: its key in the state dict. ``role``: ``weight`` (of a convolution or linear layer) takes the scales of a
    neighbouring BatchNorm, a ``tensor`` is cut and never scaled. ``rows``: of a weight, the axis that output scales run
    along (1 for a transposed convolution). ``groups``: of a weight; an input scale belongs to a group's columns. A
    depthwise weight has as many as channels, and a net that keeps fewer channels keeps fewer groups.
    """

    name: str
    role: Literal["weight", "tensor"]
    axes: Axes
    rows: int | None = None
    groups: int = 1

    def parts(self, net: Net) -> tuple[tuple[int, ...], ...]:
        """Per axis, how many are there of every part in ``net``."""
        return tuple((axis,) if isinstance(axis, int) else axis.parts_at(net) for axis in self.axes)


class Sliced(nn.Module):
    """A module that says of every parameter of its own how nets cut it."""

    def own_masters(self) -> tuple[MasterSpec, ...]:
        """One spec per own parameter, named as it is named here."""
        raise NotImplementedError

    def deployed(self) -> bool:
        """Whether its parameters stand in deployed nets as they are (a BatchNorm's are folded into numbers)."""
        return True


def masters_of(model: nn.Module) -> tuple[MasterSpec, ...]:
    """A master for every parameter and persistent buffer of ``model`` that deploys, in the order of the state dict.

    A plain module's parameters are never cut; BatchNorms have none, as what deploys of them differs from net to net.

    Raises:
        ModelError: names the first parameter that no net could be cut from.
    """
    found: list[MasterSpec] = []
    for prefix, module in model.named_modules():
        dot = f"{prefix}." if prefix else ""
        if isinstance(module, Sliced):
            if module.deployed():
                found += [replace(spec, name=dot + spec.name) for spec in _complete(module, dot)]
        elif isinstance(module, _BatchNorm) and module.track_running_stats:
            raise ModelError(
                f"{prefix} is a plain BatchNorm: its statistics would be those of one width",
                hint="take the builder's conv_norm or norm, which keep statistics for every net",
            )
        else:
            found += [_plain(module, name, dot, tensor) for name, tensor in _own_tensors(module)]
    return tuple(found)


def _own_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and persistent buffers of ``module`` itself."""
    kept = {**module._parameters, **module._buffers}
    for name, tensor in kept.items():
        if tensor is not None and name not in module._non_persistent_buffers_set:
            yield name, tensor


def _complete(module: Sliced, dot: str) -> tuple[MasterSpec, ...]:
    """The masters of one layer, after a look at whether they are all there and as large as the parameters."""
    specs = {spec.name: spec for spec in module.own_masters()}
    for name, tensor in _own_tensors(module):
        if name not in specs:
            raise ModelError(f"{dot}{name} has no master: {type(module).__name__} does not say how nets cut it")
        if len(specs[name].axes) != tensor.dim():
            raise ModelError(f"{dot}{name} has {tensor.dim()} axes, its master {len(specs[name].axes)}")
    return tuple(specs.values())


def _plain(module: nn.Module, name: str, dot: str, tensor: Tensor) -> MasterSpec:
    weight = name == "weight" and isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
    return MasterSpec(
        name=dot + name,
        role="weight" if weight else "tensor",
        axes=tuple(tensor.shape) or (1,),  # one number alone is a row of one
        rows=None if not weight else int(isinstance(module, nn.ConvTranspose2d)),
        groups=module.groups if weight and isinstance(module, nn.Conv2d | nn.ConvTranspose2d) else 1,
    )


def cut(tensor: Tensor, full: tuple[tuple[int, ...], ...], kept: tuple[tuple[int, ...], ...]) -> Tensor:
    """The first ``kept`` of every ``full`` part along every axis: a view where each axis has one part, else a copy."""
    for axis, (whole, first) in enumerate(zip(full, kept, strict=True)):
        if whole == first:
            continue
        if len(whole) == 1:
            tensor = tensor.narrow(axis, 0, first[0])
            continue
        starts = itertools.accumulate(whole, initial=0)
        tensor = torch.cat([tensor.narrow(axis, start, n) for start, n in zip(starts, first, strict=False)], axis)
    return tensor
