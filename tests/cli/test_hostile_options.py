"""What no option of any verb does, whatever stands in it: a traceback, a wait, an unbounded read, work in vain."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from hostile_world import commands, line, make_world, name_of

from edgeslim.cli.main import main
from edgeslim.cli.option_types import Bytes, FilePath, Number, Whole, Wholes

RANGES = (Whole, Number, Wholes, Bytes)
BENCH: dict[str, str | None] = {"--show": None}  # measuring takes a bundle instead

# Every path that a verb takes is one of these; what it needs besides.
INPUTS: dict[tuple[str, str], dict[str, str | None]] = {
    ("calibrate", "checkpoint"): {}, ("evaluate", "source"): {}, ("pack", "checkpoint"): {}, ("pack", "--labels"): {},
    ("pack", "--policy"): {}, ("pack", "--into"): {"--out": None}, ("inspect", "bundle"): {}, ("subset", "bundle"): {},
    ("subset", "--table"): {}, ("verify", "bundle"): {}, ("export", "bundle"): {}, ("bench", "bundle"): BENCH,
    ("bench", "--prior"): {**BENCH, "bundle": "net.slim"}, ("bench", "--show"): {}, ("bench", "--import"): BENCH,
    ("simulate", "table"): {},
    ("simulate", "--replay"): {}, ("run", "bundle"): {}, ("run", "--table"): {"--cache-dir": "cache"},
    ("train", "--config"): {},
    # text that may be a path
    ("profile", "source"): {}, ("train", "--init"): {}, ("train", "--teacher"): {},
    ("simulate", "--table"): {"table": None}, ("simulate", "--policy"): {}, ("run", "--policy"): {},
}  # fmt: skip
FOLDERS_READ = {("run", "--images"), ("run", "--sysfs")} | {
    (verb, "--data-root") for verb in ("train", "calibrate", "evaluate")
}
OUTPUTS: dict[tuple[str, str], dict[str, str | None]] = {
    ("train", "--out"): {}, ("train", "--tensorboard"): {},
    ("calibrate", "--out"): {}, ("evaluate", "--plot"): {}, ("pack", "--out"): {},
    ("pack", "--keep-artifacts"): {}, ("subset", "--out"): {}, ("export", "--out"): {},
    ("bench", "--out"): {**BENCH, "bundle": "net.slim"}, ("bench", "--csv"): {**BENCH, "bundle": "net.slim"},
    ("bench", "--plots"): {**BENCH, "bundle": "net.slim"}, ("simulate", "--plot"): {}, ("run", "--log"): {},
    ("demo", "--out"): {},
}  # fmt: skip
FOLDERS_WRITTEN = {
    ("train", "--tensorboard"), ("bench", "--plots"), ("simulate", "--plot"), ("demo", "--out"),
    ("pack", "--keep-artifacts"),
}  # fmt: skip
CACHES = {("run", "--cache-dir")}

# What a verb does once everything is known to be right; none of it may begin.
WORK = (
    "edgeslim.training.loop.Trainer.run", "edgeslim.deploy.calibration.calibrate.calibrate",
    "edgeslim.deploy.evaluate.evaluate_checkpoint", "edgeslim.deploy.pack._export",
    "edgeslim.verbs.subset.write_bundle",
    "edgeslim.core.bundle.write_files", "edgeslim.benchmark.desk.collect.measure", "edgeslim.verbs.simulate._run",
    "edgeslim.verbs.run.SlimSession", "edgeslim.demo.steps.run_all",
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """A pipe that nobody writes to is waited for without end."""

    def too_long(*_: object) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def parameters() -> Iterator[tuple[str, click.Parameter]]:
    for verb, command in commands():
        for parameter in command.params:
            yield verb, parameter


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The error of a command line that is refused as the user's."""
    capsys.readouterr()
    code = main([*arguments, "--json"])
    printed = capsys.readouterr()
    assert code == 2, f"{arguments}: {code}\n{printed.out[-500:]}\n{printed.err[-3000:]}"
    assert "Traceback" not in printed.err
    error: dict[str, Any] = json.loads(printed.out)["error"]
    return error


def test_every_number_has_a_range_and_every_path_a_use() -> None:
    paths = set()
    for verb, parameter in parameters():
        kind = parameter.type
        if isinstance(kind, FilePath):
            paths.add((verb, name_of(parameter)))
        elif isinstance(kind, click.types.IntRange | click.types.FloatRange | Wholes):
            assert isinstance(kind, RANGES), f"{verb} {name_of(parameter)}"
            assert None not in (getattr(kind, "min", None), getattr(kind, "max", None)), (
                f"{verb} {name_of(parameter)} is open at one end"
            )
        else:
            assert kind not in (click.INT, click.FLOAT), f"{verb} {name_of(parameter)} has no range"
            assert not isinstance(kind, click.Path), f"{verb} {name_of(parameter)} takes an empty path"
    assert paths <= {*INPUTS, *FOLDERS_READ, *OUTPUTS, *CACHES}, "say above what this path is, so that it is tried"


NUMBERS = [(verb, parameter) for verb, parameter in parameters() if isinstance(parameter.type, RANGES)]


@pytest.mark.parametrize(("verb", "option"), NUMBERS, ids=[f"{verb}{name_of(option)}" for verb, option in NUMBERS])
def test_numbers_that_are_none(
    verb: str, option: click.Parameter, world: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, kind = name_of(option), option.type
    below = str(kind.min - 1) if isinstance(kind, Whole | Number | Wholes) and kind.min is not None else "0"
    for value in ("nan", "-nan", "inf", "-inf", "1e400", "-1e400", str(10**30), below, "9" * 5000, "9" * 300, "x", ""):
        error = refused(line(verb, world, {name: value}), capsys)
        assert name in error["message"], value
    assert list(here.iterdir()) == []


def needed(options: dict[str, str | None], world: Path) -> dict[str, str | None]:
    return {name: str(world / value) if value == "net.slim" else value for name, value in options.items()}


def hostile_file(kind: str, folder: Path) -> str:
    path = folder / "hostile"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socketless name":
        path = folder / ("x" * 300)
    elif kind == "endless device":
        path = Path("/dev/zero")
    elif kind == "link to it":
        path.symlink_to("/dev/zero")
    elif kind == "huge":
        with open(path, "wb") as file:
            file.truncate(1 << 40)
    elif kind == "deep":
        path.write_text("[" * 100_000)
    elif kind == "directory":
        path.mkdir()
    return str(path)


@pytest.mark.parametrize(
    "kind", ["pipe", "socketless name", "endless device", "link to it", "huge", "deep", "directory", "missing"]
)
@pytest.mark.parametrize(("verb", "option"), INPUTS, ids=["".join(key) for key in INPUTS])
def test_inputs_that_are_no_files(
    verb: str, option: str, kind: str, world: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "in").mkdir()
    path = hostile_file(kind, here / "in")
    if option == "--policy" and verb == "simulate":  # a policy's file is told by its suffix
        os.symlink(path, here / "in" / "x.json")
        path = str(here / "in" / "x.json")
    changes = needed(INPUTS[verb, option], world)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(line(verb, world, {**changes, option: path}), capsys)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 << 10, "KB; a runtime may be imported"
    assert set(os.listdir(here)) <= {"in", "cache"}


@pytest.mark.parametrize("kind", ["pipe", "socketless name", "endless device", "huge", "missing"])
@pytest.mark.parametrize("verb", ["train", "calibrate", "evaluate", "pack", "verify", "run"])
def test_folders_and_archives_that_are_none(
    verb: str, kind: str, world: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = hostile_file(kind, here)
    option = {"run": "--images", "pack": "--calib"}.get(verb, "--data")
    refused(line(verb, world, {option: path if verb == "run" else f"folder:{path}"}), capsys)


@pytest.mark.parametrize("option", ["--images", "--sysfs", "--cache-dir"])
def test_an_empty_path_is_no_folder(option: str, world: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "empty path" in refused(line("run", world, {option: ""}), capsys)["message"]


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def begun(*_: object, **__: object) -> None:
        raise AssertionError("the work began before the output was known to be writable")

    for name in WORK:
        monkeypatch.setattr(name, begun)


@pytest.mark.parametrize(("verb", "option"), OUTPUTS, ids=["".join(key) for key in OUTPUTS])
def test_outputs_are_checked_before_the_work(
    verb: str, option: str, world: Path, here: Path, no_work: None, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = needed(OUTPUTS[verb, option], world)

    def tried(path: Path | str, *more: str) -> str:
        error = refused([*line(verb, world, {**changes, option: str(path)}), *more], capsys)
        return str(error["message"])

    folder = (verb, option) in FOLDERS_WRITTEN
    (here / "a file").write_text("precious")
    (here / "pictures").mkdir()
    (here / "pictures" / "cat.jpg").write_text("precious")
    assert "long" in tried("x" * 300) or "bytes" in tried("x" * 300)
    assert tried("a file/below")
    tried("a file", "--overwrite") if folder else tried("a file")
    tried("/dev/null", "--overwrite")
    if not folder or verb in ("demo", "pack"):
        tried("pictures", "--overwrite")
    if not folder:
        tried("missing/below")
    os.mkfifo(here / "pipe")
    tried("pipe", "--overwrite")
    assert (here / "a file").read_text() == (here / "pictures" / "cat.jpg").read_text() == "precious"
    assert Path("/dev/null").is_char_device()


UNPRIVILEGED = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from hostile_world import line
from test_hostile_options import OUTPUTS, needed
from edgeslim.cli.main import main
world = Path(sys.argv[2])
for (verb, option), more in OUTPUTS.items():
    changes = needed(more, world)
    for path in ("result", str(world / "result")):
        code = main([*line(verb, world, {**changes, option: path}), "--overwrite", "--quiet"])
        print(verb, option, path, code, flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="drops root's powers with setpriv")
def test_folders_that_may_not_be_written(world: Path, tmp_path: Path) -> None:
    """By somebody who owns them, so that root's tests, too, meet a folder without permission."""
    drop = [] if os.geteuid() else ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    if drop and shutil.which(drop[0]) is None:
        pytest.skip("root may write everywhere, and there is no setpriv to change that")
    locked = tmp_path / "locked"
    shutil.copytree(world, locked)
    locked.chmod(0o555)
    try:
        done = subprocess.run(
            [*drop, sys.executable, "-c", UNPRIVILEGED, str(Path(__file__).parent), str(locked)],
            cwd=locked,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert sorted(os.listdir(locked)) == sorted(os.listdir(world))
    finally:
        locked.chmod(0o755)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert len(lines) == 2 * len(OUTPUTS)
    assert all(text.endswith(" 2") for text in lines), done.stdout + done.stderr[-3000:]
    assert "Traceback" not in done.stderr
