"""Without a table a session measures: at once, or in the gaps between frames; another device's table helps."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray
from pretend import NAME, PretendRunner, PretendTarget, image, permille_of, pretend_bundle, table_of

from edgeslim.cli.main import main
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.latency import LatencyTable
from edgeslim.errors import HostError, TableError
from edgeslim.host import machine
from edgeslim.runtime.deployment import Deployment
from edgeslim.runtime.measure import NOTE, candidates
from edgeslim.runtime.own_folder import NAME as NAME_OF_FOLDER
from edgeslim.runtime.session import SlimSession

# Real microseconds, short ones: the runtime below sleeps for them.
QUICK_US = {250: 500, 500: 1_000, 750: 2_000, 1000: 4_000}


class SleepingTarget(PretendTarget):
    """Takes as long as the artifact says, in real time."""

    def load(self, path: Path, *, threads: int = 1) -> PretendRunner:
        runner = super().load(path, threads=threads)
        plain = runner.run

        def run(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            end = time.perf_counter_ns() + runner._t_us * 1000
            while time.perf_counter_ns() < end:
                pass
            return plain(inputs)

        runner.run = run  # type: ignore[method-assign]
        return runner


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeslim.runtime.measure._BLOCK_S", 0.02)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return pretend_bundle(tmp_path / "b.slim", times_us=QUICK_US)


def open_session(bundle: Path, tmp_path: Path, **options: Any) -> SlimSession:
    options.setdefault("target", SleepingTarget())
    return SlimSession(bundle, cache_dir=tmp_path / "cache", budget_ms=50, readings=None, threads=1, **options)


def stored_tables(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / NAME_OF_FOLDER / "tables").glob("*.json"))


def test_measures_now_and_keeps_it(bundle: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    with open_session(bundle, tmp_path) as session:
        assert time.monotonic() - started < 5
        assert session.ladder.labels == ("0.25x", "0.5x", "0.75x", "1.0x")
        for rung in session.ladder.rungs:
            assert rung.t_us >= QUICK_US[permille_of(rung)]
        (row, *_) = session.table.rows
        assert row.notes == (NOTE,)
        assert row.runs == sum(row.block_runs or ())
        assert len(row.block_runs or ()) == 2, "forwards and backwards"
        assert row.device == machine.device()
        assert row.runtime.name == NAME
    (path,) = stored_tables(tmp_path)
    assert LatencyTable.read(path) == session.table
    target = SleepingTarget()
    with open_session(bundle, tmp_path, target=target) as again:
        assert again.table == session.table
        assert len(target.loads) == 1, "only what the first frame needs"


def test_another_thread_count_is_another_table(bundle: Path, tmp_path: Path) -> None:
    open_session(bundle, tmp_path).close()
    SlimSession(bundle, SleepingTarget(), cache_dir=tmp_path / "cache", readings=None, threads=2).close()
    assert len(stored_tables(tmp_path)) == 2


@pytest.mark.parametrize("text", ["", "{}", "not json"])
def test_a_damaged_stored_table_is_measured_again(bundle: Path, tmp_path: Path, text: str) -> None:
    open_session(bundle, tmp_path).close()
    (path,) = stored_tables(tmp_path)
    path.write_text(text)
    open_session(bundle, tmp_path).close()
    assert LatencyTable.read(path).rows


def test_never_more_in_memory_than_allowed_while_measuring(bundle: Path, tmp_path: Path) -> None:
    target = SleepingTarget()
    most = 0
    load = target.load

    def counting(path: Path, *, threads: int = 1) -> PretendRunner:
        nonlocal most
        runner = load(path, threads=threads)
        most = max(most, len(target.alive))
        return runner

    target.load = counting  # type: ignore[method-assign]
    open_session(bundle, tmp_path, target=target).close()
    assert most == 2


def test_a_width_that_cannot_be_loaded_is_not_in_the_table(bundle: Path, tmp_path: Path) -> None:
    with open_session(bundle, tmp_path, target=SleepingTarget(load_faults={750: "raise"})) as session:
        assert session.ladder.labels == ("0.25x", "0.5x", "1.0x")
    with pytest.raises(HostError, match="told to fail"):
        open_session(bundle, tmp_path / "none", target=SleepingTarget(load_faults=dict.fromkeys(QUICK_US, "raise")))


def frames_until(session: SlimSession, done: Callable[[], bool], *, fps: float = 50, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        session.run(image())
        time.sleep(1 / fps)


def test_measures_in_the_gaps(bundle: Path, tmp_path: Path) -> None:
    with open_session(bundle, tmp_path, first_use="gaps") as session:
        assert session.ladder.labels == ("0.25x", "1.0x"), "the two ends, measured at once"
        assert stored_tables(tmp_path) == []
        frames_until(session, lambda: len(session.ladder.rungs) == 4)
        assert all(rung.t_us >= QUICK_US[permille_of(rung)] for rung in session.ladder.rungs)
        assert session.counts.frames >= 16, "eight runs of each of two widths, one per gap"
        assert len(session._opened.pool.ready) <= 2
    (path,) = stored_tables(tmp_path)
    assert len(LatencyTable.read(path).rows) == 4


def test_without_gaps_it_stays_with_what_it_knows(bundle: Path, tmp_path: Path) -> None:
    with open_session(bundle, tmp_path, first_use="gaps") as session:
        for _ in range(100):
            session.run(image())
        assert len(session.ladder.rungs) == 2


def test_starts_from_the_table_in_the_bundle(bundle: Path, tmp_path: Path) -> None:
    ten_times_slower = table_of(bundle, times_us=lambda permille: 10 * QUICK_US[permille])
    ten_times_slower.write(tmp_path / "table.json")
    carrying = tmp_path / "carrying.slim"
    assert main(["subset", str(bundle), "--table", str(tmp_path / "table.json"), "-o", str(carrying), "--quiet"]) == 0
    with open_session(carrying, tmp_path, first_use="gaps") as session:
        assert session.ladder.labels == ("0.25x", "0.5x", "0.75x", "1.0x")
        narrowest, *_, widest = session.ladder.rungs
        assert widest.t_us == pytest.approx(8 * narrowest.t_us, rel=0.01), "the other device's ratios"
        assert widest.t_us < 10 * QUICK_US[1000] * 0.9, "at this device's speed"
        assert {row.kind for row in session.table.rows} == {"prior"}
        frames_until(session, lambda: {row.kind for row in session.table.rows} == {"burst"})


def test_a_table_of_other_files_is_refused(bundle: Path, tmp_path: Path) -> None:
    other = pretend_bundle(tmp_path / "other.slim", channels=32)
    with pytest.raises(TableError, match="no row of this bundle's files"):
        open_session(bundle, tmp_path, table=table_of(other))


def test_accuracies_of_the_bundle_win_and_macs_stand_in(tmp_path: Path) -> None:
    known = pretend_bundle(tmp_path / "known.slim")
    with open_session(known, tmp_path, table=table_of(known)) as session:
        assert session.ladder.metric == "top1"
        assert [rung.worth for rung in session.ladder.rungs] == [54_000_000, 64_000_000, 69_000_000, 72_000_000]
    unknown = pretend_bundle(tmp_path / "unknown.slim", accuracies=None)
    with open_session(unknown, tmp_path, table=table_of(unknown)) as session:
        assert session.ladder.metric == "macs"


def test_candidates_are_apart_and_hold_both_ends(tmp_path: Path) -> None:
    times = {permille: 10 * permille for permille in range(250, 1001, 50)}
    bundle = pretend_bundle(tmp_path / "b.slim", times_us=times, accuracies=None)
    with SlimBundle.open(bundle) as opened:
        deployment = Deployment.of(opened, NAME)
        chosen = [int(artifact[-4:]) for artifact in candidates(deployment)]
        deployment.close()
    assert chosen[0] == 250
    assert chosen[-1] == 1000
    assert all(high / low >= 1.2 for low, high in itertools.pairwise(chosen[1:]))
    assert len(chosen) <= 9
