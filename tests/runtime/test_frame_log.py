"""A log says everything the controller was told, so that it can be replayed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from pretend import PretendTarget, SimulatedClock, image, pretend_bundle, table_of

from edgeslim.core.bundle import SlimBundle
from edgeslim.core.policy import PRESETS
from edgeslim.core.reading import Reading
from edgeslim.core.signals import Signals
from edgeslim.errors import OutputError
from edgeslim.runtime.deployment import Deployment
from edgeslim.runtime.frame_log import FrameLog
from edgeslim.runtime.session import SlimSession
from edgeslim.runtime.tables import rungs
from edgeslim.simulation.replay import read_log, repeats


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """300 frames with heat, battery and load that come and go."""
    bundle = pretend_bundle(tmp_path / "b.slim")
    clock, rng, signals = SimulatedClock(), random.Random(3), Signals()
    target = PretendTarget(clock=clock)
    path = tmp_path / "frames.jsonl"
    with (
        SlimSession(
            bundle,
            target,
            table_of(bundle),
            cache_dir=tmp_path / "cache",
            budget_ms=40,
            readings=lambda: signals,
            clock_us=clock,
        ) as session,
        FrameLog(path) as log,
    ):
        for frame in range(300):
            if frame % 20 == 0:
                signals = Signals(
                    status=rng.randrange(-1, 2),
                    headroom_milli=rng.randrange(-1, 900),
                    battery_permille=rng.choice([-1, 150, 800]),
                    charging=rng.random() < 0.2,
                )
            target.slowdown = rng.choice([1.0, 1.0, 1.0, 1.9])
            log.add(session.run(image(), overhead_us=rng.randrange(3_000)))
            clock.advance(rng.randrange(40_000))
    return path


def test_a_replay_repeats_every_decision(log: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "b.slim"
    with SlimBundle.open(bundle) as opened:
        ladder = rungs(table_of(bundle), Deployment.of(opened, "pretend"))
    frames = read_log(log)
    assert len(frames) == 300
    assert len({frame.decision.artifact for frame in frames}) > 2
    assert repeats(PRESETS["balanced"], ladder, frames) == 300


def test_every_field_of_a_reading_is_there(log: Path) -> None:
    first = json.loads(log.read_text().splitlines()[0])
    assert set(first["reading"]) == set(Reading.__slots__)
    assert set(first) == {"reading", "decision", "artifact", "latency_us"}


def test_it_does_not_overwrite_unless_told(log: Path) -> None:
    with pytest.raises(OutputError, match="exists"):
        FrameLog(log)
    FrameLog(log, overwrite=True).close()
    assert log.read_text() == ""


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    code = """
import sys
from pathlib import Path
from edgeslim.runtime.frame_log import FrameLog
log = FrameLog(Path("/dev/full"), overwrite=True)
log._lines = ["x"]
log.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "OutputError" in done.stderr
    assert "No space left" in done.stderr
