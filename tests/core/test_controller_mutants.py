"""The golden files bite: of 80 one-line mutants of the step, at least 75 decide something differently.

    controller.py ─► syntax tree ─► every single change, in order of line ─► 80 spread evenly ─► run the golden files

Changes: a comparison's boundary or sense, + and -, * and +, shifts, and/or, min/max, a number plus one, a statement
left out. A mutant dies when one golden step differs or it raises. The step has no open loop: no mutant can hang.
"""

from __future__ import annotations

import ast
import copy
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeslim.core import controller as original
from edgeslim.core.policy import Policy
from edgeslim.core.reading import Reading

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
import make_controller
from controller_scenarios import SCENARIOS

SOURCE = Path(original.__file__).read_text()
METHODS = {
    "step", "_learn", "_level_of", "_feel_heat", "_watch_battery", "_cap", "_affordable", "_decide", "_may_widen",
    "_back_off_latency", "_back_off_heat", "_next_wait", "_leave", "_limits_at",
}  # fmt: skip

COMPARISONS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,),
}  # fmt: skip
OPERATORS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}  # fmt: skip


def changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Every changed form of one node, with a name."""
    if isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            for other in COMPARISONS[type(op)]:
                new = copy.deepcopy(node)
                new.ops[i] = other()
                yield f"{type(op).__name__} → {other.__name__}", new
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in OPERATORS:
        new_op = copy.deepcopy(node)
        new_op.op = OPERATORS[type(node.op)]()
        yield f"{type(node.op).__name__} → {type(new_op.op).__name__}", new_op
    elif isinstance(node, ast.BoolOp):
        other_bool = copy.deepcopy(node)
        other_bool.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield "and ↔ or", other_bool
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield f"without {type(node.op).__name__}", node.operand
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("min", "max"):
        call = copy.deepcopy(node)
        call.func = ast.Name(id="max" if node.func.id == "min" else "min", ctx=ast.Load())
        yield "min ↔ max", call
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield f"{node.value} → {node.value + 1}", ast.Constant(value=node.value + 1)
    if isinstance(node, ast.Assign | ast.AugAssign) and not isinstance(_first(node), ast.Name):
        yield "left out", ast.Pass()
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "left out", ast.Pass()


def _first(node: ast.Assign | ast.AugAssign) -> ast.expr:
    """A plain local name must stay assigned; what is left out is a change of state."""
    return node.targets[0] if isinstance(node, ast.Assign) else node.target


def candidates() -> tuple[ast.Module, list[tuple[str, ast.AST, ast.AST]]]:
    """A fresh tree, and every (name, old node, new node) in order of place."""
    tree = ast.parse(SOURCE)
    methods = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name in METHODS]
    assert {method.name for method in methods} == METHODS
    nodes = [n for method in methods for n in ast.walk(method) if isinstance(n, ast.expr | ast.stmt)]
    nodes.sort(key=lambda node: (node.lineno, node.col_offset, type(node).__name__))
    return tree, [
        (f"line {node.lineno}: {name}: {ast.unparse(node)[:70]}", node, new)
        for node in nodes
        for name, new in changes(node)
    ]


class _Swap(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old, self._new = old, new

    def visit(self, node: ast.AST) -> Any:
        return ast.copy_location(self._new, node) if node is self._old else self.generic_visit(node)


def mutant(index: int) -> tuple[str, types.ModuleType]:
    """The controller with one change, as a module of its own."""
    tree, found = candidates()
    name, old, new = found[index]
    code = compile(ast.fix_missing_locations(_Swap(old, new).visit(tree)), "<mutant>", "exec")
    module = types.ModuleType("edgeslim_controller_mutant")
    sys.modules[module.__name__] = module
    exec(code, module.__dict__)
    return name, module


Case = tuple[Any, Policy, list[tuple[Reading, list[int]]]]


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """Every golden file as (ladder, policy, steps)."""
    found = []
    for scenario in SCENARIOS:
        width = len(make_controller.INPUTS)
        rows = []
        for row in make_controller.steps(scenario):
            fields: dict[str, Any] = dict(zip(make_controller.INPUTS, row[:width], strict=True))
            fields |= {"charging": bool(fields["charging"]), "low_power": bool(fields["low_power"])}
            rows.append((Reading(**fields), row[width:]))
        policy = Policy.from_document(make_controller.policy_document(scenario))
        found.append((make_controller.ladder_of(scenario.rungs), policy, rows))
    return found


def survives(module: types.ModuleType, cases: list[Case]) -> bool:
    """Whether every golden step comes out as before."""
    names = make_controller.STATE
    try:
        for ladder, policy, rows in cases:
            controller = module.WidthController(ladder, policy)
            state = controller.state
            for reading, wanted in rows:
                decision = controller.step(reading)
                if [
                    decision.rung,
                    decision.skip,
                    decision.bits,
                    *(getattr(state, name) for name in names),
                ] != wanted:
                    return False
    except Exception:
        return False
    return True


def survivors(indices: list[int], cases: list[Case]) -> list[str]:
    alive = []
    for index in indices:
        name, module = mutant(index)
        if survives(module, cases):
            alive.append(name)
    return alive


def test_the_unchanged_step_survives(cases: list[Case]) -> None:
    assert survives(original, cases)


def test_80_mutants(cases: list[Case]) -> None:
    count = len(candidates()[1])
    chosen = [i * count // 80 for i in range(80)]
    alive = survivors(chosen, cases)
    print(f"{80 - len(alive)} of 80 mutants die ({count} exist)", *alive, sep="\n  alive: ")
    assert len(alive) <= 5


@pytest.mark.slow
def test_all_mutants(cases: list[Case]) -> None:
    """The same share over every mutant, not only the 80."""
    count = len(candidates()[1])
    alive = survivors(list(range(count)), cases)
    print(f"{count - len(alive)} of {count} mutants die", *alive, sep="\n  alive: ")
    assert len(alive) * 16 <= count
