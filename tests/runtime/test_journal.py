"""Widths that crash a process while loading are remembered, and only those."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgeslim.runtime.journal import PAUSES_S, LoadJournal

KEY = "ab" * 32


class Clock:
    now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(tmp_path: Path, clock: Clock) -> LoadJournal:
    return LoadJournal(tmp_path, now_s=clock)


def die_while_loading(folder: Path, how: str = "SIGKILL") -> None:
    code = f"""
import os, signal
from pathlib import Path
from edgeslim.runtime.journal import LoadJournal
with LoadJournal(Path({str(folder)!r})).loading({KEY!r}):
    os.kill(os.getpid(), signal.{how})
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == -getattr(signal, how)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_load_that_ends_leaves_nothing(journal: LoadJournal, tmp_path: Path) -> None:
    with journal.loading(KEY):
        assert len(files(tmp_path)) == 1
    with pytest.raises(RuntimeError), journal.loading(KEY):
        raise RuntimeError("thrown, not crashed")
    assert files(tmp_path) == []
    assert journal.crashed() == {}


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSEGV"])
def test_a_process_that_died_is_found(journal: LoadJournal, tmp_path: Path, how: str) -> None:
    die_while_loading(tmp_path, how)
    assert journal.crashed()[KEY].count == 1
    assert files(tmp_path) == [f"crashes/{KEY}.json"]


def test_a_process_that_is_loading_now_is_not_dead(journal: LoadJournal, tmp_path: Path) -> None:
    with journal.loading(KEY):
        assert LoadJournal(tmp_path).crashed() == {}


def test_paused_for_longer_each_time_and_forgiven_after_success(
    journal: LoadJournal, tmp_path: Path, clock: Clock
) -> None:
    for pause in (*PAUSES_S, PAUSES_S[-1]):
        die_while_loading(tmp_path)
        assert KEY in journal.paused()
        clock.now += pause - 1
        assert KEY in journal.paused()
        clock.now += 2
        assert KEY not in journal.paused()
    assert journal.crashed()[KEY].count == len(PAUSES_S) + 1
    journal.succeeded(KEY)
    assert journal.crashed() == {}


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"count": 0, "last_s": 1}', '{"count": "x", "last_s": 1}', "\xff"])
def test_a_damaged_record_says_nothing(journal: LoadJournal, tmp_path: Path, text: str) -> None:
    (tmp_path / "crashes").mkdir()
    (tmp_path / "crashes" / f"{KEY}.json").write_text(text)
    assert journal.crashed() == {}
    die_while_loading(tmp_path)
    assert journal.crashed()[KEY].count == 1
    assert json.loads((tmp_path / "crashes" / f"{KEY}.json").read_text())["count"] == 1


def test_a_folder_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    journal = LoadJournal(tmp_path / "file")
    with journal.loading(KEY):
        pass
    journal.succeeded(KEY)
    assert journal.crashed() == {}


def test_unnamed_markers_of_a_crash_before_the_lock_go_away(journal: LoadJournal, tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "loading").mkdir()
    unnamed = tmp_path / "loading" / f".{KEY}.1234"
    unnamed.write_text("")
    os.utime(unnamed, (clock.now - 10, clock.now - 10))
    assert journal.crashed() == {}
    assert unnamed.exists(), "its process may still be about to lock it"
    clock.now += 100
    assert journal.crashed() == {}
    assert not unnamed.exists()
