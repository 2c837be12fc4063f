"""The Python in docs/api.md runs from top to bottom, and the page names everything that ``edgeslim`` itself has."""

from __future__ import annotations

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
