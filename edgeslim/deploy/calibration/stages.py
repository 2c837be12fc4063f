"""How a network is walked from BatchNorm to BatchNorm.

    nn.Module ─► graph.symbolic (in-place operations undone) ─► probe (bytes per image of every value) ─► stages

The statistics of a BatchNorm are final only after all images have passed everything before it, so the graph is cut
into stages: stage k has the moments taken of every BatchNorm with k BatchNorms on the longest way before it. Branches
need no care: the BatchNorm of a residual shortcut and the one beside it in the body fall into the same stage, one
behind a concatenation waits for all branches. Within a stage only what its BatchNorms need is computed; a value that
a later stage reads is held for it, unless it is named in ``again``: then the later stage computes it once more.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgeslim.errors import ModelError
from edgeslim.models.graph import symbolic
from edgeslim.models.shell import Shell

_OUT_OF_PLACE: dict[Any, Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stage:
    """What happens to each chunk of images between two barriers."""

    targets: tuple[tuple[str, fx.Node], ...]  # BatchNorm's module name, the value whose moments it needs
    load: tuple[fx.Node, ...]  # values held by an earlier stage
    release: frozenset[fx.Node]  # those of `load` that no later stage reads
    run: tuple[fx.Node, ...]  # computed here, in this order
    hold: frozenset[fx.Node]  # those of `run` that a later stage loads
    drop_after: dict[fx.Node, tuple[fx.Node, ...]]  # values that this stage does not read after a node of `run`

    def working_bytes(self, sizes: dict[fx.Node, int]) -> int:
        """Most bytes that are alive at once for one image, held values of other chunks aside."""
        alive = sum(sizes[node] for node in self.load)
        most = alive
        for node in self.run:
            alive += sizes.get(node, 0)
            most = max(most, alive)
            alive -= sum(sizes.get(done, 0) for done in self.drop_after.get(node, ()))
        return most


class TracedNet:
    """A private fp32 eval-mode copy of ``net`` as a graph.

    Raises:
        ModelError: the network cannot be traced, or a BatchNorm is called twice or never.
    """

    def __init__(self, net: nn.Module, device: torch.device) -> None:
        self.module = _private_copy(net.network if isinstance(net, Shell) else net, device)
        graph = symbolic(self.module)
        _undo_in_place(self.module, graph)
        self.nodes: tuple[fx.Node, ...] = tuple(graph.nodes)
        self._called = {
            node: self.module.get_submodule(str(node.target)) for node in self.nodes if node.op == "call_module"
        }
        inputs = [node for node in self.nodes if node.op == "placeholder"]
        if len(inputs) != 1:
            raise ModelError(f"a network with one input is expected, this one has {len(inputs)}")
        self.input = inputs[0]
        self.norms: dict[fx.Node, str] = {
            node: str(node.target) for node in self.nodes if isinstance(self.called(node), _BatchNorm)
        }
        self._check_norms()
        # ReLU after a BatchNorm may overwrite: that value is fresh and nothing else reads it.
        self.overwriting = frozenset(
            node
            for node in self.nodes
            if hasattr(self.called(node), "inplace")
            and (before := node.all_input_nodes[0]) in self.norms
            and len(before.users) == 1
        )

    def called(self, node: fx.Node) -> nn.Module | None:
        """The module that ``node`` calls, if it calls one."""
        return self._called.get(node)

    def norm(self, node: fx.Node) -> _BatchNorm:
        return cast(_BatchNorm, self.called(node))

    def _check_norms(self) -> None:
        called = list(self.norms.values())
        for name, module in self.module.named_modules():
            if isinstance(module, _BatchNorm) and called.count(name) != 1:
                raise ModelError(f"BatchNorm {name!r} is called {called.count(name)} times in a forward, expected once")
        for node in self.nodes:
            if node.op == "call_function" and "batch_norm" in getattr(node.target, "__name__", ""):
                raise ModelError(f"{node.name!r} calls batch_norm as a function; use a BatchNorm module")

    def evaluate(
        self, node: fx.Node, values: dict[fx.Node, Any], normalise: Callable[[fx.Node, Tensor], Tensor]
    ) -> Any:
        """The value of one node; ``normalise`` stands in for the BatchNorm modules."""
        if node.op == "get_attr":
            return operator.attrgetter(str(node.target))(self.module)
        args = fx.node.map_arg(node.args, lambda argument: values[argument])
        kwargs = fx.node.map_arg(node.kwargs, lambda argument: values[argument])
        if node in self.norms:
            return normalise(node, cast(tuple[Tensor, ...], args)[0])
        if node.op == "call_module":
            module = self.called(node)
            assert module is not None
            if hasattr(module, "inplace"):
                setattr(module, "inplace", node in self.overwriting)  # noqa: B010  (its type is not nn.Module's)
            return module(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        assert callable(node.target)
        return node.target(*args, **kwargs)

    def probe(self, image: Tensor) -> dict[fx.Node, int]:
        """Bytes per image of every value that has images along its first dimension; ``image`` is [1, C, H, W].

        Shapes and other numbers (``x.size(0)``) are not in the result: they are computed wherever they are read.
        """
        values: dict[fx.Node, Any] = {self.input: torch.cat([image, image])}
        last_use = _last_uses(self.nodes)
        sizes: dict[fx.Node, int] = {}
        for node in self.nodes:
            if node.op == "output":
                break
            if node is not self.input:
                values[node] = self.evaluate(node, values, lambda norm, x: x)
            value = values[node]
            if node.op != "get_attr" and isinstance(value, Tensor) and value.dim() and value.shape[0] == 2:
                sizes[node] = value.nbytes // 2
            for done in last_use.get(node, ()):
                del values[done]
        return sizes

    def stages(self, sizes: dict[fx.Node, int], again: Set[fx.Node] = frozenset()) -> list[Stage]:
        """The stages of a pass; ``sizes`` from ``probe``, values in ``again`` are computed anew by every stage."""
        targets = self._targets()
        order = {node: index for index, node in enumerate(self.nodes)}
        made: set[fx.Node] = set()
        runs: list[list[fx.Node]] = []
        loads: list[set[fx.Node]] = []
        for wanted in targets:
            run, load = _closure([node for _, node in wanted], made)
            runs.append(sorted(run, key=order.__getitem__))
            loads.append(load)
            made |= {node for node in run if node in sizes and node not in again}
        result = []
        for k, wanted in enumerate(targets):
            later = set().union(*loads[k + 1 :])
            result.append(
                Stage(
                    targets=tuple(wanted),
                    load=tuple(sorted(loads[k], key=order.__getitem__)),
                    release=frozenset(loads[k] - later),
                    run=tuple(runs[k]),
                    hold=frozenset(later & set(runs[k])),
                    drop_after=_last_uses(runs[k]),
                )
            )
        return result

    def _targets(self) -> list[list[tuple[str, fx.Node]]]:
        """For every stage, the BatchNorms whose moments it takes and the values they are taken of."""
        depth: dict[fx.Node, int] = {}
        stages: list[list[tuple[str, fx.Node]]] = []
        for node in self.nodes:
            depth[node] = max((depth[before] for before in node.all_input_nodes), default=0)
            if node in self.norms:
                if depth[node] == len(stages):
                    stages.append([])
                stages[depth[node]].append((self.norms[node], node.all_input_nodes[0]))
                depth[node] += 1
        return stages


def _private_copy(net: nn.Module, device: torch.device) -> nn.Module:
    """A copy in evaluation mode and fp32 on ``device``; tensors that are so already are shared, not copied."""
    tensors = (*net.parameters(), *net.buffers())
    fits = all(tensor.device == device and tensor.dtype in (torch.float32, torch.int64) for tensor in tensors)
    twin = _with_shared_tensors(net, {}) if fits else copy.deepcopy(net).to(device=device, dtype=torch.float32)
    return twin.eval()


def _with_shared_tensors(module: nn.Module, known: dict[nn.Module, nn.Module]) -> nn.Module:
    """New modules around the same tensors; ``copy.deepcopy`` would take as long as running a small net."""
    if module not in known:
        twin = known[module] = module.__new__(type(module))
        twin.__dict__.update(module.__dict__)
        children = {
            name: None if child is None else _with_shared_tensors(child, known)
            for name, child in module._modules.items()
        }
        own = {"_parameters": dict(module._parameters), "_buffers": dict(module._buffers), "_modules": children}
        twin.__dict__.update(own)
    return known[module]


def _closure(wanted: Iterable[fx.Node], made: Set[fx.Node]) -> tuple[set[fx.Node], set[fx.Node]]:
    """What has to be computed for ``wanted``, and what of ``made`` is read for it."""
    run: set[fx.Node] = set()
    load: set[fx.Node] = set()
    open_nodes = list(wanted)
    while open_nodes:
        node = open_nodes.pop()
        if node in made:
            load.add(node)
        elif node not in run:
            run.add(node)
            open_nodes.extend(node.all_input_nodes)
    return run, load


def _last_uses(run: Iterable[fx.Node]) -> dict[fx.Node, tuple[fx.Node, ...]]:
    """For every node of ``run``, the values that nothing after it reads (itself, if nothing reads it at all)."""
    last: dict[fx.Node, fx.Node] = {}
    for node in run:
        last[node] = node
        for before in node.all_input_nodes:
            last[before] = node
    result: dict[fx.Node, tuple[fx.Node, ...]] = {}
    for value, node in last.items():
        result[node] = (*result.get(node, ()), value)
    return result


def _undo_in_place(module: nn.Module, graph: fx.Graph) -> None:
    """Rewrite in-place operations as ordinary ones, so that a value never changes after it was computed.

    What reads the overwritten value afterwards reads the result instead, as it would have.
    """
    order = {node: index for index, node in enumerate(graph.nodes)}
    for node in order:
        if not node.all_input_nodes or not _make_out_of_place(module, node):
            continue
        overwritten = node.all_input_nodes[0]
        overwritten.replace_all_uses_with(node, delete_user_cb=lambda user, node=node: order[user] > order[node])


def _make_out_of_place(module: nn.Module, node: fx.Node) -> bool:
    """Whether ``node`` worked in place (and does no more)."""
    if node.op == "call_module":
        return bool(getattr(module.get_submodule(str(node.target)), "inplace", False))  # switched off when it runs
    if node.kwargs.get("inplace"):
        node.kwargs = {**node.kwargs, "inplace": False}
        return True
    if node.op == "call_function" and node.target in _OUT_OF_PLACE:
        node.target = _OUT_OF_PLACE[node.target]
        return True
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    if isinstance(name, str) and name.endswith("_") and not name.endswith("__") and node.op.startswith("call"):
        plain = name.removesuffix("_")
        if node.op == "call_method" and hasattr(Tensor, plain):
            node.target = plain
            return True
        if node.op == "call_function" and hasattr(torch, plain):
            node.target = getattr(torch, plain)
            return True
        raise ModelError(f"{node.name!r} works in place with {name!r}; use the ordinary operation")
    return False
