"""Commands as a reader types them, in a folder of theirs."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path


def run(command: str, folder: Path) -> None:
    words = shlex.split(command)
    program = {
        "edgeslim": [sys.executable, "-m", "edgeslim"],
        "torchrun": [sys.executable, "-m", "torch.distributed.run"],
    }
    done = subprocess.run(
        [*program[words[0]], *words[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, f"{command}\nexit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
