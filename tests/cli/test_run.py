"""``edgeslim run`` as people and scripts use it, on a bundle packed for the reference target."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image
from rich.console import Console as RichConsole

import edgeslim
from edgeslim.cli.console import Console
from edgeslim.cli.main import main
from edgeslim.cli.run_view import RunView
from edgeslim.core.latency import LatencyTable
from edgeslim.core.policy import PRESETS, Policy
from edgeslim.deploy.pack import pack
from edgeslim.deploy.pack_plan import PackOptions
from edgeslim.errors import PolicyError, UsageError
from edgeslim.host.interrupt import Interrupt
from edgeslim.runtime.session import SlimSession
from edgeslim.simulation.replay import read_log
from edgeslim.verbs import run

sys.path.insert(0, str(Path(__file__).parents[1] / "deploy"))
from small_checkpoint import small_checkpoint


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``net.slim`` and ``images``."""
    folder = tmp_path_factory.mktemp("run")
    pack(small_checkpoint(), PackOptions(targets=["reference"], out=folder / "net.slim", jobs=1))
    (folder / "images").mkdir()
    random = np.random.default_rng(0)
    for number in range(6):
        pixels = random.integers(0, 256, (20 + number, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    return folder


@pytest.fixture
def arguments(stage: Path, tmp_path: Path) -> list[str]:
    return [
        "run", str(stage / "net.slim"), "--target", "reference", "--images", str(stage / "images"),
        "--cache-dir", str(tmp_path / "cache"),
    ]  # fmt: skip


def test_a_summary_for_scripts(arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log = tmp_path / "frames.jsonl"
    assert main([*arguments, "--frames", "25", "--budget-ms", "200", "--log", str(log), "--json"]) == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["frames"] == 25
    assert sum(row["frames"] for row in document["rows"]) == 25
    assert document["target"] == "reference"
    assert document["budget_ms"] == 200
    assert document["p50_ms"] <= document["p95_ms"] <= document["p99_ms"]
    assert {rung["label"] for rung in document["ladder"]} <= {"0.13x", "0.19x", "0.25x"}
    assert "loaded" in {event["kind"] for event in document["events"]}
    schema = json.loads((Path(edgeslim.__file__).parent / "runtime" / "frame.schema.json").read_text())
    for line in log.read_text().splitlines():
        jsonschema.validate(json.loads(line), schema)
    frames = read_log(log)
    assert len(frames) == 25
    assert all(frame.reading.deadline_us < 200_000 for frame in frames), "preparation is taken off"
    table = Path(document["table"])
    assert LatencyTable.read(table).rows
    assert f"edgeslim simulate {table} --replay {log}" in printed.err
    assert main(["simulate", str(table), "--replay", str(log), "--policy", "balanced", "--json"]) == 0


def test_words_for_people(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert "ladder: " in printed.err
    assert "6 frames" in printed.err
    assert "net.slim on reference" in printed.out
    assert main([*arguments, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_frames_per_second_are_kept(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--frames", "10", "--fps", "20", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["budget_ms"] == 50
    assert 10 < document["fps"] <= 23


def test_heat_from_a_tree_of_files(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zone = tmp_path / "sys" / "class" / "thermal" / "thermal_zone0"
    zone.mkdir(parents=True)
    for name, text in {
        "type": "cpu", "temp": "81000", "trip_point_0_type": "passive", "trip_point_0_temp": "80000",
    }.items():  # fmt: skip
        (zone / name).write_text(text)
    log = tmp_path / "log.jsonl"
    assert main([*arguments, "--sysfs", str(tmp_path / "sys"), "--log", str(log), "--json"]) == 0
    assert {frame.reading.status for frame in read_log(log)} == {3}
    assert main([*arguments, "--sysfs", str(tmp_path / "missing"), "--json"]) == 2
    capsys.readouterr()


def test_policies(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "kiosk.json"
    path.write_text('{"policy_version": 1, "base": "fixed", "name": "kiosk", "max_rung": 0}')
    assert main([*arguments, "--policy", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["policy"] == "kiosk"
    assert len(document["rows"]) == 1
    assert run.chosen_policy("quality") == "quality"
    assert run.chosen_policy(None) is None
    path.write_text(PRESETS["quality"].to_json())
    assert run.chosen_policy(str(path)) == Policy.from_json(path.read_bytes())
    with pytest.raises(PolicyError, match="no preset and no file"):
        run.chosen_policy("qualty")
    with pytest.raises(UsageError, match="cannot read"):
        run.chosen_policy(str(tmp_path / "none.json"))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--budget-ms", "0"], "not in the range"),
        (["--target", "litrt"], "did you mean"),
        (["--target", "litert"], "has nothing for"),
        (["--table", "none.json"], "cannot read the table"),
    ],
)
def test_mistakes_exit_2(arguments: list[str], more: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, *more, "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert words in f"{error['message']} {error['hint']}"


def test_the_log_is_not_overwritten_unless_told(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("kept")
    assert main([*arguments, "--log", str(log), "--json"]) == 2
    assert log.read_text() == "kept"
    assert main([*arguments, "--log", str(log), "--overwrite", "--json"]) == 0
    assert len(read_log(log)) == 6
    capsys.readouterr()


def test_ctrl_c_ends_with_the_summary(arguments: list[str], tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    command = [sys.executable, "-m", "edgeslim", *arguments, "--frames", "1000000", "--log", str(log), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            while not (log.is_file() and log.stat().st_size):
                assert process.poll() is None
            os.kill(process.pid, signal.SIGINT)
            out, _ = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    assert json.loads(out)["frames"] == len(read_log(log)) > 0


def test_the_first_ctrl_c_lets_the_frame_be_finished() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as stop:
        asked = [stop.asked]
        signal.raise_signal(signal.SIGINT)
        asked.append(stop.asked)
        assert asked == [False, True]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupt() as stop:
            signal.raise_signal(signal.SIGINT)
            assert not stop.asked
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_live_table(stage: Path, tmp_path: Path) -> None:
    screen = io.StringIO()
    console = Console(words=RichConsole(file=screen, force_terminal=True, width=100))
    view = RunView(console, 200.0)
    session = SlimSession(
        stage / "net.slim", "reference", cache_dir=tmp_path / "cache", budget_ms=200, readings=None, on_event=view.hear
    )
    with session:
        view.begin(session)
        with view:
            image = np.zeros(session.inputs[0].shape, np.float32)
            result = session.run(image)
            view.show(Path("cat.jpg"), result)
        table = RichConsole(width=100, file=io.StringIO(), record=True)
        table.print(view.table(Path("cat.jpg"), result))
        text = table.export_text()
    for words in ("0.25x", "latency", "unknown (held: none)", "battery", "starts at", "misses", "cat.jpg: "):
        assert words in text
    assert "0 of 1" in text
    assert "latency" in screen.getvalue(), "drawn on the terminal"
