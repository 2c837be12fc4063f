"""What may happen to sessions: SIGKILL, crashes while loading, damaged files, a vanished cache, a full disk."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pretend import (
    TIMES_US,
    PretendTarget,
    SimulatedClock,
    expected_answers,
    image,
    permille_of,
    pretend_bundle,
    table_of,
)

from edgeslim.core.reasons import sentence
from edgeslim.core.signals import Signals
from edgeslim.errors import HostError, OutputError
from edgeslim.runtime.own_folder import NAME
from edgeslim.runtime.session import SlimSession

LIVE = """
import random, shutil, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from pretend import PretendTarget, SimulatedClock, image, table_of
from edgeslim.core.signals import Signals
from edgeslim.runtime.session import SlimSession
bundle, cache = Path(sys.argv[1]), Path(sys.argv[2])
table = table_of(bundle)
faults = {faults}
print("go", flush=True)
while True:
    clock = SimulatedClock()
    target = PretendTarget(clock=clock, load_faults=faults)
    signals = Signals()
    with SlimSession(bundle, target, table, cache_dir=cache, budget_ms=40, readings=lambda: signals,
                     clock_us=clock) as session:
        for _ in range(30):
            signals = Signals(status=random.randrange(5))
            session.run(image())
            clock.advance(33_000)
    shutil.rmtree(cache / "edgeslim-session/artifacts", ignore_errors=True)
"""


def live(bundle: Path, cache: Path, faults: str = "{}") -> subprocess.Popen[bytes]:
    code = LIVE.format(tests=str(Path(__file__).parent), faults=faults)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(bundle), str(cache)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return pretend_bundle(tmp_path / "b.slim")


def open_session(bundle: Path, cache: Path, target: PretendTarget, **options: Any) -> SlimSession:
    target.clock = target.clock or SimulatedClock()
    options.setdefault("readings", None)
    return SlimSession(
        bundle, target, table_of(bundle), cache_dir=cache, budget_ms=40, clock_us=target.clock, **options
    )


def clock_of(target: PretendTarget) -> SimulatedClock:
    assert target.clock is not None
    return target.clock


def run_frames(session: SlimSession, target: PretendTarget, count: int) -> None:
    for _ in range(count):
        session.run(image())
        clock_of(target).advance(33_000)
        with session._gate.opened():
            while not session._pool.idle():
                time.sleep(0.0002)


def leftovers(cache: Path) -> list[str]:
    """Unfinished artifacts, and markers of loads that are not going on."""
    hidden = [str(path) for path in (cache / NAME / "artifacts").glob(".*")]
    return hidden + [str(path) for path in (cache / NAME / "loading").glob("*")]


def test_killed_at_any_moment(bundle: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    rng = random.Random(5)
    running = [live(bundle, cache) for _ in range(2)]
    for _ in range(4):
        for process in running:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == b"go\n", process.stderr.read().decode()
        time.sleep(rng.uniform(0, 0.3))
        for process in running:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        running = [live(bundle, cache) for _ in range(2)]
    for process in running:
        process.kill()
        process.communicate()
    answers = expected_answers(bundle, tmp_path)
    target = PretendTarget()
    with open_session(bundle, cache, target) as session:
        for _ in range(50):
            result = session.run(image())
            np.testing.assert_array_equal(result.output, answers[permille_of(result)])
            clock_of(target).advance(33_000)
    for plan in session._opened.deployment.plans.values():
        shutil.rmtree(cache / NAME / "artifacts" / plan.key, ignore_errors=True)
    with open_session(bundle, cache, PretendTarget()):
        pass  # builds, and sweeps while it does
    assert leftovers(cache) == []


def die_while_loading(bundle: Path, cache: Path, permille: int, fault: str) -> None:
    process = live(bundle, cache, faults=repr({permille: fault}))
    process.communicate(timeout=30)
    assert process.returncode == {"crash": -signal.SIGSEGV, "kill": -signal.SIGKILL}[fault]


def test_a_width_that_crashed_twice_while_loading_is_left_out(bundle: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    die_while_loading(bundle, cache, 750, "crash")
    with open_session(bundle, cache, PretendTarget(load_faults={750: "raise"})) as session:
        assert not [event for event in session.events if event.kind == "left-out"], "once is forgiven"
    die_while_loading(bundle, cache, 750, "crash")
    target = PretendTarget(load_faults={750: "crash"})  # would take this process down
    with open_session(bundle, cache, target) as session:
        run_frames(session, target, 60)
        assert session.ladder.labels == ("0.25x", "0.5x", "1.0x")
        (dropped,) = session.ladder.dropped
        assert sentence(dropped.reason) == "loading it has crashed a process 2 times lately"
        assert [event.label for event in session.events if event.kind == "left-out"] == ["0.75x"]


def test_a_kill_is_no_crash_of_a_width(bundle: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for _ in range(3):
        die_while_loading(bundle, cache, 750, "kill")
    with open_session(bundle, cache, PretendTarget()) as session:
        assert "0.75x" in session.ladder.labels
        assert not [event for event in session.events if event.kind == "left-out"]


def test_the_narrowest_is_never_left_out(bundle: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    target = PretendTarget()
    with open_session(bundle, cache, target) as session:
        keys = [plan.key for plan in session._opened.deployment.plans.values()]
    (cache / NAME / "crashes").mkdir()
    for key in keys:
        (cache / NAME / "crashes" / f"{key}.json").write_text(f'{{"count": 9, "last_s": {int(time.time())}}}')
    with open_session(bundle, cache, target) as session:
        assert session.run(image()).label == "0.25x"
        assert session.ladder.labels == ("0.25x",)


@pytest.mark.parametrize("mapped", [False, True], ids=["read", "mapped"])
def test_files_written_into_under_a_running_session(bundle: Path, tmp_path: Path, mapped: bool) -> None:
    """Only right answers (a mapped file: from the fourth frame on, files are looked at that often)."""
    cache = tmp_path / "cache"
    answers = expected_answers(bundle, tmp_path)
    target = PretendTarget(mapped=mapped)
    rng = random.Random(1)
    heat = Signals()
    with open_session(bundle, cache, target, readings=lambda: heat) as session:
        for frame in range(300):
            heat = Signals(status=rng.randrange(5))
            if frame % 5 == 0:
                for file in (cache / NAME / "artifacts").glob("[0-9a-f]*/model.bin"):
                    if rng.random() < 0.5:
                        damage(file, rng)
            result = session.run(image())
            if not mapped or frame % 5 == 4:
                np.testing.assert_array_equal(result.output, answers[permille_of(result)])
            clock_of(target).advance(33_000)
    assert "repaired" in {event.kind for event in session.events}


def damage(file: Path, rng: random.Random) -> None:
    """Flip a byte, in place (if the file is not just being replaced)."""
    with contextlib.suppress(FileNotFoundError):
        file.chmod(0o644)
        flip(file, rng)


def flip(file: Path, rng: random.Random) -> None:
    with file.open("r+b") as stream:
        position = rng.randrange(os.fstat(stream.fileno()).st_size)
        stream.seek(position)
        (byte,) = stream.read(1)
        stream.seek(position)
        stream.write(bytes([byte ^ 0xFF]))


def test_the_cache_vanishes(bundle: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    answers = expected_answers(bundle, tmp_path)
    target = PretendTarget(mapped=True)
    heat = Signals()
    with open_session(bundle, cache, target, readings=lambda: heat) as session:
        for turn in range(20):
            shutil.rmtree(cache, ignore_errors=True)
            heat = Signals(status=turn % 5)
            run_frames(session, target, 3)
            result = session.run(image())
            np.testing.assert_array_equal(result.output, answers[permille_of(result)])
    assert {event.kind for event in session.events} <= {"loaded"}


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_keeps_the_widths_it_has_and_says_so(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = PretendTarget()
    heat = Signals()
    with open_session(bundle, tmp_path / "cache", target, readings=lambda: heat) as session:
        run_frames(session, target, 40)
        have = session.loaded
        assert len(have) == 2
        monkeypatch.setattr("edgeslim.files.os.fsync", no_space)
        heat = Signals(status=4)
        run_frames(session, target, 20)
        result = session.run(image())
        assert result.decision.label == "0.25x"
        assert result.artifact == have[0], "the narrowest of those that are loaded"
        messages = [event.message for event in session.events if event.kind == "cache"]
        assert len(messages) == 1
        assert "no space" in messages[0]
        assert str(tmp_path / "cache") in messages[0]
        assert len(session.ladder.rungs) == 4, "the width comes back when there is space"
        monkeypatch.undo()
        session._pool._retry_at.clear()
        run_frames(session, target, 5)
        assert session.run(image()).label == "0.25x"


def test_nothing_loaded_and_nowhere_to_write(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeslim.files.os.fsync", no_space)
    with pytest.raises(OutputError, match="no space"):
        open_session(bundle, tmp_path / "cache", PretendTarget())


def test_a_cache_folder_that_cannot_be_written_gives_way_to_a_temporary_one(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    target = PretendTarget()
    with open_session(bundle, tmp_path / "file" / "cache", target) as session:
        run_frames(session, target, 10)
    assert list((tmp_path / "tmp").glob(f"edgeslim-*/{NAME}/artifacts/*"))


def test_a_damaged_bundle_costs_only_the_widths_it_touches(bundle: Path, tmp_path: Path) -> None:
    data = bytearray(bundle.read_bytes())
    with SlimSession(
        bundle, PretendTarget(clock=SimulatedClock()), table_of(bundle), cache_dir=tmp_path / "c", readings=None
    ) as s:
        entry = s.bundle.header.tensors["master/layer.weight"]
        start = s.bundle.header.data_start + entry.end - 4  # the last weight: only 1.0x uses it
    table = table_of(bundle)
    data[start : start + 4] = b"\x00\x00\x00\x41"
    bundle.unlink()
    bundle.write_bytes(data)
    target = PretendTarget(clock=SimulatedClock())
    with SlimSession(
        bundle, target, table, cache_dir=tmp_path / "cache", readings=None, clock_us=clock_of(target), budget_ms=100
    ) as session:
        assert session.run(image()).label == "0.75x"
        (dropped,) = session.ladder.dropped
        assert "hash-mismatch" in sentence(dropped.reason)


def test_every_width_is_tried_when_they_fail_one_after_another_in_one_frame(bundle: Path, tmp_path: Path) -> None:
    target = PretendTarget()
    with open_session(bundle, tmp_path / "cache", target) as session:
        target.run_faults = {permille: "raise" for permille in TIMES_US if permille != 250}
        target.load_faults = {500: "raise"}
        assert session.run(image()).label == "0.25x"
        target.run_faults[250] = "raise"
        with pytest.raises(HostError, match="failed while running"):
            session.run(image())


@pytest.mark.parametrize("opened_by", ["path", "app"])
def test_a_bundle_that_is_cut_short_costs_only_what_is_not_rebuilt_yet(
    bundle: Path, tmp_path: Path, opened_by: str
) -> None:
    """Where it is mapped, touching what is gone would end the process (SIGBUS)."""
    code = f"""
import os, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pretend import PretendTarget, SimulatedClock, image, table_of
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.signals import Signals
from edgeslim.runtime.session import SlimSession
path, cache = Path(sys.argv[1]), Path(sys.argv[2])
clock, heat = SimulatedClock(), Signals(status=4)
table = table_of(path)
bundle = path if {opened_by == "path"} else SlimBundle.open(path)
target = PretendTarget(clock=clock)
with SlimSession(bundle, target, table, cache_dir=cache, budget_ms=40, readings=lambda: heat, clock_us=clock,
                 max_loaded=1) as session:
    print(session.run(image()).label)
    os.truncate(path, 100)
    heat = Signals(status=0)
    for _ in range(600):
        session.run(image())
        clock.advance(33_000)
        with session._gate.opened():
            while not session._pool.idle():
                pass
    print([label for label in session.ladder.labels])
    print(session.ladder.dropped[0].reason.params["why"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(bundle), str(tmp_path / "cache")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    first, widths, reason = done.stdout.splitlines()
    assert first == "0.25x"
    assert "'0.25x'" in widths
    assert "'0.5x'" not in widths
    assert "when it was opened, now 100" in reason


def test_a_bundle_that_is_replaced_by_a_rename_goes_on_as_it_was(bundle: Path, tmp_path: Path) -> None:
    answers = expected_answers(bundle, tmp_path)
    other = pretend_bundle(tmp_path / "other.slim", channels=32)
    target = PretendTarget()
    with open_session(bundle, tmp_path / "cache", target) as session:
        os.replace(other, bundle)
        run_frames(session, target, 100)
        result = session.run(image())
        assert result.label == "1.0x"
        np.testing.assert_array_equal(result.output, answers[1000])
        assert len(session.ladder.rungs) == 4
