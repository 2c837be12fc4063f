"""Sessions on this machine with the honest fake: known latencies, turns, crashes, hangs, heat, retries."""

from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fake_bundle import cell_fields, cell_of
from private_sshd import children_of

from edgeslim.benchmark.board import measuring as session
from edgeslim.benchmark.board import validity
from edgeslim.benchmark.board.measuring import Session
from edgeslim.benchmark.board.schedule import groups, turns
from edgeslim.benchmark.desk.devices import get
from edgeslim.core.events import Done, Event, Note, Passport, Progress, RowDone
from edgeslim.core.job import Cell, Job
from edgeslim.core.latency import LatencyRow
from edgeslim.errors import HostError, UsageError
from edgeslim.host import machine


def cell(folder: Path, permille: int, **plan: float) -> Cell:
    return Cell(**cell_of(folder / f"{permille}.fake", {"burn_ms": 0.5, **plan}, permille=permille))


def burst(*cells: Cell, **changes: Any) -> Job:
    settings: dict[str, Any] = {
        "kind": "burst", "runs": 20, "seconds": 0.02, "limit_s": 0.5, "warmup_s": 0.0, "warmup_runs": 2,
        "block_s": 0.01, "retries": 0, "hang_s": 20.0,
    }  # fmt: skip
    return Job(cells=cells, bundle_sha256=None, **settings | changes)


def measure(job: Job, folder: Path, root: Path = machine.ROOT) -> tuple[list[LatencyRow], list[Event]]:
    events: list[Event] = []
    Session(job, bundle=None, folder=folder, sink=events.append, root=root).run()
    return [event.row for event in events if isinstance(event, RowDone)], events


def test_a_burst_reports_the_known_latencies(tmp_path: Path) -> None:
    rows, events = measure(burst(cell(tmp_path, 250), cell(tmp_path, 500, burn_ms=1.5)), tmp_path)
    assert isinstance(events[0], Passport)
    assert isinstance(events[-1], Done)
    assert [row.width_permille for row in rows] == [250, 500]
    for row, true_ms in zip(rows, (0.5, 1.5), strict=True):
        assert row.min_ms is not None
        assert true_ms <= row.min_ms < true_ms * 1.2  # the fake never takes less than its time
        assert row.runs >= 20
        assert row.samples_ms is not None
        assert len(row.samples_ms) == row.runs
        assert sum(row.block_runs or ()) == row.runs
        assert len(row.block_runs or ()) >= 6
        assert row.warmup_runs >= 2 + 2 * len(row.block_runs or ())
        assert row.peak_rss_bytes
        assert row.load_cold_ms is not None
        assert row.first_inference_ms is not None
        assert row.first_inference_ms >= true_ms
        assert row.clock.baseline_ms_reference
        assert row.load.waited_share is not None
    assert {row.order for row in rows} == {0, 1}
    assert sorted(tmp_path.glob("*")) == [tmp_path / "250.fake", tmp_path / "500.fake"]


def test_progress_counts_down(tmp_path: Path) -> None:
    _, events = measure(burst(cell(tmp_path, 250), cell(tmp_path, 500)), tmp_path)
    steps = [event for event in events if isinstance(event, Progress)]
    assert [step.of for step in steps] == [2] * len(steps)
    assert steps[0].left_s > steps[-1].left_s


BROKEN = {
    "crash at load": ({"crash_at": 0}, "crashed: killed by SIGSEGV while preparing"),
    "crash in warm-up": ({"crash_at": 2}, "crashed: killed by SIGSEGV while warming up"),
    "crash in a block": ({"crash_at": 30}, "crashed: killed by SIGSEGV while measuring"),
    "exception at load": ({"raise_at": 0}, "failed while preparing: RuntimeError: the fake was told to fail"),
    "exception in a block": ({"raise_at": 30}, "failed while measuring: RuntimeError"),
    "hang at load": ({"hang_at": 0}, "hung: no answer for"),
    "hang in a block": ({"hang_at": 30}, "hung: no answer for"),
}


@pytest.mark.parametrize(("plan", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_child_costs_its_row_and_is_named(
    tmp_path: Path, plan: dict[str, float], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_PREPARE_S", 8.0)
    job = burst(cell(tmp_path, 250), cell(tmp_path, 500, **plan), cell(tmp_path, 750), hang_s=2.0)
    rows, _ = measure(job, tmp_path)
    by_width = {row.width_permille: row for row in rows}
    assert not by_width[500].valid
    assert by_width[500].reasons[0].startswith(reason)
    for permille in (250, 750):
        assert by_width[permille].runs >= 20
        assert not any("crashed" in text or "hung" in text for text in by_width[permille].reasons)
    if "30" in str(plan):
        assert by_width[500].runs == sum(by_width[500].block_runs or ())  # finished turns are kept


def test_children_end_with_the_session(tmp_path: Path) -> None:
    class StopNowError(Exception):
        pass

    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.doing.startswith("measuring"):
            raise StopNowError

    with pytest.raises(StopNowError):
        Session(burst(cell(tmp_path, 250)), bundle=None, folder=tmp_path, sink=stop).run()
    assert not [pid for pid in children_of(os.getpid()) if b"edgeslim.benchmark.board.child" in command_of(pid)]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_sustained_run_keeps_its_order_and_says_when_it_is_short(tmp_path: Path) -> None:
    job = burst(cell(tmp_path, 250), kind="sustained", runs=40, seconds=0.05, limit_s=5.0)
    (row,), _ = measure(job, tmp_path)
    assert row.kind == "sustained"
    assert row.runs >= 40
    assert any(reason.startswith("samples:") for reason in row.reasons)  # a real one takes 60 s


def test_fewer_runs_than_asked_do_not_count(tmp_path: Path) -> None:
    (row,), _ = measure(burst(cell(tmp_path, 250, burn_ms=5.0), runs=1000, limit_s=0.1), tmp_path)
    assert 0 < row.runs < 1000
    assert any(reason.startswith(f"samples: {row.runs} of 1000") for reason in row.reasons)


def test_disturbed_rows_are_measured_again_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validity, "settled", lambda blocks: True)
    answers = iter([("load: made up",), ()])
    monkeypatch.setattr(validity, "reasons", lambda *a, **k: next(answers))
    rows, events = measure(burst(cell(tmp_path, 250), retries=1), tmp_path)
    assert len(rows) == 2
    assert not rows[0].valid
    assert rows[1].valid
    assert rows[1].notes[0].startswith("measured twice; the other time p50")
    assert "load: made up" in rows[1].notes[0]
    assert any(isinstance(event, Note) and "again" in event.text for event in events)


def board(tmp_path: Path, celsius: float) -> Path:
    """A folder that looks like a board's sysfs, with a passive trip at 80 °C."""
    zone = tmp_path / "board/sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True, exist_ok=True)
    files = {
        "type": "cpu-thermal", "temp": str(int(celsius * 1000)),
        "trip_point_0_type": "passive", "trip_point_0_temp": "80000",
        "trip_point_1_type": "critical", "trip_point_1_temp": "100000",
    }  # fmt: skip
    for name, text in files.items():
        (zone / name).write_text(text + "\n")
    return tmp_path / "board"


def test_a_board_that_is_too_hot_from_the_start(tmp_path: Path) -> None:
    events: list[Event] = []
    hot = Session(
        burst(cell(tmp_path, 250), cool_wait_s=0.1),
        bundle=None, folder=tmp_path, sink=events.append, root=board(tmp_path, 78.0),
    )  # fmt: skip
    with pytest.raises(HostError, match="too hot to measure: thermal level 2") as caught:
        hot.run()
    assert caught.value.exit_code == 5
    assert "--cool-wait" in (caught.value.hint or "")
    assert not any(isinstance(event, RowDone) for event in events)


def test_heat_that_rises_is_a_reason_in_a_burst_and_a_note_nowhere_else(tmp_path: Path) -> None:
    root = board(tmp_path, 40.0)
    events: list[Event] = []

    def heat_up(event: Event) -> None:
        events.append(event)
        if isinstance(event, Progress):
            board(tmp_path, 70.0)

    Session(burst(cell(tmp_path, 250)), bundle=None, folder=tmp_path, sink=heat_up, root=root).run()
    (row,) = (event.row for event in events if isinstance(event, RowDone))
    assert row.thermal.level_start == 0 or row.thermal.level_max == 1
    assert any(reason.startswith("thermal:") for reason in row.reasons)
    assert row.thermal.zone_c_end == 70.0


def test_turns_go_there_and_back_in_a_seeded_order() -> None:
    first = list(itertools.islice(turns(5, seed=3), 4))
    assert first == list(itertools.islice(turns(5, seed=3), 4))
    assert first[1] == first[0][::-1]
    assert first[3] == first[2][::-1]
    assert sorted(first[0]) == list(range(5))
    assert first != list(itertools.islice(turns(5, seed=4), 4))


def test_groups_span_the_range_and_fit_in_memory() -> None:
    cells = [Cell(**cell_fields(p, "litert", threads=t)) for t in (1, 2) for p in (250, 500, 750, 1000)]
    assert [[c.width_permille for c in group] for group in groups(cells, 8, None)] == [[250, 500, 750, 1000]] * 2
    assert [[c.width_permille for c in group] for group in groups(cells, 2, None)] == [[250, 750], [500, 1000]] * 2
    assert all(len(group) == 1 for group in groups(cells, 8, 100 << 20))
    assert all(len({c.threads for c in group}) == 1 for group in groups(cells, 8, None))


@pytest.mark.parametrize("change", [{"runs": 0}, {"cells": ()}, {"limit_s": 0.0}, {"seconds": float("nan")}])
def test_jobs_that_are_none(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        dataclasses.replace(burst(cell(tmp_path, 250)), **change)


def test_a_job_travels_as_json(tmp_path: Path) -> None:
    job = burst(cell(tmp_path, 250), cell(tmp_path, 500))
    assert Job.from_json(job.to_json()) == job
    with pytest.raises(UsageError, match="not a job"):
        Job.from_json("{}")


def test_a_killed_run_leaves_nothing_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL: the kernel ends the children at once, the next run removes the folder."""
    slow = cell(tmp_path, 250, burn_ms=5.0)
    job = burst(slow, seconds=30.0, limit_s=60.0, runs=10_000)
    code = (
        "import sys; from edgeslim.benchmark.desk.devices import get; from edgeslim.core.job import Job\n"
        "get('host').measure(Job.from_json(sys.argv[1]), None, lambda event: print(event, flush=True))"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", code, job.to_json()], stdout=subprocess.PIPE, env=environment, text=True
    ) as parent:
        assert parent.stdout is not None
        for line in parent.stdout:
            if "measuring" in line:
                break
        (child,) = children_of(parent.pid)
        parent.kill()
    for _ in range(100):
        if b"edgeslim" not in command_of(child):
            break
        time.sleep(0.05)
    assert b"edgeslim" not in command_of(child)
    assert len(list(tmp_path.glob("edgeslim-bench-*"))) == 1
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    get("host").measure(burst(cell(tmp_path, 250)), None, lambda event: None)
    assert not list(tmp_path.glob("edgeslim-bench-*"))
