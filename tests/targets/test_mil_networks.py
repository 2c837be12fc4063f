"""Core ML's answers can be checked here for every network that edgeslim offers: the evaluator knows its operations."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from edgeslim.core.width import Width
from edgeslim.deploy.pack import pack
from edgeslim.deploy.pack_plan import PackOptions
from edgeslim.models import names
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.models.registry import create, default_ladder, network

pytest.importorskip("coremltools")
pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="Core ML itself is there")


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_the_evaluator_knows_its_operations(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    listed = network(name).listed
    ends: dict[str, Any] = {} if listed else {"low": Width(250), "high": Width(300)}
    model = create(name, num_classes=3, input_size=32, **ends)
    width = default_ladder(model.spec)[0] if listed else Width(250)
    norms = {n: m for n, m in model.static(width).named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
    model.set_statistics(
        width, {n: (torch.zeros(m.num_features), torch.ones(m.num_features)) for n, m in norms.items()}
    )
    options = PackOptions(targets=["coreml"], nets=[width], out=tmp_path / "net.slim", jobs=1)
    (row,) = pack(Checkpoint.from_model(model), options).rows
    assert row.reason is None, row.reason
    assert row.sqnr_db is not None
    assert row.sqnr_db > 30
