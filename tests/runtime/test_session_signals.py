"""Where heat and battery come from."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from edgeslim.core.signals import Signals
from edgeslim.errors import UsageError
from edgeslim.runtime.loading import FrameGate
from edgeslim.runtime.signals import PollingListener, listen


def board(root: Path, celsius: float, capacity: int = 50) -> Path:
    """The files of a board with one thermal zone (throttling at 80 °C) and a battery."""
    zone = root / "class/thermal/thermal_zone0"
    battery = root / "class/power_supply/BAT0"
    for folder in (zone, battery):
        folder.mkdir(parents=True, exist_ok=True)
    for path, text in {
        zone / "type": "cpu-thermal",
        zone / "temp": f"{celsius * 1000:.0f}",
        zone / "trip_point_0_type": "passive",
        zone / "trip_point_0_temp": "80000",
        battery / "type": "Battery",
        battery / "capacity": str(capacity),
        battery / "status": "Discharging",
    }.items():
        path.write_text(text)
    return root


def test_a_tree_of_files_stands_for_a_board(tmp_path: Path) -> None:
    listener = listen(board(tmp_path, 77), FrameGate())
    try:
        assert listener.now() == Signals(status=2, battery_permille=500)
    finally:
        listener.close()


def test_it_is_read_again_in_the_background(tmp_path: Path) -> None:
    from edgeslim.host.sysfs import LinuxSource

    listener = PollingListener(LinuxSource(board(tmp_path, 40)), FrameGate(), period_s=0.01)
    assert listener.now().status == 0
    board(tmp_path, 81)
    deadline = time.monotonic() + 5
    while listener.now().status != 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    listener.close()
    assert "edgeslim-signals" not in [thread.name for thread in threading.enumerate()]


def test_closing_does_not_wait_for_a_frame(tmp_path: Path) -> None:
    class Source:
        reads = 0

        def read(self) -> Signals:
            self.reads += 1
            return Signals()

    gate, source = FrameGate(), Source()
    gate.begin()
    listener = PollingListener(source, gate, period_s=0.01)
    time.sleep(0.05)
    started = time.monotonic()
    listener.close()
    assert time.monotonic() - started < 0.3


def test_a_function_is_asked_every_time() -> None:
    answers = iter([Signals(status=1), Signals(status=2)])
    listener = listen(lambda: next(answers), FrameGate())
    assert (listener.now().status, listener.now().status) == (1, 2)
    listener.close()


def test_nothing_is_known() -> None:
    assert listen(None, FrameGate()).now() == Signals()


def test_the_machine_itself_where_it_can_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "sunos")
    assert listen("auto", FrameGate()).now() == Signals()
    monkeypatch.undo()
    listener = listen("auto", FrameGate())
    assert isinstance(listener.now(), Signals)
    listener.close()


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        listen(tmp_path / "missing", FrameGate())
