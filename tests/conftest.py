"""Fixtures of the whole house."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# One thread per process, here and in every process a test starts: the runner already uses all cores, and OpenMP
# threads that wait for each other on a busy machine are many times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def cifar_zip() -> Path:
    """A zip of real 32 px JPEG images in ``train/<class>/`` and ``test/<class>/`` folders, where there is one."""
    path = Path(os.environ.get("EDGESLIM_TEST_IMAGES", _ROOT.parent / "shared" / "data" / "cifar10-jpeg.zip"))
    if not path.is_file():
        pytest.skip(
            "no image archive here: set EDGESLIM_TEST_IMAGES to a zip of train/<class>/*.jpg, test/<class>/*.jpg"
        )
    return path


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line on what this run did not prove, and why."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = sorted({report.longrepr[2].removeprefix("Skipped: ") for report in skipped if report.longrepr})
    slow = "slow" if "not slow" in terminalreporter.config.getoption("markexpr", "") else ""
    parts = [f"{len(skipped)} skipped ({'; '.join(reasons)})"] if skipped else ["nothing skipped"]
    if slow:
        parts.append("slow tests left to `make test-all`")
    terminalreporter.write_line(f"not proved by this run: {', '.join(parts)}")
