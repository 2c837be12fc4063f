"""profiling/soak.py in seconds, and in minutes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "profiling" / "soak.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    if not Path("/proc/self/status").exists():
        pytest.skip("memory and descriptors are read from /proc, which is not here")
    spec = importlib.util.spec_from_file_location("soak", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["soak"] = module
    spec.loader.exec_module(module)
    return module


def test_seconds_of_trouble(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "soak").mkdir()
    document = script.soak(tmp_path / "soak", frames=9_000)
    assert list(script.faults(document)) == []
    assert document["frames"] == 9_000
    assert sum(document["trouble"].values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_an_hour_of_simulated_frames(script: ModuleType, tmp_path: Path, seed: int) -> None:
    (tmp_path / "soak").mkdir()
    document = script.soak(tmp_path / "soak", seed=100 + seed)
    assert list(script.faults(document)) == []
    assert document["frames"] == script.HOUR_FRAMES
    assert document["kills"] > 0
