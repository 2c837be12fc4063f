"""Artifacts whose loading crashes a process are remembered, and only those: the rule in journal.py, point by point."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeslim.runtime.journal import PAUSES_S, STRIKES, LoadJournal
from edgeslim.runtime.own_folder import NAME, OwnFolder

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
    return LoadJournal(OwnFolder(tmp_path), now_s=clock)


@pytest.fixture(autouse=True)
def free_fault_handler() -> Iterator[None]:
    """As in a plain Python process; pytest uses it."""
    was = faulthandler.is_enabled()
    faulthandler.disable()
    yield
    if was:
        faulthandler.enable()


def die_while_loading(folder: Path, how: str = "SIGSEGV", *, taken: bool = False, boot: str | None = None) -> None:
    code = f"""
import faulthandler, os, signal
from pathlib import Path
from edgeslim.runtime.journal import LoadJournal, boot_id
from edgeslim.runtime.own_folder import OwnFolder
if {taken}:
    faulthandler.enable()
if {how!r} not in ("SIGKILL", "SIGSEGV"):
    signal.signal(signal.{how}, signal.SIG_DFL)  # whoever started the tests may have had it ignored
with LoadJournal(OwnFolder(Path({str(folder)!r})), boot=lambda: {boot!r} or boot_id()).loading({KEY!r}):
    os.kill(os.getpid(), signal.{how})
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == -getattr(signal, how), done.stderr


def files(folder: Path) -> list[str]:
    found = sorted(str(path.relative_to(folder / NAME)) for path in folder.rglob("*") if path.is_file())
    return [name for name in found if name != "CACHEDIR.TAG"]


def strikes(journal: LoadJournal) -> int:
    crashes = journal.crashed().get(KEY)
    return crashes.count if crashes else 0


def test_a_load_that_ends_in_an_orderly_way_clears_the_mark(journal: LoadJournal, tmp_path: Path) -> None:
    for error in (None, RuntimeError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error) if error else pytest.MonkeyPatch.context(), journal.loading(KEY):
            assert len(files(tmp_path)) == 1
            assert faulthandler.is_enabled()
            if error:
                raise error
        assert not faulthandler.is_enabled()
        assert files(tmp_path) == []
        assert journal.crashed() == {}


@pytest.mark.parametrize("how", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE"])
def test_a_crash_is_a_strike(journal: LoadJournal, tmp_path: Path, how: str) -> None:
    die_while_loading(tmp_path, how)
    assert strikes(journal) == 1
    assert files(tmp_path) == [f"crashes/{KEY}.json"]


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "SIGHUP"])
def test_a_kill_is_none(journal: LoadJournal, tmp_path: Path, how: str) -> None:
    die_while_loading(tmp_path, how)
    assert strikes(journal) == 0
    assert files(tmp_path) == []


def test_where_the_app_has_the_fault_handler_any_death_of_this_boot_is_a_strike(
    journal: LoadJournal, tmp_path: Path
) -> None:
    die_while_loading(tmp_path, "SIGKILL", taken=True)
    assert strikes(journal) == 1
    die_while_loading(tmp_path, "SIGKILL", taken=True, boot="before the power failed")
    assert strikes(journal) == 1


def test_a_process_that_is_loading_now_is_not_dead(journal: LoadJournal, tmp_path: Path) -> None:
    with journal.loading(KEY):
        assert LoadJournal(OwnFolder(tmp_path)).crashed() == {}


def test_one_strike_is_forgiven_the_next_ones_leave_out_for_longer_and_success_wipes_them(
    journal: LoadJournal, tmp_path: Path, clock: Clock
) -> None:
    for _ in range(STRIKES - 1):
        die_while_loading(tmp_path)
        assert journal.left_out() == {}
    for pause in (*PAUSES_S, PAUSES_S[-1]):
        die_while_loading(tmp_path)
        assert KEY in journal.left_out()
        clock.now += pause - 1
        assert KEY in journal.left_out()
        clock.now += 2
        assert KEY not in journal.left_out()
    assert strikes(journal) == STRIKES + len(PAUSES_S)
    journal.succeeded(KEY)
    assert journal.crashed() == {}


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"count": 0, "last_s": 1}', '{"count": "x", "last_s": 1}', "\xff"])
def test_a_damaged_record_says_nothing(journal: LoadJournal, tmp_path: Path, text: str) -> None:
    OwnFolder(tmp_path).make()
    (tmp_path / NAME / "crashes").mkdir()
    (tmp_path / NAME / "crashes" / f"{KEY}.json").write_text(text)
    assert journal.crashed() == {}
    die_while_loading(tmp_path)
    assert strikes(journal) == 1
    assert json.loads((tmp_path / NAME / "crashes" / f"{KEY}.json").read_text())["count"] == 1


def test_a_folder_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    journal = LoadJournal(OwnFolder(tmp_path / "file"))
    with journal.loading(KEY):
        pass
    journal.succeeded(KEY)
    assert journal.crashed() == {}


def test_unnamed_markers_of_a_crash_before_the_lock_go_away(journal: LoadJournal, tmp_path: Path, clock: Clock) -> None:
    OwnFolder(tmp_path).make()
    (tmp_path / NAME / "loading").mkdir()
    unnamed = tmp_path / NAME / "loading" / f".{KEY}.12345678"
    unnamed.write_text("")
    os.utime(unnamed, (clock.now - 10, clock.now - 10))
    assert journal.crashed() == {}
    assert unnamed.exists(), "its process may still be about to lock it"
    clock.now += 100
    assert journal.crashed() == {}
    assert not unnamed.exists()


def test_foreign_files_are_not_touched(journal: LoadJournal, tmp_path: Path, clock: Clock) -> None:
    OwnFolder(tmp_path).make()
    (tmp_path / NAME / "loading").mkdir()
    (tmp_path / NAME / "crashes").mkdir()
    theirs = [tmp_path / NAME / name for name in ("loading/notes.txt", "loading/.hidden", "crashes/results.json")]
    for path in theirs:
        path.write_text('{"count": 9, "last_s": 999999999}')
    clock.now += 1e6
    assert journal.crashed() == {}
    assert all(path.exists() for path in theirs)
