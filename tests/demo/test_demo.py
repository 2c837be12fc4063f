"""``edgeslim demo``: the whole road for one runtime, trained for one epoch, and the page it ends in."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

import edgeslim
from edgeslim.cli import demo as demo_verb
from edgeslim.cli.main import main
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.latency import LatencyTable
from edgeslim.demo import figures, report, steps
from edgeslim.demo.headline import percent

NAMES = ["train", "calibrate", "evaluate", "profile", "pack", "inspect", "verify", "bench", "simulate"]


def test_the_plan_goes_as_far_as_the_targets_allow() -> None:
    assert [step.name for step in steps.plan(["executorch", "coreml", "litert"])] == NAMES
    assert [step.name for step in steps.plan(["coreml"])] == NAMES[:7], "nothing runs here that could be timed"
    assert [step.name for step in steps.plan([])] == NAMES[:4]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """The folder, and the verb's document."""
    out = tmp_path_factory.mktemp("demo") / "out"
    argv = [sys.executable, "-m", "edgeslim", "demo", "--out", str(out), "--targets", "litert", "--epochs", "1"]
    done = subprocess.run(
        [*argv, "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    schema = Path(edgeslim.__file__).parent / "cli" / "demo.schema.json"
    jsonschema.validate(document, json.loads(schema.read_text(encoding="utf-8")))
    return out, document


def test_every_step_leaves_what_it_promises(demo: tuple[Path, dict[str, object]]) -> None:
    out, document = demo
    assert [step["name"] for step in document["steps"]] == NAMES  # type: ignore[attr-defined]
    assert document["left_out"] == []
    with SlimBundle.open(out / steps.BUNDLE) as bundle:
        assert len(bundle.manifest.nets) == 6
        assert [variant.target for variant in bundle.manifest.variants] == ["litert"]
        assert all(artifact.quality is not None for artifact in bundle.manifest.variants[0].artifacts)
    rows = LatencyTable.read(out / steps.TABLE).rows
    assert len(rows) == 6
    assert all(row.p50_ms is not None for row in rows)
    assert (out / steps.TRACES / "balanced.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_stands_alone(demo: tuple[Path, dict[str, object]]) -> None:
    out, document = demo
    page = (out / "report.html").read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sum(source.startswith("data:image/") for source in sources) == 4
    assert all(source.startswith("data:") for source in sources), "nothing is loaded from anywhere"
    assert "<script" not in page
    for step in document["steps"]:  # type: ignore[attr-defined]
        assert step["command"] in page
    for title in ("A hot afternoon", "What is in the bundle", "Every runtime", "Words", "Do it again"):
        assert title in page


def test_the_page_begins_with_three_numbers_that_can_be_redone(demo: tuple[Path, dict[str, object]]) -> None:
    """From the steps' own documents: size against one model, accuracies, late frames against a fixed width."""
    out, _ = demo
    logs = {name: json.loads((out / "logs" / f"{name}.json").read_text()) for name in NAMES}
    page = (out / "report.html").read_text(encoding="utf-8")
    found = re.findall(r'<div class="number"><strong>(.*?)</strong>', page)
    files = [row["artifact_bytes"] for row in logs["inspect"]["targets"]["litert"]]
    tops = [row["top1"] for row in logs["evaluate"]["rows"]]
    late = {row["policy"]: row["miss_rate"] for row in logs["simulate"]["rows"]}
    assert found == [
        f"{(out / steps.BUNDLE).stat().st_size / max(files):.2f}×",
        f"{100 * tops[0]:.1f} to {100 * tops[-1]:.1f} %",
        f"{percent(late['balanced'])}, not {percent(late['widest'])}",
    ]
    assert page.index('class="number"') < page.index("<section>")


def test_every_row_is_on_the_page_and_nothing_scrolls(demo: tuple[Path, dict[str, object]]) -> None:
    page = (demo[0] / "report.html").read_text(encoding="utf-8")
    assert "overflow" not in page.replace("overflow-wrap", "")
    assert "max-height" not in page
    assert "@media print" in page
    tables = re.findall(r"<table><caption>.*?</table>", page, re.DOTALL)
    assert [table.count("<tr>") for table in tables] == [1 + 6], "a row per width for the one runtime"
    for words in ("oracle", "naive", "delivered"):
        assert f">{words}" not in page, "names of the simulation are said in words"


def test_colours_are_told_apart_by_every_kind_of_eye() -> None:
    """Okabe and Ito's set, without their black and yellow; and no red beside green anywhere in a picture's code."""
    known = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"}
    assert set(figures.COLOURS) == known
    assert len(set(figures.MARKERS)) == len(figures.COLOURS)


def test_no_seed_is_chosen() -> None:
    assert not any("--seed" in step.argv for step in steps.plan(["litert"]))


def test_the_printed_command_works(
    demo: tuple[Path, dict[str, object]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the work done before: the demo's last words, as printed."""
    monkeypatch.setattr(steps, "run_all", lambda *_, **__: [])
    monkeypatch.setattr(report, "write", lambda *_, **__: demo[0] / "report.html")
    monkeypatch.setattr(demo_verb, "_prepare", lambda *_, **__: None)
    assert main(["demo", "--out", str(demo[0]), "--targets", "litert"]) == 0
    (command,) = re.findall(r"^  (edgeslim .*)$", capsys.readouterr().err, re.MULTILINE)
    assert main(shlex.split(command)[1:]) == 0


def test_an_earlier_demo_is_not_replaced_unasked(
    demo: tuple[Path, dict[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    before = (demo[0] / "report.html").read_bytes()
    assert main(["demo", "--out", str(demo[0]), "--json"]) == 2
    assert "--overwrite" in json.loads(capsys.readouterr().out)["error"]["hint"]
    assert (demo[0] / "report.html").read_bytes() == before


def test_an_unknown_target_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path / "x"), "--targets", "toaster", "--json"]) == 2
    assert "toaster" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert not (tmp_path / "x").exists()
