"""docs/reference.md says what the command line says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from edgeslim.cli.main import VERBS

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_reference_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, DOCS / "make_reference.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stderr}\nrun: python docs/make_reference.py"


def test_every_verb_is_in_it() -> None:
    text = (DOCS / "reference.md").read_text(encoding="utf-8")
    assert [line.split()[-1] for line in text.splitlines() if line.startswith("## ")] == list(VERBS)
