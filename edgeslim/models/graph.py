"""What a plain net computes, as a graph: who reads whose output.

    nn.Module ─► trace ─► Graph of Nodes      modules of torch stay whole, everything around them is followed
                   │
                   ├─ torch.fx, where it can: no numbers are computed, branches of Python code are not allowed
                   └─ else one run with an example, which writes down what happens

Folding, counting and calibration ask this graph; where a module stands in a Sequential means nothing. Own small
dataclasses, so that nothing else depends on which of the two ways was taken.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode

from edgeslim.errors import ModelError
from edgeslim.models.shell import Shell

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Node:
    """One step. ``operation``: of a function or method its plain name (``add``, ``matmul``; in-place forms too), of a
    module its type's name. ``name``: of a module and a parameter their name in the net, else unique. ``inputs``: the
    nodes it reads, in order. ``shape``: of its output, batch included, where an example was given and it is a tensor.
    """

    kind: Literal["input", "module", "function", "parameter", "output"]
    name: str
    operation: str
    inputs: tuple[Node, ...]
    module: nn.Module | None = None
    shape: Shape | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Graph:
    """Nodes in the order they run."""

    nodes: tuple[Node, ...]
    users: Mapping[Node, tuple[Node, ...]]

    def calls(self) -> dict[nn.Module, tuple[Node, ...]]:
        """Where each module is called: more than once where it is shared."""
        found: dict[nn.Module, tuple[Node, ...]] = {}
        for node in self.nodes:
            if node.module is not None:
                found[node.module] = (*found.get(node.module, ()), node)
        return found


def trace(net: nn.Module, example: Tensor | None = None) -> Graph:
    """The graph of ``net``, which stays as it is.

    Args:
        example: an input, on the device of ``net`` (``meta`` is enough); gives the nodes their shapes, and makes nets
            traceable whose Python code looks at values or shapes.

    Raises:
        ModelError: the code branches on data, and there is no example to follow it with.
    """
    network = net.network if isinstance(net, Shell) else net
    try:
        traced = symbolic(network)
    except ModelError:
        if example is None:
            raise
        return _graph(_Recorder(network).run(example))
    return _graph(_from_fx(network, traced, {} if example is None else _shapes(network, traced, example)))


def symbolic(net: nn.Module) -> fx.Graph:
    """``net`` followed by torch.fx, for those who run the graph node by node.

    Raises:
        ModelError: it cannot be followed so.
    """
    network = net.network if isinstance(net, Shell) else net
    try:
        return fx.Tracer().trace(network)  # the graph is enough; a GraphModule would write and compile code
    except Exception as error:  # torch.fx has no error class of its own for untraceable code
        raise ModelError(f"cannot follow the data through this network: {error}") from error


def _graph(nodes: list[Node]) -> Graph:
    users: dict[Node, list[Node]] = {node: [] for node in nodes}
    for node in nodes:
        for read in dict.fromkeys(node.inputs):
            users[read].append(node)
    return Graph(nodes=tuple(nodes), users={node: tuple(found) for node, found in users.items()})


def plain_name(function: Any) -> str:
    """``add`` for ``operator.add``, ``operator.iadd``, ``Tensor.add_`` and ``"add_"``."""
    name = function if isinstance(function, str) else getattr(function, "__name__", type(function).__name__)
    bare = name.strip("_")
    return {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "truediv"}.get(bare, bare)


# -- torch.fx ----------------------------------------------------------------------------------------------------------

_KINDS: dict[str, Literal["input", "module", "function", "parameter", "output"]] = {
    "placeholder": "input",
    "call_module": "module",
    "call_function": "function",
    "call_method": "function",
    "get_attr": "parameter",
    "output": "output",
}


def _from_fx(network: nn.Module, traced: fx.Graph, shapes: Mapping[str, Shape]) -> list[Node]:
    made: dict[fx.Node, Node] = {}
    for node in traced.nodes:
        kind = _KINDS[node.op]
        module = network.get_submodule(str(node.target)) if kind == "module" else None
        made[node] = Node(
            kind=kind,
            name=str(node.target) if kind in ("module", "parameter") else node.name,
            operation=_operation(node, kind, module),
            inputs=tuple(made[read] for read in _arguments(node)),
            module=module,
            shape=shapes.get(node.name),
        )
    return list(made.values())


def _operation(node: fx.Node, kind: str, module: nn.Module | None) -> str:
    if module is not None:
        return type(module).__name__
    return plain_name(node.target) if kind == "function" else kind


def _arguments(node: fx.Node) -> list[fx.Node]:
    """The nodes it reads in the order of its arguments, one that is read twice twice."""
    found: list[fx.Node] = []
    fx.node.map_arg((node.args, node.kwargs), found.append)
    return found


def _shapes(network: nn.Module, traced: fx.Graph, example: Tensor) -> dict[str, Shape]:
    """Output shapes by fx name. In-place modules write into values that nothing reads again here."""
    found: dict[str, Shape] = {}

    class Shapes(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if isinstance(value, Tensor):
                found[n.name] = tuple(value.shape)
            return value

    with torch.no_grad(), _evaluating(network):
        Shapes(network, graph=traced).run(example)
    return found


@contextlib.contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


# -- one run, written down ---------------------------------------------------------------------------------------------


class _Recorder(TorchFunctionMode):
    """Runs a net once and notes every module of torch and every function outside them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._network = network
        self._names = {module: name for name, module in network.named_modules()}
        self._parameters = {id(tensor): name for name, tensor in network.named_parameters()}
        self._parameters |= {id(tensor): name for name, tensor in network.named_buffers()}
        self._nodes: list[Node] = []
        self._made: dict[int, Node] = {}
        self._kept: list[Any] = []  # an id means its object only as long as that lives
        self._inside = 0

    def run(self, example: Tensor) -> list[Node]:
        self._note("input", "input", "input", (), example)
        hooks = []
        for module in self._names:
            if fx.Tracer().is_leaf_module(module, ""):
                hooks.append(module.register_forward_pre_hook(self._enter))
                hooks.append(module.register_forward_hook(self._leave))
        try:
            with torch.no_grad(), _evaluating(self._network), self:
                result = self._network(example)
        finally:
            for hook in hooks:
                hook.remove()
        self._note("output", "output", "output", self._read((result,)), None)
        return self._nodes

    def _enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._inside += 1

    def _leave(self, module: nn.Module, args: tuple[Any, ...], result: Any) -> None:
        self._inside -= 1
        if not self._inside:
            self._note("module", self._names[module], type(module).__name__, self._read(args), result, module)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = plain_name(func)
        if not self._inside and name not in ("get", "set") and any(True for _ in _tensors(result)):
            inputs = self._read((args, tuple((kwargs or {}).values())))
            self._note("function", f"{name}_{len(self._nodes)}", name, inputs, result)
        return result

    def _read(self, values: Any) -> tuple[Node, ...]:
        found = []
        for tensor in _tensors(values):
            if id(tensor) not in self._made and id(tensor) in self._parameters:
                name = self._parameters[id(tensor)]
                self._note("parameter", name, "parameter", (), tensor)
            if id(tensor) in self._made:
                found.append(self._made[id(tensor)])
        return tuple(found)

    def _note(
        self,
        kind: Literal["input", "module", "function", "parameter", "output"],
        name: str,
        operation: str,
        inputs: tuple[Node, ...],
        result: Any,
        module: nn.Module | None = None,
    ) -> None:
        shape = tuple(result.shape) if isinstance(result, Tensor) else None
        node = Node(kind=kind, name=name, operation=operation, inputs=inputs, module=module, shape=shape)
        self._nodes.append(node)
        for tensor in _tensors(result):
            self._kept.append(tensor)
            self._made[id(tensor)] = node


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
