"""SIGKILL at any moment of pack and merge leaves the old bundle or the new one, and whole kept artifacts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_checkpoint import small_checkpoint

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


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_nothing_stays_in_the_temporary_folder(tmp_path: Path, how: signal.Signals) -> None:
    """SIGTERM is as Ctrl-C; what SIGKILL leaves is removed by the next pack."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    small_checkpoint().save(tmp_path / "net.pt")
    arguments = ["pack", "net.pt", "--target", "reference", "--jobs", "1", "--overwrite", "--quiet"]
    command = [sys.executable, "-m", "edgeslim", *arguments]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as killed:
        while not any(temporary.glob(".edgeslim-pack.*")):
            assert killed.poll() is None
        killed.send_signal(how)
        _, words = killed.communicate()
    assert killed.returncode == (143 if how is signal.SIGTERM else -signal.SIGKILL)
    assert b"Traceback" not in words
    assert bool(list(temporary.glob(".edgeslim-pack.*"))) == (how is signal.SIGKILL)
    assert not (tmp_path / "net.slim").exists()
    if how is signal.SIGKILL:
        subprocess.run(command, cwd=tmp_path, env=environment, check=True)
        assert not list(temporary.glob(".edgeslim-pack.*"))


def _kill(folder: Path, kind: str, count: int) -> None:
    argv = [sys.executable, str(SCRIPT), kind, str(folder), str(count), "11"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["else"], seen["half kept"]) == (0, 0), seen
    assert seen["old"] + seen["new"] == count
    assert min(seen["old"], seen["new"]) >= count // 15, seen  # the moments really fell on both sides
    assert sorted(path.name for path in folder.glob("*.slim")) == ["net.slim"]
