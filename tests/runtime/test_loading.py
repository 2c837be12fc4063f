"""The loading thread and the gate between two frames."""

from __future__ import annotations

import os
import sys
import threading
import time
from functools import partial

import pytest

from edgeslim.runtime.loading import FrameGate, LoadingThread, brisk_switching


def test_jobs_run_one_after_the_other_on_one_thread() -> None:
    ran: list[tuple[int, str]] = []

    def note(number: int) -> None:
        ran.append((number, threading.current_thread().name))

    loading = LoadingThread.shared()
    for number in range(20):
        loading.submit(partial(note, number))
    loading.wait_for(lambda: None)
    assert ran == [(number, "edgeslim-loading") for number in range(20)]


def test_a_job_that_raises_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    loading = LoadingThread.shared()
    loading.submit(lambda: 1 / 0)  # type: ignore[arg-type]
    done: list[int] = []
    loading.wait_for(lambda: done.append(1))
    assert done == [1]
    assert "ZeroDivisionError" in caplog.text


def test_waiting_on_the_thread_itself_runs_at_once() -> None:
    loading, done = LoadingThread.shared(), []
    loading.wait_for(lambda: loading.wait_for(lambda: done.append(1)))
    assert done == [1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_makes_its_own() -> None:
    LoadingThread.shared().wait_for(lambda: None)
    child = os.fork()
    if child == 0:
        done: list[int] = []
        LoadingThread.shared().wait_for(lambda: done.append(1))
        os._exit(0 if done else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_brisk_switching_is_put_back() -> None:
    before = sys.getswitchinterval()
    with pytest.raises(RuntimeError), brisk_switching():
        assert sys.getswitchinterval() <= 0.0005
        raise RuntimeError
    assert sys.getswitchinterval() == before


class Waiter(threading.Thread):
    """Waits for a gap; ``came_s`` is when it was let through."""

    def __init__(self, gate: FrameGate, need_s: float = 0.0, patience_s: float = 5.0) -> None:
        super().__init__()
        self._gate, self._need_s, self._patience_s = gate, need_s, patience_s
        self.came_s: float | None = None
        self.start()

    def run(self) -> None:
        if self._gate.wait_for_gap(self._need_s, patience_s=self._patience_s):
            self.came_s = time.monotonic()


def frames(gate: FrameGate, count: int, busy_s: float, idle_s: float) -> None:
    for _ in range(count):
        gate.begin()
        time.sleep(busy_s)
        gate.end()
        time.sleep(idle_s)


def test_without_frames_there_is_always_a_gap() -> None:
    started = time.monotonic()
    assert FrameGate().wait_for_gap(10)
    assert time.monotonic() - started < 0.1


def test_a_frame_is_not_interrupted() -> None:
    gate = FrameGate()
    gate.begin()
    waiter = Waiter(gate)
    time.sleep(0.1)
    assert waiter.is_alive()
    gate.end()
    ended = time.monotonic()
    waiter.join()
    assert waiter.came_s is not None
    assert waiter.came_s - ended < 0.05


def test_in_a_long_gap_one_may_begin_late_and_in_a_short_one_waits_for_the_next_end() -> None:
    gate = FrameGate()
    frames(gate, 10, 0.002, 0.04)
    gate.begin()
    gate.end()
    time.sleep(0.005)
    assert gate.wait_for_gap(0.01, patience_s=0.02), "35 ms are left"
    time.sleep(0.02)
    assert not gate.wait_for_gap(0.04, patience_s=0.02), "not so many are left"


def test_an_app_that_pauses_is_no_hindrance() -> None:
    gate = FrameGate()
    frames(gate, 5, 0.001, 0.001)
    time.sleep(0.3)
    assert gate.wait_for_gap(10, patience_s=0.05)


def test_open_means_now() -> None:
    gate = FrameGate()
    gate.begin()
    waiter = Waiter(gate)
    with gate.opened():
        waiter.join(1)
    assert waiter.came_s is not None


def test_patience_ends() -> None:
    gate = FrameGate()
    gate.begin()
    assert not gate.wait_for_gap(patience_s=0.05)
