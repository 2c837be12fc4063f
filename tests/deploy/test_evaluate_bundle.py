"""A bundle's rebuilt files give the accuracies of the checkpoint they came from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_nets import small_images, small_net

from edgeslim.cli.main import main
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.width import Width
from edgeslim.deploy.calibration.calibrate import CalibratedModel, calibrate
from edgeslim.deploy.evaluate import Score, evaluate_bundle, evaluate_checkpoint
from edgeslim.deploy.pack import pack
from edgeslim.deploy.pack_plan import PackOptions
from edgeslim.errors import DataError, UsageError
from edgeslim.targets.base import InputOption

HALF, FULL = Width(500), Width(1000)
ASKED = (HALF, Width(501), FULL)


@pytest.fixture(scope="module")
def model() -> CalibratedModel:
    return calibrate(small_net("us_mobilenet_v1"), small_images(64), [HALF, FULL])


def packed(model: CalibratedModel, folder: Path, target: str, option: InputOption = InputOption.NCHW_FLOAT32) -> Path:
    model.checkpoint().save(folder / "net.pt")
    pack(
        folder / "net.pt",
        PackOptions(targets=[target], nets=ASKED, out=folder / "net.slim", input_option=option, jobs=1),
    )
    return folder / "net.slim"


@pytest.fixture(scope="module")
def reference(model: CalibratedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(model, tmp_path_factory.mktemp("reference"), "reference")


def artifacts(variant: str) -> list[str]:
    return [f"{variant}/{net}" for net in ("0500", "1000")]


def compare(found: list[Score], wanted: list[Score]) -> None:
    assert [(row.widths, row.macs) for row in found] == [(w.widths, w.macs) for w in wanted]
    for row, other in zip(found, wanted, strict=True):
        assert row.values == pytest.approx(other.values, rel=1e-4)
        assert (row.value, row.agreement) == (other.value, other.agreement)


def test_the_files_answer_as_the_checkpoint(model: CalibratedModel, reference: Path) -> None:
    data = small_images(24, split="test", seed=2)
    with SlimBundle.open(reference) as bundle:
        compare(evaluate_bundle(bundle, artifacts("reference-fp32-16"), data), evaluate_checkpoint(model, data, ASKED))


@pytest.mark.slow
@pytest.mark.parametrize("option", InputOption)
def test_in_litert_with_either_input(model: CalibratedModel, tmp_path: Path, option: InputOption) -> None:
    data = small_images(24, split="test", seed=2)
    with SlimBundle.open(packed(model, tmp_path, "litert", option)) as bundle:
        variant = "litert-fp32-16" + ("-u8" if option is InputOption.NHWC_UINT8 else "")
        compare(evaluate_bundle(bundle, artifacts(variant), data), evaluate_checkpoint(model, data, ASKED))


def test_what_the_bundle_cannot_do(reference: Path) -> None:
    with SlimBundle.open(reference) as bundle:
        with pytest.raises(UsageError, match="no artifact"):
            evaluate_bundle(bundle, ["reference-fp32-16/0500", "reference-fp32-16/0700"], small_images(8))
        with pytest.raises(DataError, match="5 classes"):
            evaluate_bundle(bundle, artifacts("reference-fp32-16")[:1], small_images(8, classes=5))


def test_as_one_types_it(model: CalibratedModel, reference: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Digits have ten classes, the net four: the command gets as far as the data."""
    assert main(["evaluate", str(reference), "--data", "digits", "--write", "--json"]) == 2
    assert "not in a bundle" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert main(["evaluate", str(reference), "--data", "digits", "--device", "cpu", "--json"]) == 2
    assert "for checkpoints" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert main(["evaluate", str(reference), "--data", "digits", "--json"]) == 2
    assert "10 classes, the net has 4" in json.loads(capsys.readouterr().out)["error"]["message"]
