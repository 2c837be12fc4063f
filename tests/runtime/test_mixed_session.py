"""One real bundle of everything at once: two input sizes, two precisions, a width and a vector of channels."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgeslim import targets
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.latency import LatencyTable
from edgeslim.core.manifest import artifact_id
from edgeslim.core.pixels import ImageContract
from edgeslim.core.width import Width
from edgeslim.deploy.pack import pack
from edgeslim.deploy.pack_plan import PackOptions
from edgeslim.deploy.verify import verify
from edgeslim.errors import MissingExtraError
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.models.registry import create
from edgeslim.models.selection import Selection
from edgeslim.runtime.deployment import ArtifactPlan
from edgeslim.runtime.result import FrameResult
from edgeslim.runtime.session import SlimSession

LOW, HIGH = Width(130), Width(250)
LABEL = "slim-tail"
SIZES = (24, 32)
LIMIT_S = 30


def checkpoint() -> Checkpoint:
    """A US-MobileNetV1 of 0.25x, and a vector of it that is narrow where nets are wide."""
    torch.manual_seed(0)
    model = create("us_mobilenet_v1", num_classes=4, input_size=32, low=LOW, high=HIGH)
    counts = {group.name: group.at(HIGH) for group in model.groups()}
    vector = Selection.of({name: max(5, count // 3) for name, count in counts.items()}, label=LABEL)
    for net in (vector, HIGH):
        channels = {name: norm.outputs.at(model.selection(net)) for name, norm in model.norms().items()}
        model.set_statistics(net, {name: (0.1 * torch.randn(c), 0.5 + torch.rand(c)) for name, c in channels.items()})
    return Checkpoint.from_model(model.eval(), input=ImageContract.imagenet(3, 32, 32, crop="1"))


@pytest.fixture(scope="module", params=["litert", "coreai"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Eight artifacts where the runtime has two precisions (Core AI, in Apple's interpreter on Linux), else four."""
    name = request.param
    info = targets.get(name).info
    try:
        info.ensure_available(exporting=True)
    except MissingExtraError as error:
        pytest.skip(f"{name} is not installed here: {error.message}")
    path = tmp_path_factory.mktemp("mixed") / "net.slim"
    precisions = tuple(precision.name for precision in info.precisions)[:2]
    pack(checkpoint(), PackOptions(targets=[name], out=path, precisions=precisions, input_sizes=SIZES, jobs=1))
    return name, path


def filled(plan: ArtifactPlan) -> np.ndarray:
    """The same picture for artifacts of one size."""
    shape = plan.input.shape
    return np.random.default_rng(shape[2]).standard_normal(shape).astype(np.float32)


@pytest.mark.slow
def test_artifacts_of_all_variants_run_in_one_session(bundle: tuple[str, Path], tmp_path: Path) -> None:
    name, path = bundle
    target = targets.get(name)
    table, plans = by_macs(path, name, tmp_path / "cache")
    answers: dict[str, NDArray[Any]] = {}
    with SlimBundle.open(path) as opened:
        assert all(row.ok and row.checked for row in verify(opened, count=1))
        for variant in opened.manifest.variants:
            assert [artifact.net for artifact in variant.artifacts] == ["0250", LABEL]
            for artifact in variant.artifacts:
                identifier = artifact_id(variant.id, artifact.net)
                out = tmp_path / f"{len(answers)}{variant.suffix}"
                opened.rebuild_artifact(identifier, out)
                runner = target.load(out, threads=1)
                said = runner.metadata
                assert (said["net"], said["label"]) == (artifact.net, {"0250": "0.25x"}.get(artifact.net, LABEL))
                answers[identifier] = runner.run({"image": filled(plans[identifier])})["logits"]
                runner.close()
    assert len(answers) == len(plans) == 2 * len(SIZES) * len({plan.precision for plan in plans.values()})
    with SlimSession(
        path, name, table, cache_dir=tmp_path / "cache", budget_ms=1000, readings=None, threads=1
    ) as session:
        on_ladder = session.ladder.artifacts
        assert {plans[one].net for one in on_ladder} == {"0250", LABEL}
        assert {plans[one].input.shape[2] for one in on_ladder} == set(SIZES)
        for wanted in (*on_ladder, *reversed(on_ladder)):
            session.limit(narrowest=wanted, widest=wanted)
            result = until(session, partial(ran, wanted), answers)
            assert result.label == plans[wanted].label
        session.limit()
        slowest = max(row.p50_ms or 0 for row in table.rows)
        session.budget_ms = 1000 * slowest
        assert until(session, lambda found: found.decision.artifact == on_ladder[-1], answers)
        session.budget_ms = 1e-3
        result = until(session, lambda found: found.artifact == on_ladder[0], answers)
        assert result.artifact.endswith(f"/{LABEL}")


def ran(wanted: str, found: FrameResult) -> bool:
    return found.artifact == wanted


def until(session: SlimSession, there: Callable[[FrameResult], bool], answers: dict[str, NDArray[Any]]) -> FrameResult:
    """Frames until one is as wanted; each answers what its own file, loaded alone, answers."""
    end = time.monotonic() + LIMIT_S
    while True:
        result = session.run(filled)
        np.testing.assert_array_equal(result.output, answers[result.artifact])
        if there(result):
            return result
        assert time.monotonic() < end, f"still {result.artifact}, {result.decision}"


def ms_of(plan: ArtifactPlan) -> dict[str, Any]:
    names = ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "mean_ms", "min_ms", "max_ms")
    return dict.fromkeys(names, plan.macs / 1e6)


def by_macs(path: Path, name: str, cache: Path) -> tuple[LatencyTable, dict[str, ArtifactPlan]]:
    """A table measured here with the latencies put in the ratio of the multiply-adds, so that the order is known."""
    with SlimSession(path, name, cache_dir=cache, readings=None, threads=1) as session:
        plans = {plan.artifact: plan for plan in session.artifacts}
        rows = [
            dataclasses.replace(row, samples_ms=None, block_runs=None, **(ms_of(plans[row.artifact]) | {"std_ms": 0.0}))
            for row in session.table.rows
        ]
        return dataclasses.replace(session.table, rows=tuple(rows)), plans
