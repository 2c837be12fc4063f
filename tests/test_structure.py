"""The house plan: imports go one way, the foundation is light, and the public names exist."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import edgeslim

PACKAGE = Path(edgeslim.__file__).parent

# room → rooms it may import (itself is always allowed); `errors`, `files` and `registry` are rooms of one file
ALLOWED = {
    "errors": set(),
    "files": {"errors"},
    "registry": {"errors"},
    "core": {"errors", "files"},
    "press": {"core", "errors", "files"},
    "host": {"core", "errors", "files"},
    "models": {"core", "errors", "files", "registry"},
    "data": {"core", "errors", "files", "host", "registry"},
    "tasks": {"core", "data", "errors", "files", "models", "registry"},
    "training": {"core", "data", "errors", "files", "models", "tasks"},
    "targets": {"core", "errors", "files", "host", "registry"},
    "deploy": {"core", "data", "errors", "files", "host", "models", "press", "registry", "targets", "tasks"},
    "benchmark": {"core", "errors", "files", "host", "registry", "targets"},
    "testing": {"core", "deploy", "errors", "models", "targets"},
    "runtime": {"core", "errors", "files", "host", "targets"},
    "simulation": {"core", "errors", "files", "host"},
    "verbs": {
        "benchmark", "core", "data", "deploy", "errors", "files", "host", "models", "press", "registry", "runtime",
        "simulation", "targets", "tasks", "training",
    },
    "demo": {"core", "errors", "files", "targets"},
}  # fmt: skip
ALLOWED["cli"] = set(ALLOWED)

# what Kotlin and Swift mirror may lean on; every entry has an everyday counterpart in both
CORE_IMPORTS = {
    "__future__", "collections", "contextlib", "dataclasses", "enum", "functools", "hashlib", "io", "itertools", "json",
    "math", "mmap", "os", "pathlib", "re", "types", "typing", "zlib",
    "concurrent",
    "numpy",
}  # fmt: skip


def imported_modules(path: Path) -> set[str]:
    """Every edgeslim module that ``path`` imports, anywhere in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "edgeslim"}


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (parts[1] in ALLOWED) else None


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_imports_go_one_way(room: str) -> None:
    alone = PACKAGE / f"{room}.py"
    files = [alone] if alone.exists() else sorted((PACKAGE / room).rglob("*.py"))
    assert files
    for path in files:
        rooms = {room_of(module) for module in imported_modules(path)} - {None, room}
        assert rooms <= ALLOWED[room], f"{path.relative_to(PACKAGE)} imports {rooms - ALLOWED[room]}"


def test_every_file_has_a_room() -> None:
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert there - {"__init__", "__main__"} == set(ALLOWED)


def test_the_core_leans_on_little() -> None:
    for path in sorted((PACKAGE / "core").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            heads = {name.split(".")[0] for name in names} - {"edgeslim"}
            assert heads <= CORE_IMPORTS, f"{path.name} imports {heads - CORE_IMPORTS}"


def test_no_circle_between_files() -> None:
    modules = {
        ".".join(("edgeslim", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        found: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):  # imports inside functions too
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:  # a submodule, or a name of the module itself
                    submodule = f"{node.module}.{alias.name}"
                    found.add(submodule if submodule in modules else node.module)
        graph[name] = {other for other in found if other in modules and other != name}

    graph["edgeslim"] = set()  # the public names: for type checkers there, loaded on first use

    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail, name))
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*trail, name))
            done.add(name)

    for name in sorted(modules):
        visit(name, ())


def modules_loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(' '.join(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in out.stdout.split()}


HEAVY = {"torch", "torchvision", "executorch", "coremltools", "litert_torch", "matplotlib", "sklearn", "jax"}


def test_core_and_the_package_load_no_torch() -> None:
    core = ", ".join(
        "edgeslim.core." + path.stem for path in sorted((PACKAGE / "core").glob("*.py")) if path.stem != "__init__"
    )
    assert not modules_loaded_by(f"import edgeslim, {core}") & HEAVY


def test_the_command_line_loads_no_torch_for_help() -> None:
    assert not modules_loaded_by("from edgeslim.cli.main import main\nmain(['--help'])") & HEAVY


def test_public_names_resolve() -> None:
    for name in edgeslim.__all__:
        assert getattr(edgeslim, name) is not None


def test_no_room_of_leftovers() -> None:
    names = {path.stem for path in PACKAGE.rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "misc", "common"}
