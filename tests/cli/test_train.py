"""``edgeslim train``: one document, a checkpoint that is ready to use, words for what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeslim.cli.main import main
from edgeslim.core.width import Width
from edgeslim.files import sha256_file
from edgeslim.models.checkpoint import load_checkpoint

SMALL = ["--data", "digits", "--images", "64", "--epochs", "1", "--widths", "0.125:0.25", "--ladder", "2"]


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, dict[str, object]]:
    code = main(["train", *args, "--json", "--quiet"])
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "us.pt"
    assert main(["train", "--model", "us_mobilenet_v1", *SMALL, "--out", str(out), "--quiet"]) == 0
    return out


def test_the_checkpoint_is_calibrated_and_measured(trained: Path) -> None:
    checkpoint = load_checkpoint(trained)
    assert checkpoint.ladder == (Width(125), Width(250))
    assert checkpoint.trained == (Width(125), Width(250))
    assert {row["images"] for row in checkpoint.accuracies.values()} == {450}
    assert checkpoint.labels == tuple("0123456789")
    assert len(checkpoint.data_sha256 or "") == 64
    settings = checkpoint.provenance["training"]
    assert (settings["distill"], settings["optim"]["optimizer"], settings["seed"]) == ("trusted", "sgd", 0)
    assert (settings["teacher"], settings["data_sha256"]) == ("inplace", checkpoint.data_sha256)


def test_a_log_line_per_step_and_no_resume_file(trained: Path) -> None:
    lines = [json.loads(line) for line in trained.with_suffix(".log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0]
    assert set(lines[0]["losses"]) == {"125", "250"}
    assert sorted(path.name for path in trained.parent.iterdir()) == ["us.log.jsonl", "us.pt"]


def test_the_document_of_a_warm_start_with_a_teacher(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "next.pt"
    code, document = run(capsys, *SMALL, "--init", str(trained), "--teacher", str(trained), "--out", str(out))
    assert code == 0
    assert (document["checkpoint"], document["epochs"]) == (str(out), 1)
    rows = document["rows"]
    assert isinstance(rows, list)
    named = {"permille", "net", "precision", "metric", "value", "loss", "top1", "top5"}
    assert [set(row) for row in rows] == [named] * 2
    assert (document["task"], document["metric"]) == ("classify", "top1")
    assert [row["permille"] for row in rows] == [125, 250]
    checkpoint = load_checkpoint(out)
    assert checkpoint.spec == load_checkpoint(trained).spec
    assert checkpoint.provenance["training"]["teacher"] == sha256_file(trained)  # by content: a path says little


def test_a_teacher_by_moving_average(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "ema.pt"
    code, _ = run(capsys, "--model", "us_mobilenet_v1", *SMALL, "--teacher", "ema", "--out", str(out))
    assert code == 0
    assert load_checkpoint(out).provenance["training"]["teacher"] == "ema"


@pytest.mark.parametrize(
    ("args", "name", "words"),
    [
        (["--model", "us_mobilenet_v9"], "model", "us_mobilenet_v9"),
        ([], "usage", "no network given"),
        (["--model", "us_mobilenet_v1", "--data", "digit"], "data", "no data set"),
        (["--model", "us_mobilenet_v1", "--widths", "1.0:0.5"], "width", "upside down"),
        (["--model", "us_mobilenet_v1", "--ladder", "0.1,0.5"], "width", "outside the trained range"),
        (["--model", "us_mobilenet_v1", "--lr", "0"], "usage", "learning rate"),
        (["--model", "us_mobilenet_v1", "--device", "toaster"], "usage", "no such device"),
        (["--model", "us_mobilenet_v1", "--teacher", "missing.pt"], "checkpoint", "missing.pt"),
        (["--model", "us_mobilenet_v1", "--init", "missing.pt"], "checkpoint", "missing.pt"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_written(
    args: list[str], name: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = run(capsys, *args, "--out", str(tmp_path / "us.pt"))
    error = document["error"]
    assert isinstance(error, dict)
    assert (code, error["name"]) == (2, name)
    assert words in error["message"]
    assert not list(tmp_path.iterdir())


def test_a_result_is_not_replaced_unasked(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = trained.read_bytes()
    code, document = run(capsys, "--model", "us_mobilenet_v1", *SMALL, "--out", str(trained))
    assert code == 2
    assert "error" in document
    assert trained.read_bytes() == before
