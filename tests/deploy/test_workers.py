"""Jobs run in other processes; a crash costs its own job and is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgeslim.deploy.workers import run_jobs
from edgeslim.errors import ExportError, WidthError

JOBS = """
import os, signal, time
from edgeslim.errors import WidthError

def work(job):
    kind, value = job
    if kind == "square":
        return value * value, os.getpid()
    if kind == "raise":
        raise ValueError(value)
    if kind == "deliberate":
        raise WidthError(value, hint="h")
    if kind == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "sleep":
        print("asleep", flush=True)
        time.sleep(value)
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "jobs_for_workers.py").write_text(JOBS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    return "jobs_for_workers:work"


def test_every_job_ends_once_and_in_other_processes(work: str, tmp_path: Path) -> None:
    jobs = [("square", n) for n in range(7)]
    done = list(run_jobs(work, jobs, workers=2, log=tmp_path / "log"))
    assert sorted((d.index, d.value[0]) for d in done) == [(n, n * n) for n in range(7)]
    assert os.getpid() not in {d.value[1] for d in done}
    assert len({d.value[1] for d in done}) <= 2


def test_errors_and_crashes_name_their_job(work: str, tmp_path: Path) -> None:
    jobs = [("raise", "boom"), ("die", 0), ("deliberate", "no width"), ("square", 5), ("die", 0), ("square", 6)]
    done = {d.index: d for d in run_jobs(work, jobs, workers=1, log=tmp_path / "log")}
    assert isinstance(done[0].error, ExportError)
    assert "boom" in str(done[0].error)
    assert "SIGSEGV" in str(done[1].error)
    assert isinstance(done[2].error, WidthError)
    assert done[2].error.hint == "h"
    assert (done[3].value[0], done[5].value[0]) == (25, 36)
    assert "ValueError: boom" in (tmp_path / "log").read_text()


def test_leaving_early_kills_what_runs(work: str, tmp_path: Path) -> None:
    running: Any = run_jobs(work, [("square", 1), ("sleep", 600)], workers=2, log=tmp_path / "log")
    assert next(running).index == 0
    began = time.monotonic()
    running.close()
    assert time.monotonic() - began < 60


def test_children_leave_when_the_parent_is_killed(work: str, tmp_path: Path) -> None:
    script = (
        "import pathlib, sys\n"
        "from edgeslim.deploy.workers import run_jobs\n"
        f"for d in run_jobs({work!r}, [('square', 1), ('sleep', 2), ('sleep', 2)], workers=2, "
        f"log=pathlib.Path({str(tmp_path / 'log')!r})): print(d.value and d.value[1], flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and Path(f"/proc/{child}").exists():
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()


def test_a_worker_stays_with_one_kind_of_job(work: str, tmp_path: Path) -> None:
    jobs = [("square", n) for n in range(12)]
    done = run_jobs(work, jobs, workers=2, log=tmp_path / "log", kind=lambda job: "even" if job[1] % 2 == 0 else "odd")
    by_kind: dict[int, set[int]] = {0: set(), 1: set()}
    for d in done:
        by_kind[d.index % 2].add(d.value[1])
    assert min(len(processes) for processes in by_kind.values()) == 1


PARENT = """
import sys
from pathlib import Path
from edgeslim.deploy.workers import run_jobs
for _ in run_jobs("jobs_for_workers:work", [("sleep", 1000)], workers=1, log=Path(sys.argv[1])):
    pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_end_with_a_killed_parent(work: str, tmp_path: Path) -> None:
    """In the middle of an export: nobody waits for it any more."""
    log = tmp_path / "log"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(log)])
    try:
        while not (log.exists() and "asleep" in log.read_text()):
            assert parent.poll() is None
            time.sleep(0.02)
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    finally:
        parent.kill()
        parent.wait()
    assert len(children) == 1
    for _ in range(500):
        if not Path(f"/proc/{children[0]}").exists() or " Z " in Path(f"/proc/{children[0]}/stat").read_text():
            return
        time.sleep(0.02)
    os.kill(int(children[0]), signal.SIGKILL)
    pytest.fail("the worker went on")
