"""SIGKILL at any moment of a rebuild leaves the old artifact or the new one, files and directories alike."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_bundle import builder

KILLS = 200


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
@pytest.mark.parametrize("target", ["executorch", "coreml"])
def test_killed_rebuilds_leave_the_old_or_the_new_artifact(tmp_path: Path, target: str) -> None:
    bundle = tmp_path / "b.slim"
    builder(filler=200_000)[0].write(bundle, overwrite=False)
    script = Path(__file__).with_name("kill_rebuilds.py")
    done = subprocess.run(
        [sys.executable, str(script), str(bundle), target, str(tmp_path), str(KILLS), "7"],
        capture_output=True,
        text=True,
        check=True,
    )
    seen = json.loads(done.stdout)
    assert seen["else"] == 0
    assert seen["old"] + seen["new"] == KILLS
    assert min(seen["old"], seen["new"]) > KILLS // 40, seen  # the moments really fell on both sides
