"""Sessions on the runtimes themselves: every width answers what its own file, loaded alone, answers."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeslim import targets
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.latency import LatencyStatistics, LatencyTable
from edgeslim.core.manifest import artifact_id
from edgeslim.core.policy import Policy
from edgeslim.deploy.pack import pack
from edgeslim.deploy.pack_plan import PackOptions
from edgeslim.errors import MissingExtraError
from edgeslim.host.sampling import example_inputs
from edgeslim.runtime.session import SlimSession

sys.path.insert(0, str(Path(__file__).parents[1] / "deploy"))
from small_checkpoint import small_checkpoint


@pytest.mark.slow
@pytest.mark.parametrize("name", ["litert", "executorch"])
def test_every_width_switches_and_answers_rightly(name: str, tmp_path: Path) -> None:
    target = targets.get(name)
    try:
        target.info.ensure_available(exporting=True)
    except MissingExtraError as error:
        pytest.skip(f"{name} is not installed here: {error.message}")
    path = tmp_path / "net.slim"
    pack(small_checkpoint(), PackOptions(targets=[name], out=path, jobs=1))
    answers = {}
    with SlimBundle.open(path) as bundle:
        (variant,) = bundle.manifest.variants
        (image,) = example_inputs(variant.inputs).values()
        for entry in variant.artifacts:
            artifact = artifact_id(variant.id, entry.net)
            out = tmp_path / f"{entry.net}{variant.suffix}"
            bundle.rebuild_artifact(artifact, out)
            runner = target.load(out, threads=1)
            answers[artifact] = runner.run({"image": image})["logits"]
            runner.close()
    for rung, artifact in enumerate(answers):
        only = Policy(name="one", min_rung=rung, max_rung=rung)
        table = by_macs(path, name, tmp_path / "cache")
        with SlimSession(
            path, name, table, only, cache_dir=tmp_path / "cache", budget_ms=1000, readings=None, threads=1
        ) as session:
            result = session.run(image)
            assert result.artifact == artifact
            np.testing.assert_array_equal(result.output, answers[artifact])
    with SlimSession(path, name, table, cache_dir=tmp_path / "cache", budget_ms=1000, readings=None) as session:
        for widest in (*answers, *reversed(answers)):
            session.limit(narrowest=widest, widest=widest)
            end = time.monotonic() + 10
            while (result := session.run(image)).artifact != widest:
                np.testing.assert_array_equal(result.output, answers[result.artifact])
                assert time.monotonic() < end, f"{widest} does not come"
            np.testing.assert_array_equal(result.output, answers[widest])
    assert not list((tmp_path / "cache" / "edgeslim-session" / "loading").iterdir())


def figures(ms: float) -> dict[str, Any]:
    """Of one sample."""
    return dataclasses.asdict(LatencyStatistics.of([ms]))


def by_macs(path: Path, name: str, cache: Path) -> LatencyTable:
    """A measured table with the latencies put in the ratio of the multiply-adds, so that every width is a rung."""
    with SlimSession(path, name, cache_dir=cache, readings=None, threads=1) as session:
        macs = {plan.artifact: plan.macs for plan in session.artifacts}
        rows = [
            dataclasses.replace(row, samples_ms=None, block_runs=None, **figures(macs[row.artifact] / 1e6))
            for row in session.table.rows
        ]
        return dataclasses.replace(session.table, rows=tuple(rows))
