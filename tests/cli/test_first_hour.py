"""What a new user does wrong in the first hour, and what is said then."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgeslim.cli.main import main
from edgeslim.deploy.evaluate import class_names
from edgeslim.errors import DataError, MissingExtraError
from edgeslim.files import kind_of_file
from edgeslim.host import decoding
from edgeslim.models.checkpoint import load_checkpoint

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "cli"))
from hostile_world import make_world  # noqa: E402

BUNDLE = TESTS / "golden" / "bundles" / "good" / "tiny-f32.slim"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(make_world(tmp_path))
    (tmp_path / "README.md").write_text("# a net\n" * 40)
    save_file({"w": np.zeros((2, 2), np.float32)}, tmp_path / "theirs.safetensors")
    return tmp_path


def said(argv: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(argv)
    return code, capsys.readouterr().err


@pytest.mark.parametrize("verb", ["inspect", "verify", "bench", "export -o x --artifact a", "subset -o x"])
@pytest.mark.parametrize(
    ("file", "what", "next_verb"),
    [
        ("README.md", "is text, no bundle", "edgeslim pack"),
        ("net.pt", "torch.save", "edgeslim profile"),
        ("table.json", "is JSON", "edgeslim bench --show"),
        ("images/0.png", "PNG", "--images"),
        ("theirs.safetensors", "another program", "edgeslim pack"),
    ],
)
def test_what_is_no_bundle_is_named(
    world: Path, verb: str, file: str, what: str, next_verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *rest = verb.split()
    code, words = said([name, file, *rest], capsys)
    assert code != 0
    assert what in words
    assert next_verb in words
    assert "has 7" not in words, "no header of 7814701273158328355 bytes"


@pytest.mark.parametrize(
    ("argv", "what"),
    [
        (["profile", "README.md"], "it is text"),
        (["pack", "net.slim", "--target", "reference", "-o", "x.slim"], "is a bundle, not a checkpoint"),
        (["bench", "--show", "net.pt"], "torch.save"),
        (["simulate", "net.slim"], "safetensors file, as bundles are"),
    ],
)
def test_other_verbs_name_what_they_met(
    world: Path, argv: list[str], what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, words = said(argv, capsys)
    assert code != 0
    assert what in words
    assert "edgeslim " in words.partition("hint:")[2] or "expected" in words, words


def test_an_empty_and_a_binary_file_have_a_kind() -> None:
    assert [kind_of_file(head)[0] for head in (b"", b"hello", b"\xff\xfe\0\0")] == ["empty", "text", "of no known kind"]


class Named:
    """As much of a data set as names need."""

    name = "pets"

    def __init__(self, *classes: str) -> None:
        self.classes, self.num_classes = classes, len(classes)


def test_classes_of_another_name_are_told_and_of_another_order_refused() -> None:
    labels = ("cat", "dog", "owl")
    assert class_names(Named("cat", "dog", "owl"), labels) is None  # type: ignore[arg-type]
    assert class_names(Named("a", "b", "c"), None) is None  # type: ignore[arg-type]
    doubt = class_names(Named("cat", "fish", "owl"), labels)  # type: ignore[arg-type]
    assert doubt is not None
    assert "class 1 is 'dog' for the net and 'fish' in pets; 2 of 3 names" in doubt
    with pytest.raises(DataError, match="another order: class 0 is 'cat'"):
        class_names(Named("dog", "cat", "owl"), labels)  # type: ignore[arg-type]


def test_evaluate_asks_for_the_names(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both of a checkpoint and of a bundle: packed with other labels than the folders of the data."""
    (world / "labels.txt").write_text("w\nx\ny\nz\n")
    assert main(["pack", "net.pt", "--target", "reference", "--labels", "labels.txt", "-o", "x.slim", "-q"]) == 0
    code, words = said(["evaluate", "x.slim", "--data", f"folder:{world / 'data'}", "--workers", "0"], capsys)
    assert code == 0
    assert "warning: class 0 is 'w' for the net and 'a' in" in words
    (world / "labels.txt").write_text("d\nc\nb\na\n")
    assert main(["pack", "net.pt", "--target", "reference", "--labels", "labels.txt", "-o", "y.slim", "-q"]) == 0
    code, words = said(["evaluate", "y.slim", "--data", f"folder:{world / 'data'}", "--workers", "0"], capsys)
    assert code == DataError.exit_code
    assert "another order" in words


def test_calibrate_without_out_adds_to_its_checkpoint(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(load_checkpoint(world / "net.pt").statistics)
    argv = ["calibrate", "net.pt", "--data", f"folder:{world / 'data'}", "--widths", "0.2", "--workers", "0"]
    assert main(argv) == 0
    assert len(load_checkpoint(world / "net.pt").statistics) == len(before) + 1
    (world / "other.pt").write_bytes((world / "net.pt").read_bytes())
    assert main([*argv, "-o", "other.pt"]) == 2, "somebody else's is not replaced unasked"


@pytest.mark.parametrize("module", ["torch", "sklearn", "matplotlib"])
def test_demo_knows_what_it_needs_before_it_begins(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == module else there(name, *rest))
    assert main(["demo", "--out", str(tmp_path / "demo"), "--json"]) == MissingExtraError.exit_code
    assert "pip install" in json.loads(capsys.readouterr().out)["error"]["hint"]
    assert not (tmp_path / "demo").exists()


def test_run_misses_pillow_before_it_measures(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MissingExtraError("PIL", "images")

    def open_session(*_: object, **__: object) -> None:
        raise AssertionError("a session was opened first")

    monkeypatch.setattr(decoding, "ensure_available", missing)
    monkeypatch.setattr("edgeslim.verbs.run.SlimSession", open_session)
    assert main(["run", str(BUNDLE), "--images", "images"]) == MissingExtraError.exit_code
