"""The waist of the whole house: what any network's bundle rebuilds is what its exporter wrote, byte for byte.

    random network ─ pack ─► bundle ─ rebuild ─────► bytes ┐ equal
         └─ static(selection) ─ fold ─ export ─────► bytes ┘
                               └─ state dict ┐ equal, bit for bit
    bundle ─ folded_net (what verify builds) ┘
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from random_nets import FEATURES, SIZE, RandomCheckpoint, name_of, network_of, random_checkpoint

from edgeslim import targets
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.manifest import artifact_id
from edgeslim.deploy import export_job
from edgeslim.deploy.bundle_net import folded_net
from edgeslim.deploy.describe import metadata_for
from edgeslim.deploy.fold import fold
from edgeslim.deploy.masters import with_fp16_masters
from edgeslim.deploy.pack import PackReport, pack
from edgeslim.deploy.pack_plan import PackedNet, PackOptions
from edgeslim.deploy.workers import Done
from edgeslim.models.registry import NETWORKS
from edgeslim.models.sliced import SlicedModel

NETWORKS_OF_ALL = 300
NETWORKS_EXPORTED = 40  # through torch.export, by the reference target
BLOCK = 20
T = TypeVar("T")
LEAST_BYTES = 8  # of a constant that the finder looks for


def in_this_process(function: str, jobs: Sequence[Any], **settings: object) -> Iterator[Done]:
    """What ``run_jobs`` does, without the seconds that a worker's start takes."""
    assert function == "edgeslim.deploy.export_job:run"
    for index, job in enumerate(jobs):
        yield Done(index=index, value=export_job.run(job), error=None, seconds=0.0)


class AtOnce:
    """An executor whose work is done when it is handed over: tracing in two threads at once is not for torch.fx."""

    def submit(self, function: Callable[..., T], *args: object) -> Future[T]:
        done: Future[T] = Future()
        done.set_result(function(*args))
        return done


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr("edgeslim.deploy.pack.run_jobs", in_this_process)
    monkeypatch.setattr("edgeslim.deploy.pack.ThreadPoolExecutor", lambda workers: contextlib.nullcontext(AtOnce()))
    monkeypatch.setattr(targets.REGISTRY, "_added", {})
    targets.REGISTRY.add("verbatim", "verbatim_target:VerbatimTarget")
    return monkeypatch


def packed(made: RandomCheckpoint, target: str, folder: Path, *, weights: str) -> PackReport:
    options = PackOptions(
        targets=[target],
        out=folder / "net.slim",
        nets=made.nets,
        precisions=("fp32", "fp16") if target == "verbatim" else (),
        weights=weights,  # type: ignore[arg-type]
        jobs=1,
        overwrite=True,
    )
    return pack(made.checkpoint, options)


def check(seed: int, target: str, folder: Path) -> frozenset[str]:
    """One network, all its nets and precisions; its features."""
    made = random_checkpoint(seed)
    weights = "fp16" if seed % 3 == 0 else "fp32"
    report = packed(made, target, folder, weights=weights)
    checkpoint = with_fp16_masters(made.checkpoint) if weights == "fp16" else made.checkpoint
    model = checkpoint.build()
    with SlimBundle.open(report.bundle) as bundle:
        for selection in made.nets:
            net = PackedNet(selection=selection, widths=() if selection.width is None else (selection.width,))
            deployed = fold(model.static(selection))
            same_numbers(folded_net(bundle, bundle.resolve(net.id)), deployed)
            for variant in bundle.manifest.variants:
                identifier = artifact_id(variant.id, net.id)
                out = folder / f"rebuilt{variant.suffix}"
                bundle.rebuild_artifact(identifier, out, overwrite=True)
                exported = folder / f"exported{variant.suffix}"
                exported.unlink(missing_ok=True)
                targets.get(target).export(
                    deployed,
                    {"image": torch.zeros(1, 3, SIZE, SIZE)},
                    exported,
                    metadata=metadata_for(checkpoint, net, labels=None, about={}),
                    precision=variant.precision,
                )
                assert out.read_bytes() == exported.read_bytes(), identifier
    for row in report.rows:
        if weights == "fp32" and row.precision == "fp32":
            constants = [t.numpy() for t in deployed_of(made, model, row.net).state_dict().values()]
            small = sum(one.nbytes for one in constants if one.nbytes < LEAST_BYTES or not one.any())
            assert row.literal_bytes <= small, row
    return made.features | {f"{weights} masters"}


def deployed_of(made: RandomCheckpoint, model: Any, identifier: str) -> SlicedModel:
    selection = next(net for net in made.nets if net.label == identifier)
    return fold(model.static(selection))


def same_numbers(found: SlicedModel, wanted: SlicedModel) -> None:
    ours, theirs = found.state_dict(), wanted.state_dict()
    assert list(ours) == list(theirs)
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype, name
        assert np.array_equal(ours[name].numpy().view(np.uint32), tensor.numpy().view(np.uint32)), name


@pytest.mark.parametrize("first", range(0, NETWORKS_OF_ALL, BLOCK))
def test_x(first: int, here: pytest.MonkeyPatch, tmp_path: Path) -> None:
    met = Counter()
    for seed in range(first, first + BLOCK):
        here.setitem(NETWORKS, name_of(seed), network_of(seed))
        try:
            met.update(check(seed, "verbatim", tmp_path))
        except Exception as e:
            import traceback
            f=traceback.extract_tb(e.__traceback__)[-1]
            print(seed, type(e).__name__, str(e)[:200], f.name, f.lineno, sorted(random_checkpoint(seed).features))
    print(met)
