"""What every network promises, asked of some of ours; the checks are published as ``edgeslim.testing``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from edgeslim.core.width import Width
from edgeslim.models.registry import create, network
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.testing import NETWORK_CHECKS, ConformanceError, NetworkCase


def small(name: str) -> SlimmableModel:
    torch.manual_seed(0)
    ends: dict[str, Any] = {} if network(name).listed else {"low": Width(250), "high": Width(500)}
    return create(name, num_classes=3, input_size=32, **ends)


@pytest.fixture(scope="module", params=["us_mobilenet_v2", "us_resnet18", "s_mobilenet_v1"])
def case(request: pytest.FixtureRequest) -> NetworkCase:
    return NetworkCase(small(request.param))


@pytest.mark.parametrize("check", NETWORK_CHECKS)
def test_it_keeps_its_promises(case: NetworkCase, check: str, tmp_path: Path) -> None:
    NETWORK_CHECKS[check](case, tmp_path)


def test_a_broken_promise_is_told(tmp_path: Path) -> None:
    """A parameter that nothing reads, and statistics that the twin does not have."""
    model = small("us_mobilenet_v2")
    model.register_parameter("spare", torch.nn.Parameter(torch.zeros(1)))
    with pytest.raises(ConformanceError, match="does not reach spare"):
        NETWORK_CHECKS["trains-every-parameter"](NetworkCase(model), tmp_path)
    case = NetworkCase(small("us_mobilenet_v2"))
    static = case.model.static
    case.model.static = lambda width, **_: static(case.widths[0])  # type: ignore[method-assign]
    with pytest.raises(ConformanceError, match="plain twin differ"):
        NETWORK_CHECKS["is-its-plain-twin"](case, tmp_path)
