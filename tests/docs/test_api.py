"""The Python in docs/api.md runs from top to bottom, type checkers are content with it, and it names everything that
``edgeslim`` itself has."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgeslim

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"


def program() -> str:
    """All Python blocks of the page, one after another."""
    return "".join(re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))


@pytest.mark.slow
def test_the_page_runs(world: Path, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    shutil.copytree(world, folder)
    script = folder / "page.py"
    script.write_text(f"if __name__ == '__main__':\n    exec({program()!r})\n", encoding="utf-8")  # workers import it
    done = subprocess.run([sys.executable, script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def test_every_public_name_is_on_it() -> None:
    used = set(re.findall(r"\w+", program()))
    assert set(edgeslim.__all__) - {"__version__"} <= used


def test_the_page_is_a_script_that_mypy_takes(tmp_path: Path) -> None:
    """As somebody's own project sees the installed package: ``py.typed``, no plug-in, no setting but ``--strict``."""
    script = tmp_path / "page.py"
    reveal = "".join(f"reveal_type(edgeslim.{name})\n" for name in edgeslim.__all__)
    script.write_text(f"{program()}\n{reveal}", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", tmp_path / "cache", script],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(PAGE.parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert [line for line in lines if ": error: " in line and line.startswith("page.py")] == []
    revealed = [line.split("Revealed type is ")[1] for line in lines if "Revealed type is " in line]
    assert len(revealed) == len(edgeslim.__all__)
    assert not [text for text in revealed if text == '"Any"']


def test_type_checkers_and_programs_see_the_same_names() -> None:
    tree = ast.parse(Path(edgeslim.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == edgeslim._HOME
