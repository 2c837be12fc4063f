"""Every verb that reads published files: the option that the hint names is there, and means the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from published_nets import PublishedNet

from edgeslim.cli.main import main
from edgeslim.core.pixels import IMAGENET_MEAN
from edgeslim.core.width import Width
from edgeslim.models.checkpoint import load_checkpoint

_TRAIN = ("train", "--data", "digits", "--images", "32", "--batch-size", "32", "--epochs", "1", "--widths", "0.25:0.5")
VERBS: dict[str, Callable[[str, Path], Sequence[str]]] = {
    "profile": lambda file, out: ("profile", file),
    "evaluate": lambda file, out: ("evaluate", file, "--data", "digits", "--images", "2", "--widths", "0.333"),
    "calibrate": lambda file, out: (
        *("calibrate", file, "--data", "digits", "--images", "2", "--widths", "0.333", "-o", f"{out}/a.pt"),
    ),
    "pack": lambda file, out: ("pack", file, "--target", "executorch", "--dry-run", "-o", f"{out}/a.slim"),
    "train": lambda file, out: (
        *_TRAIN,
        "--widths",
        "0.25:1.0",
        "--ladder",
        "0.25,1.0",
        "--init",
        file,
        "-o",
        f"{out}/t.pt",
    ),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0.333x is on no grid, so its sizes do not tell what it was."""
    path = tmp_path_factory.mktemp("published") / "net.pt"
    PublishedNet("us_mobilenet_v1", classes=10, widths=[0.333, 1.0]).save(path)
    return path


@pytest.mark.parametrize("verb", VERBS)
def test_the_hint_names_an_option_that_the_verb_has(
    verb: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = list(VERBS[verb](str(file), tmp_path))
    assert main(arguments) != 0
    told = capsys.readouterr().err
    assert "cannot tell the widths" in told
    assert "--trained-widths" in told
    assert main([*arguments, "--trained-widths", "0.333,1.0"]) == 0
    assert main([*arguments, "--trained-widths", "2"]) != 0
    assert "which is not known here" in capsys.readouterr().err


def test_a_bundle_has_no_widths_to_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "us_mobilenet_v1", "--trained-widths", "0.5,1.0"]) != 0
    assert "published state dicts" in capsys.readouterr().err


def test_training_sees_images_as_the_weights_it_starts_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Digits have a mean of their own; torchvision's weights are used to ImageNet's."""
    models = pytest.importorskip("torchvision.models")
    torch.save(models.mobilenet_v2(num_classes=12).state_dict(), tmp_path / "theirs.pt")
    out = tmp_path / "ours.pt"
    assert main([*_TRAIN, "--init", str(tmp_path / "theirs.pt"), "--model", "us_mobilenet_v2", "-o", str(out)]) != 0
    assert "expected shape" in capsys.readouterr().err  # 0.5x is no slice to start the widest from
    arguments = [
        *_TRAIN,
        "--widths",
        "0.35:1.0",
        "--ladder",
        "0.35,1.0",
        "--init",
        str(tmp_path / "theirs.pt"),
        "-o",
        str(out),
    ]
    assert main(arguments) == 0
    told = capsys.readouterr().err
    assert "the head classifier.0 starts afresh" in told
    assert "mean 0.485, 0.456, 0.406" in told
    checkpoint = load_checkpoint(out)
    assert checkpoint.input is not None
    assert checkpoint.input.mean == IMAGENET_MEAN
    assert checkpoint.ladder == (Width(350), Width(1000))
