"""``edgeslim train``: one document, a checkpoint that is ready to use, words for what cannot be."""

from __future__ import annotations

import json
import shlex
import signal
from pathlib import Path

import pytest

from edgeslim.cli.main import main
from edgeslim.cli.train_view import TrainView
from edgeslim.core.width import Width
from edgeslim.files import sha256_file
from edgeslim.models.checkpoint import load_checkpoint
from edgeslim.training.watch import Progress

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


def test_beside_it_are_the_log_the_options_and_the_best(trained: Path) -> None:
    lines = [json.loads(line) for line in trained.with_suffix(".log.jsonl").read_text().splitlines()]
    step, validation = lines
    assert (step["step"], set(step["losses"])) == (0, {"125", "250"})
    assert {name: set(values) for name, values in validation["validation"].items()} == {
        "125": {"loss", "top1", "top5"},
        "250": {"loss", "top1", "top5"},
    }
    names = ["us.args.json", "us.best.pt", "us.log.jsonl", "us.pt"]  # and no resume file
    assert sorted(path.name for path in trained.parent.iterdir()) == names
    best = load_checkpoint(trained.with_name("us.best.pt"))
    assert {(row["split"], row["images"]) for row in best.accuracies.values()} == {("held out", 3)}


def test_the_header_says_what_will_be_done_at_eighty_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = tmp_path / "us.pt"
    assert main(["train", "--model", "us_mobilenet_v1", *SMALL, "--calib-images", "20", "--out", str(out)]) == 0
    lines = capsys.readouterr().err.splitlines()
    text = " ".join(" ".join(lines).split())
    for words in (
        "us_mobilenet_v1, 0.125x to 0.25x, from random weights",
        "digits: 61 images to train on, 3 held out to validate, 10 classes",
        "8 px, as the images are",
        "first 3 halvings are left out at this size",
        "1 epochs of 1 steps, batch 64, sgd, lr 0.1 (cosine",
        "us.pt.resume, replaced every 60 s",
        "epoch time loss 0.25x loss 0.125x top-1 % 0.125x 0.25x",
        "next: edgeslim evaluate",
    ):
        assert words in text
    assert [line for line in lines[:7] if len(line) > 80 and str(tmp_path) not in line] == []


def test_small_images_made_large_are_spoken_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--model", "us_mobilenet_v1", *SMALL, "--input-size", "40", "--test-images", "8", "--val-images", "0"]
    assert main(["train", *args, "--out", str(tmp_path / "us.pt")]) == 0
    text = " ".join(capsys.readouterr().err.split())
    assert "40 px, images of 8 px are enlarged to it;" in text
    assert "64 images to train on, none held out" in text
    assert not (tmp_path / "us.best.pt").exists()


def test_the_options_of_a_run_are_read_back_and_typed_ones_count_more(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "again.pt"
    args = str(trained.with_name("us.args.json"))
    assert run(capsys, "--config", args, "--seed", "1", "--out", str(out))[0] == 0
    one, other = (json.loads(path.with_suffix(".args.json").read_text()) for path in (trained, out))
    assert other == {**one, "seed": 1, "out": str(out)}
    code, document = run(capsys, "--config", args)  # its own --out: there is one already
    assert (code, document["error"]) == (
        2,
        {"name": "output", "message": f"{trained} exists", "hint": "use --overwrite to replace it"},
    )


def test_ctrl_c_keeps_the_first_step_and_the_hint_goes_on_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal comes while the first step is shown; what is printed is what is run."""
    out = tmp_path / "us.pt"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    pressed: list[Progress] = []

    def press(view: TrainView, event: Progress) -> None:
        if not pressed:
            pressed.append(event)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TrainView, "_progress", press)
    try:
        code, document = run(
            capsys, "--model", "us_mobilenet_v1", *SMALL, "--batch-size", "16", "--epochs", "2", "--out", str(out)
        )
    finally:
        signal.signal(signal.SIGINT, before)
    error = document["error"]
    assert isinstance(error, dict)
    assert (code, error["name"]) == (130, "stopped")
    assert error["message"] == f"after step 2 of 6, in epoch 1 of 2; all of it is in {out}.resume"
    code, again = run(capsys, "--model", "us_mobilenet_v1", *SMALL, "--out", str(out))
    assert (code, again["error"]["name"]) == (2, "output")  # type: ignore[index]
    hint = error["hint"].removeprefix("to go on: edgeslim train ")
    assert run(capsys, *shlex.split(hint))[0] == 0
    assert len(out.with_suffix(".log.jsonl").read_text().splitlines()) == 6 + 2  # steps, and validations
    assert not out.with_name("us.pt.resume").exists()


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
        (["--model", "us_mobilenet_v1", "--widths", "35:100"], "width", "above 4.0x"),
        (["--model", "us_mobilenet_v1", "--widths", "0.35,0.5,1.0"], "width", "over a range of widths"),
        (["--model", "us_mobilenet_v1", "--save-seconds", "nan"], "usage", "--save-seconds"),
        (["--config", "missing.json"], "usage", "missing.json"),
        (["--model", "us_mobilenet_v1", "--lr", "0"], "usage", "--lr"),
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
