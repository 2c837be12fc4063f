"""Commands that a verb prints are run as printed, in a folder whose files have spaces in their names; those in hints
name verbs and options that exist."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

import edgeslim
from edgeslim.cli import pack as pack_verb
from edgeslim.cli.main import VERBS, cli, main
from edgeslim.simulation.engine import Setting
from edgeslim.verbs import bench as bench_verb
from edgeslim.verbs import simulate as simulate_verb

PACKAGE = Path(edgeslim.__file__).parent
DATA = "folder:my data"

# A session, and per printed command what of the session must be in it. One after the other, in the same folder.
SESSIONS: list[tuple[str, list[tuple[str, ...]]]] = [
    (
        f"train --model us_mobilenet_v1 --data '{DATA}' --data-root 'some root' --widths 0.13:0.25 --ladder 0.13,0.25 "
        "--input-size 16 --epochs 1 --batch-size 8 --val-images 0 --workers 0 --device cpu -o 'my net.pt'",
        [("evaluate", "--data", DATA, "--data-root", "some root", "--device", "cpu"), ("pack",)],
    ),
    (
        f"calibrate 'my net.pt' --data '{DATA}' --data-root 'some root' --widths 0.13,0.25 --workers 0 -o 'cal net.pt'",
        [("evaluate", "--data-root", "some root", "--write"), ("pack", "cal net.pt")],
    ),
    (f"evaluate 'cal net.pt' --data '{DATA}' --workers 0 --write", [("pack", "-o", "cal net-2.slim")]),
    (
        "pack 'cal net.pt' --target reference -o 'our net.slim'",
        [("verify", "our net.slim"), ("bench", "--target", "reference"), ("export", "model.ref")],
    ),
    ("inspect 'our net.slim'", [("verify", "our net.slim"), ("export", "model-2.ref")]),
    ("subset 'our net.slim' --widths 0.25 -o 'small net.slim'", [("inspect", "small net.slim"), ("verify",)]),
    (
        "export 'our net.slim' --target reference --width 0.13 -o my.ref",
        [("verify", "--artifact", "reference-fp32-16/0130")],
    ),
    ("verify 'our net.slim'", [("bench", "-o", "table-2.json")]),
    (
        "verify 'our net.slim' --target reference --widths 0.25 --threads 2",
        [("bench", "--artifact", "reference-fp32-16/0250", "--threads", "2", "-o", "table-3.json")],
    ),
    (
        "bench 'our net.slim' --threads 1,2 -o 'my table.json'",
        [("bench", "--show", "my table.json", "--plots", "plots"), ("simulate", "my table.json", "--threads", "1")],
    ),
    (
        "simulate 'my table.json' --threads 2 --widest-ms 20 --scenario hot --minutes 0.1 --seed 7 --policy balanced",
        [("simulate", "my table.json", "--threads", "2", "--widest-ms", "20", "--seed", "7", "--policy", "all")],
    ),
    (
        "simulate --table 'my table.json' --threads 2 --widest-ms 20 --scenario hot --minutes 0.1",
        [("simulate", "--table", "my table.json", "--scenario", "hot", "--minutes", "0.1", "--plot", "plots-2")],
    ),
    (
        "run 'our net.slim' --target reference --images 'my data/test/a' --table 'my table.json' --threads 2 "
        "--variant fp32-16 --log frames.jsonl --cache-dir cache",
        [("simulate", "my table.json", "--threads", "2", "--precision", "fp32", "--replay", "frames.jsonl")],
    ),
]


def printed(error_stream: str) -> list[str]:
    """What stands below "next:"."""
    return re.findall(r"^  (edgeslim .*)$", error_stream, re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pack_verb, "_installed", lambda: ("reference",))  # what "all" means on this machine
    monkeypatch.setattr(bench_verb, "BURST_SECONDS", 0.02)
    monkeypatch.setattr(bench_verb, "BURST_RUNS", 5)
    short = lambda **given: Setting(**{**given, "minutes": min(given["minutes"], 0.1)})  # noqa: E731
    monkeypatch.setattr(simulate_verb, "Setting", short)
    random = np.random.default_rng(0)
    (tmp_path / "some root").mkdir()
    for split in ("train", "test"):
        for label in "ab":
            (tmp_path / "my data" / split / label).mkdir(parents=True)
            for number in range(12):
                pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "my data" / split / label / f"{number}.png")
    return tmp_path


@pytest.mark.long
def test_every_printed_command_runs_as_printed(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for session, wanted in SESSIONS:
        capfd.readouterr()
        assert main(shlex.split(session)) == 0, f"{session}\n{capfd.readouterr().err}"
        commands = printed(capfd.readouterr().err)
        assert len(commands) == len(wanted), f"{session}: {commands}"
        for command, words in zip(commands, wanted, strict=True):
            said = shlex.split(command)
            assert said[0] == "edgeslim"
            assert [word for word in words if word not in said] == [], f"{session}: {command}"
            assert main(said[1:]) == 0, f"{session}\n{command}\n{capfd.readouterr().err}"


def test_no_verb_that_prints_a_command_is_forgotten() -> None:
    printing = {path.stem for path in (PACKAGE / "cli").glob("*.py") if "console.next_commands(" in path.read_text()}
    tried = {session.split()[0] for session, _ in SESSIONS}
    assert printing - {"demo"} == tried, "the demo's own command is run in tests/demo"


def texts(path: Path) -> Iterator[str]:
    """Every text of a module; what is filled in at run time stands as X."""
    inside: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(value) for value in node.values}
            yield "".join(str(v.value) if isinstance(v, ast.Constant) else "X" for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


def test_commands_in_hints_have_the_options_that_they_name() -> None:
    context, seen = click.Context(cli), 0
    for path in PACKAGE.rglob("*.py"):
        for text in texts(path):
            for verb, rest in re.findall(r"edgeslim (\w+)((?: (?![.;,)`]|edgeslim)\S+)*)", text):
                if verb not in VERBS:
                    continue
                command = cli.get_command(context, verb)
                assert command is not None
                there = {"--help", *(name for parameter in command.params for name in parameter.opts)}
                for option in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", rest.partition(";")[0]):
                    seen += 1
                    assert option in there, f"{path.name}: edgeslim {verb} has no {option}: {text!r}"
    assert seen > 30
