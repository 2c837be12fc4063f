"""Every rule of FORMAT.md has a golden that breaks it, and the reader names the rule."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import zlib
from pathlib import Path
from typing import Any, Literal

import pytest

import edgeslim.core
from edgeslim.core.bundle import SlimBundle
from edgeslim.errors import FormatError

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
INDEX = json.loads((GOLDEN / "bundles" / "index.json").read_text())
Deep = Literal["open", "rebuild", "parts", "files"]
DEPTHS: tuple[Deep, ...] = ("open", "rebuild", "parts", "files")
OWN_LIMITS = {"too-large"}  # every reader has its own: no golden can break them all

sys.path.insert(0, str(GOLDEN))


def golden(row: dict[str, Any], folder: Path) -> Path:
    """The bundle's path; those stored deflated are inflated into ``folder``."""
    path: Path = GOLDEN / "bundles" / row["path"]
    if path.suffix != ".z":
        return path
    inflated = folder / path.stem
    inflated.write_bytes(zlib.decompress(path.read_bytes()))
    return inflated


def read(path: Path, depth: Deep, artifact: str, folder: Path) -> None:
    """Look into a bundle as deep as ``depth`` says."""
    with SlimBundle.open(path) as bundle:
        if depth == "rebuild":
            bundle.rebuild_artifact(artifact, folder / "out.pte")
        if depth in ("parts", "files"):
            bundle.check(depth)


@pytest.mark.parametrize("row", INDEX["bad"], ids=lambda row: Path(row["path"]).stem)
def test_a_broken_rule_is_named_at_every_depth_that_sees_it(row: dict[str, Any], tmp_path: Path) -> None:
    path = golden(row, tmp_path)
    for depth in DEPTHS:
        folder = tmp_path / depth
        folder.mkdir()
        if depth not in row["refused"]:
            read(path, depth, row["artifact"], folder)
            continue
        with pytest.raises(FormatError) as caught:
            read(path, depth, row["artifact"], folder)
        assert caught.value.rule == row["rule"], caught.value
        assert caught.value.exit_code == 2
        assert not list(folder.iterdir())


def test_every_rule_has_a_golden() -> None:
    text = (Path(edgeslim.core.__file__).parent / "FORMAT.md").read_text()
    tables = re.findall(r"\| rule \| refused.*?\n((?:\|.*\n)+)", text)
    assert len(tables) == 4
    rules = {
        rule
        for table in tables
        for line in table.splitlines()
        for rule in re.findall(r"`([a-z0-9-]+)`", line.split("|")[1])
    }
    assert rules - OWN_LIMITS == {row["rule"] for row in INDEX["bad"]}


def test_rules_raised_by_the_code_are_documented() -> None:
    root = Path(edgeslim.core.__file__).parent
    raised = {
        rule for path in root.glob("*.py") for rule in re.findall(r'FormatError\(\s*"([a-z0-9-]+)"', path.read_text())
    }
    assert raised <= {row["rule"] for row in INDEX["bad"]} | OWN_LIMITS


@pytest.mark.parametrize("row", INDEX["good"], ids=lambda row: Path(row["path"]).stem)
def test_good_goldens_rebuild(row: dict[str, Any], tmp_path: Path) -> None:
    path = golden(row, tmp_path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == row["sha256"]
    with SlimBundle.open(path) as bundle:
        bundle.check("files")
        for artifact in row["artifacts"]:
            out = tmp_path / artifact["artifact"].replace("/", "-")
            done = bundle.rebuild_artifact(artifact["artifact"], out)
            assert {file.path: file.sha256 for file in done.files} == artifact["files"]
            for name, sha256 in artifact["files"].items():
                content = (out / name if out.is_dir() else out).read_bytes()
                assert hashlib.sha256(content).hexdigest() == sha256


@pytest.mark.skipif(INDEX["zlib"] != zlib.ZLIB_RUNTIME_VERSION, reason="goldens were deflated by another zlib")
def test_goldens_are_what_their_script_makes() -> None:
    from make_bundles import GOOD, bad, good

    made = {name: good(name)[0] for name in GOOD}
    for row in INDEX["good"] + INDEX["bad"]:
        path: Path = GOLDEN / "bundles" / row["path"]
        name = path.name.partition(".slim")[0]
        if name.startswith("spike-"):
            continue
        content = path.read_bytes() if path.suffix != ".z" else zlib.decompress(path.read_bytes())
        assert content == (made[name] if path.parent.name == "good" else bad(name)), path


def test_the_example_in_the_format_page_is_the_golden() -> None:
    text = (Path(edgeslim.core.__file__).parent / "FORMAT.md").read_text()
    example = text[text.index("## 11. Example") :]
    lines = re.findall(r"^    ((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:  |$)", example, re.MULTILINE)
    content = (GOLDEN / "bundles" / "good" / "tiny-f32.slim").read_bytes()
    assert f"({len(content):,} bytes" in example
    assert content.startswith(bytes.fromhex("".join(lines[:2])))
    with SlimBundle.open(GOLDEN / "bundles" / "good" / "tiny-f32.slim") as bundle:
        variant, artifact = bundle.artifact("executorch", 500)
        stored = bundle.stored("recipe/executorch-fp32-8/0500")
        assert zlib.decompress(stored) == bytes.fromhex("".join(lines[2:]))
        assert f"{len(stored)} bytes as stored" in example
        assert len(bundle.recipe(variant, artifact)) == 17
