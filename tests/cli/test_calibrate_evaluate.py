"""``edgeslim calibrate`` and ``edgeslim evaluate`` as one types them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from edgeslim import load_checkpoint
from edgeslim.cli.main import main
from edgeslim.cli.option_types import BYTES
from edgeslim.core.pixels import ImageContract
from edgeslim.core.width import Width
from edgeslim.data.named import load_data
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.models.registry import create

Run = tuple[int, Any, str]


@pytest.fixture(scope="module")
def uncalibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = create("us_mobilenet_v1", num_classes=10, input_size=16, in_channels=1, low=Width(250), high=Width(1000))
    path = tmp_path_factory.mktemp("net") / "net.pt"
    contract = dataclasses.replace(ImageContract.imagenet(1, 16, 16, crop="1"), mean=("0.306",), std=("0.319",))
    Checkpoint.from_model(model, input=contract).save(path)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*args: object) -> Run:
        code = main([str(arg) for arg in args] + ["--json"])
        captured = capsys.readouterr()
        return code, json.loads(captured.out), captured.err

    return call


@pytest.fixture
def calibrated(uncalibrated: Path, tmp_path: Path, run: Any) -> Path:
    path = tmp_path / "calibrated.pt"
    code, _, _ = run("calibrate", uncalibrated, "--data", "digits", "--widths", "0.25,0.5", "--images", 64, "-o", path)
    assert code == 0
    return path


def test_calibrate_says_what_it_did(uncalibrated: Path, tmp_path: Path, run: Any) -> None:
    out = tmp_path / "out.pt"
    widths = "0.25,0.5,0.501,1.0"
    code, document, words = run(
        "calibrate", uncalibrated, "--data", "digits", "--widths", widths, "--images", 40, "--memory", "2M", "-o", out
    )
    data = load_data("digits", "calib", input_size=16, in_channels=1, images=40)
    assert code == 0
    assert document == {
        "checkpoint": str(out),
        "images": 40,
        "data_sha256": data.data_sha256,
        "widths": [250, 500, 1000],
        "aliases": {"250": [], "500": [501], "1000": []},
    }
    assert f"edgeslim evaluate {out} --data digits --write" in words
    assert [width.permille for width in load_checkpoint(out).ladder] == [250, 500, 1000]


def test_results_are_the_same_whatever_the_memory(uncalibrated: Path, tmp_path: Path, run: Any) -> None:
    statistics: list[Any] = []
    for memory in ("400k", "1GiB"):
        out = tmp_path / f"{memory}.pt"
        options = ["--data", "digits", "--widths", "0.5", "--images", 64, "--memory", memory, "-o", out]
        assert run("calibrate", uncalibrated, *options)[0] == 0
        statistics.extend(load_checkpoint(out).statistics.values())
    for name, (mean, var) in statistics[0].items():
        assert torch.allclose(mean, statistics[1][name][0], rtol=1e-5, atol=1e-6)
        assert torch.allclose(var, statistics[1][name][1], rtol=1e-5, atol=1e-6)


def measured(path: Path) -> list[int]:
    """Permille of the nets that the checkpoint has accuracies of."""
    return [int(net.name) for net in load_checkpoint(path).accuracies]


def test_a_checkpoint_is_replaced_only_when_asked(calibrated: Path, run: Any) -> None:
    before = calibrated.read_bytes()
    code, document, _ = run("calibrate", calibrated, "--data", "digits", "--widths", "0.5", "--images", 8)
    assert (code, document["error"]["name"]) == (2, "output")
    assert calibrated.read_bytes() == before
    assert run("evaluate", calibrated, "--data", "digits", "--images", 8, "--write")[0] == 0
    assert measured(calibrated) == [250, 500]
    code, _, _ = run("calibrate", calibrated, "--data", "digits", "--widths", "0.5", "--images", 8, "--overwrite")
    assert code == 0
    assert measured(calibrated) == [250]  # measured with other statistics


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["--data", "digits", "--widths", "0.2"], "width"),
        (["--data", "digits", "--widths", "1.5"], "width"),
        (["--data", "diggits", "--widths", "0.5"], "data"),
        (["--data", "digits", "--widths", "0.5", "--memory", "10"], "usage"),
        (["--data", "digits", "--widths", "0.5", "--memory", "much"], "usage"),
        (["--widths", "0.5"], "usage"),
    ],
)
def test_calibrate_refuses(uncalibrated: Path, tmp_path: Path, run: Any, options: list[str], name: str) -> None:
    code, document, _ = run("calibrate", uncalibrated, *options, "-o", tmp_path / "out.pt")
    assert (code, document["error"]["name"]) == (2, name)
    assert not (tmp_path / "out.pt").exists()


def test_evaluate_and_write(calibrated: Path, tmp_path: Path, run: Any) -> None:
    plot = tmp_path / "plot.png"
    options = ["--data", "digits", "--images", 50, "--widths", "0.25,0.5,0.501", "--plot", plot]
    code, document, _ = run("evaluate", calibrated, *options, "--write")
    assert code == 0
    assert (document["data"], document["images"]) == ("digits", 50)
    assert [row["permille"] for row in document["rows"]] == [250, 500, 501]
    named = {"permille", "net", "precision", "metric", "value", "loss", "top1", "top5"}
    assert all(set(row) == named and row["value"] == row["top1"] for row in document["rows"])
    assert all(0 <= row["top1"] <= row["top5"] <= 1 for row in document["rows"])
    assert plot.read_bytes()[:4] == b"\x89PNG"
    kept = load_checkpoint(calibrated).accuracies
    assert measured(calibrated) == [250, 500]
    assert list(kept.values())[1]["top1"] == document["rows"][1]["top1"]
    code, document, _ = run("evaluate", calibrated, "--data", "digits", "--images", 8, "--plot", plot)
    assert (code, document["error"]["name"]) == (2, "output")


def test_evaluate_without_write_changes_nothing(calibrated: Path, run: Any) -> None:
    before = calibrated.read_bytes()
    code, document, _ = run("evaluate", calibrated, "--data", "digits", "--images", 8)
    assert code == 0
    assert [row["permille"] for row in document["rows"]] == [250, 500]
    assert calibrated.read_bytes() == before


def test_evaluate_refuses(uncalibrated: Path, calibrated: Path, tmp_path: Path, run: Any) -> None:
    code, document, _ = run("evaluate", uncalibrated, "--data", "digits")
    assert (code, document["error"]["name"]) == (2, "checkpoint")
    assert "edgeslim calibrate" in document["error"]["hint"]
    assert run("evaluate", calibrated, "--data", "digits", "--widths", "0.75")[0] == 2
    assert run("evaluate", calibrated, "--data", "digits", "--target", "litert")[0] == 2
    assert run("evaluate", tmp_path / "missing.pt", "--data", "digits")[0] == 2


def test_wrong_statistics_are_named(calibrated: Path, run: Any) -> None:
    checkpoint = load_checkpoint(calibrated)
    half = checkpoint.statistics[checkpoint.selection(Width(500))]
    (*_, last) = half
    mean, var = half[last]
    half[last] = (mean + 2 * var.sqrt(), var * 9)
    checkpoint.save(calibrated, overwrite=True)
    code, _, words = run("evaluate", calibrated, "--data", "digits", "--images", 64, "--verbose")
    assert code == 0
    assert "warning: width 0.5: statistics of 1 BatchNorms do not fit" in words
    assert last in words
    assert "width 0.25" not in words


@pytest.mark.parametrize(("device", "code", "name"), [("toaster", 2, "usage"), ("cuda", 5, "host")])
def test_a_device_that_is_not_there(
    calibrated: Path, run: Any, monkeypatch: pytest.MonkeyPatch, device: str, code: int, name: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = calibrated.read_bytes()
    for verb in (("calibrate", calibrated, "--overwrite"), ("evaluate", calibrated)):
        found, document, _ = run(*verb, "--data", "digits", "--images", 20, "--device", device)
        assert (found, document["error"]["name"]) == (code, name)
        assert "--device cpu" in document["error"]["hint"]
    assert calibrated.read_bytes() == before


def test_sizes_as_people_write_them() -> None:
    written = {"1000": 1000, "2k": 2000, "500M": 500_000_000, "1.5GB": 1_500_000_000, "2GiB": 2 << 30, "3 kib": 3072}
    assert {text: BYTES.convert(text, None, None) for text in written} == written
