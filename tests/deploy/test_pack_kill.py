"""SIGKILL at any moment of pack and merge leaves the old bundle or the new one, and whole kept artifacts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("kill_packs.py")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
@pytest.mark.parametrize("kind", ["pack", "merge"])
def test_two_hundred_kills(tmp_path: Path, kind: str) -> None:
    _kill(tmp_path, kind, 200)


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
@pytest.mark.parametrize("kind", ["pack", "merge"])
def test_some_kills(tmp_path: Path, kind: str) -> None:
    _kill(tmp_path, kind, 15)


def _kill(folder: Path, kind: str, count: int) -> None:
    argv = [sys.executable, str(SCRIPT), kind, str(folder), str(count), "11"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["else"], seen["half kept"]) == (0, 0), seen
    assert seen["old"] + seen["new"] == count
    assert min(seen["old"], seen["new"]) >= count // 15, seen  # the moments really fell on both sides
    assert sorted(path.name for path in folder.glob("*.slim")) == ["net.slim"]
