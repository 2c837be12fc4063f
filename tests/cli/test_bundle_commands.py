"""inspect, export and subset as people and scripts use them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console as RichConsole

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "core"))

from small_bundle import INFO, builder

from edgeslim.cli.console import Console
from edgeslim.cli.main import main
from edgeslim.core.pixels import ImageContract
from edgeslim.core.width import Width
from edgeslim.deploy.bundle_reports import CheckReport
from edgeslim.deploy.pack import pack
from edgeslim.deploy.pack_plan import PackOptions
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.models.registry import create
from edgeslim.press.build import bundle_parts


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.slim"
    builder()[0].write(path, overwrite=False)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    """Exit code and the JSON document of one verb."""
    code = main([*map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_inspect_tells_what_is_in_it(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = run(capsys, "inspect", bundle)
    assert code == 0
    assert document["format_version"] == 1
    assert document["model"]["id"] == INFO.model.id
    assert [row["permille"] for row in document["widths"]] == [500, 1000]
    assert {"permille", "aliases", "macs", "params", "top1", "fold_bytes"} <= document["widths"][0].keys()
    assert set(document["targets"]) == {"coreml", "executorch"}
    for rows in document["targets"].values():
        assert [row["permille"] for row in rows] == [500, 1000]
        assert all({"path", "bytes", "sha256"} <= file.keys() for row in rows for file in row["files"])
    assert set(document["parts"]) == {"header", "weights", "folds", "templates", "recipes", "manifest"}
    assert sum(document["parts"].values()) == document["bytes"] == bundle.stat().st_size


@pytest.mark.parametrize("depth", ["parts", "files"])
def test_inspect_checks_as_deep_as_asked(depth: str, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "inspect", bundle, "--check", depth) == (0, {"ok": True, "depth": depth})
    content = bytearray(bundle.read_bytes())
    content[-1] ^= 1
    bundle.write_bytes(content)
    assert run(capsys, "inspect", bundle)[0] == 0
    code, document = run(capsys, "inspect", bundle, "--check", depth)
    assert (code, document["error"]["name"]) == (2, "bad-deflate")


def test_artifacts_have_addresses(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = [row["artifact"] for rows in run(capsys, "inspect", bundle)[1]["targets"].values() for row in rows]
    assert ids == ["coreml-fp16-8/0500", "coreml-fp16-8/1000", "executorch-fp32-8/0500", "executorch-fp32-8/1000"]
    code, document = run(capsys, "export", bundle, "--artifact", ids[2], "-o", tmp_path / "a.pte")
    assert (code, document["artifact"], document["permille"]) == (0, ids[2], 500)
    code, document = run(capsys, "export", bundle, "--artifact", "executorch-fp32-8/0501", "-o", tmp_path / "b.pte")
    assert code == 2
    assert "executorch-fp32-8/0500" in document["error"]["hint"]
    code, document = run(capsys, "export", bundle, "--artifact", ids[2], "--width", "1", "-o", tmp_path / "b.pte")
    assert code == 2
    code, document = run(
        capsys, "subset", bundle, "--artifact", ids[0], "--artifact", ids[3], "-o", tmp_path / "s.slim"
    )
    assert [row["artifact"] for row in document["rows"]] == [ids[0], ids[3]]


def test_inspect_for_people(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(bundle)]) == 0
    shown = capsys.readouterr()
    assert "coreml-fp16-8" in shown.out
    assert "edgeslim export" in shown.err


@pytest.fixture(scope="module")
def two_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts for images of 24 and of 32 pixels."""
    out = tmp_path_factory.mktemp("two") / "two.slim"
    low, high = Width(125), Width(250)
    model = create("us_mobilenet_v1", num_classes=4, input_size=32, low=low, high=high, norm="none")
    checkpoint = Checkpoint.from_model(model, input=ImageContract.imagenet(3, 32, 32, crop="1"))
    pack(checkpoint, PackOptions(targets=["reference"], nets=[low, high], out=out, input_sizes=(24, 32), jobs=1))
    return out


def test_inspect_counts_at_every_input(two_inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, document = run(capsys, "inspect", two_inputs)
    artifacts = {row["artifact"]: row["macs"] for row in document["targets"]["reference"]}
    for net in document["nets"]:
        at = {size: artifacts[f"reference-fp32-{size}/{net['net']}"] for size in ("24", "32")}
        assert net["macs_at"] == at
        assert net["macs"] == at["32"] > at["24"]
    assert main(["inspect", str(two_inputs)]) == 0
    out = capsys.readouterr().out
    assert f"{artifacts['reference-fp32-24/0250'] / 1e6:,.1f}" in out
    assert f"{artifacts['reference-fp32-32/0250'] / 1e6:,.1f}" in out


LONG = "coreml-fp16-224-nhwc-uint8/slim-tail"


@pytest.mark.parametrize(("width", "left"), [(76, 4), (75, 3), (65, 2), (53, 1), (30, 1)])
def test_ids_are_whole_however_narrow_it_is(width: int, left: int) -> None:
    console = Console(results=RichConsole(file=io.StringIO(), width=width))
    heads = ("artifact", "file bytes", "explained", "SQNR dB")
    table = console.artifact_table("t", heads, [(LONG, "123,456,789", "100.00 %", "64.1")], note="so")
    console.result(CheckReport(depth="parts"), table)
    shown = console.results.file.getvalue()  # type: ignore[attr-defined]
    assert len(table.columns) == left
    assert "so" in shown
    if width > len(LONG):
        assert LONG in shown
    assert LONG in "".join(shown.replace("│", "").split())
    assert all(head in "".join(f"{shown} ".split("\n")) for head in heads[:left])
    assert "…" not in shown


def test_inspect_refuses_what_is_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content, rule in ((b"", "truncated"), (b"x" * 100, "header-too-large")):
        (tmp_path / "x.slim").write_bytes(content)
        code, document = run(capsys, "inspect", tmp_path / "x.slim")
        assert (code, document["error"]["name"]) == (2, rule)
    code, document = run(capsys, "inspect", tmp_path / "missing.slim")
    assert (code, document["error"]["name"]) == (2, "usage")


def test_export_writes_the_artifact(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.pte"
    code, document = run(capsys, "export", bundle, "--target", "executorch", "--width", "0.5", "-o", out)
    assert code == 0
    assert document["permille"] == 500
    (file,) = document["files"]
    assert file["bytes"] == out.stat().st_size
    assert file["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    code, document = run(capsys, "export", bundle, "--target", "executorch", "--width", "0.5", "-o", out)
    assert (code, document["error"]["name"]) == (2, "output")
    assert "--overwrite" in document["error"]["hint"]


def test_a_package_is_replaced_whole(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.mlpackage"
    arguments = ("export", bundle, "--target", "coreml", "-o", out)
    assert run(capsys, *arguments, "--width", "0.5")[0] == 0
    (out / "notes.txt").write_text("somebody's")
    assert run(capsys, *arguments, "--width", "1", "--overwrite")[0] == 2
    assert (out / "notes.txt").read_text() == "somebody's"
    (out / "notes.txt").unlink()
    code, document = run(capsys, *arguments, "--width", "1", "--overwrite")
    assert code == 0
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert there == {file["path"] for file in document["files"]}
    assert sorted(os.listdir(tmp_path)) == ["m.mlpackage", "tiny.slim"]


def test_a_width_that_is_not_there(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("export", bundle, "--target", "executorch", "-o", tmp_path / "m.pte")
    code, document = run(capsys, *arguments, "--width", "0.7")
    assert (code, document["error"]["name"]) == (2, "width")
    assert "0.5 and 1.0" in document["error"]["message"]
    assert "--nearest" in document["error"]["hint"]
    assert run(capsys, *arguments, "--width", "0.7", "--nearest")[1]["permille"] == 500
    code, document = run(capsys, *arguments, "--width", "0.3", "--nearest", "--overwrite")
    assert (code, document["error"]["name"]) == (2, "width")
    assert "--nearest" not in document["error"]["hint"]


def test_an_alias_is_the_same_net(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, _ = builder((Width(500),), ("executorch",), aliases=[Width(505), Width(510)])
    made.write(tmp_path / "a.slim", overwrite=False)
    arguments = ("export", tmp_path / "a.slim", "--target", "executorch", "-o", tmp_path / "m.pte", "--overwrite")
    for asked in ("0.505", "0.51"):
        assert run(capsys, *arguments, "--width", asked)[1]["permille"] == 500
    assert run(capsys, *arguments, "--width", "0.509", "--nearest")[1]["permille"] == 500


@pytest.mark.parametrize(("name", "near"), [("excutorch", "executorch"), ("coremll", "coreml")])
def test_unknown_targets(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, near: str
) -> None:
    arguments = ("export", bundle, "--target", name, "--width", "1", "-o", tmp_path / "m")
    code, document = run(capsys, *arguments)
    assert (code, document["error"]["name"]) == (2, "usage")
    assert near in document["error"]["hint"]
    code, document = run(capsys, "export", bundle, "--target", "tflite", "--width", "1", "-o", tmp_path / "m")
    assert (code, document["error"]["name"]) == (2, "usage")
    assert "coreml, executorch" in document["error"]["message"]


def test_subset_is_what_packing_less_gives(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "less.slim"
    code, document = run(capsys, "subset", bundle, "--target", "coreml", "--widths", "0.5", "-o", out)
    assert code == 0
    stream = io.BytesIO()
    for part in bundle_parts(builder((Width(500),), ("coreml",))[0].content()):
        stream.write(part)
    assert out.read_bytes() == stream.getvalue()
    assert document["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert document["bytes"] == out.stat().st_size
    assert [(row["target"], row["permille"]) for row in document["rows"]] == [("coreml", 500)]


def test_subset_of_nothing(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for extra in (("--widths", "0.7"), ("--target", "litert")):
        code, document = run(capsys, "subset", bundle, *extra, "-o", tmp_path / "less.slim")
        assert (code, document["error"]["name"]) in ((2, "usage"), (2, "width"))
    assert not (tmp_path / "less.slim").exists()
