"""profiling/soak.py in seconds, and in minutes."""

from __future__ import annotations

from pathlib import Path

import pytest
import soak

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory and descriptors are read from /proc, which is not here"
)


def test_seconds_of_trouble(tmp_path: Path) -> None:
    (tmp_path / "soak").mkdir()
    document = soak.soak(tmp_path / "soak", frames=9_000)
    assert list(soak.faults(document)) == []
    assert document["frames"] == 9_000
    assert sum(document["trouble"].values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_an_hour_of_simulated_frames(tmp_path: Path, seed: int) -> None:
    (tmp_path / "soak").mkdir()
    document = soak.soak(tmp_path / "soak", seed=100 + seed)
    assert list(soak.faults(document)) == []
    assert document["frames"] == soak.HOUR_FRAMES
    assert document["kills"] > 0
