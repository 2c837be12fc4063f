"""The waist of the whole house: what any network's bundle rebuilds is what its exporter wrote, byte for byte.

random network ─ pack ─► bundle ─ rebuild ─────► bytes ┐ equal
     └─ static(selection) ─ fold ─ export ─────► bytes ┘
                           └─ state dict ┐ equal, bit for bit
bundle ─ folded_net (what verify builds) ┘
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from random_nets import FEATURES, SIZE, Writer, features_of, network_of, random_checkpoint, spec_of
from torch import nn

from edgeslim import models, targets
from edgeslim.cli.main import main
from edgeslim.core.bundle import SlimBundle
from edgeslim.deploy import export_job
from edgeslim.deploy.bundle_net import folded_net
from edgeslim.deploy.describe import metadata_for
from edgeslim.deploy.fold import fold
from edgeslim.deploy.masters import with_fp16_masters
from edgeslim.deploy.pack import pack
from edgeslim.deploy.pack_plan import PackedNet, PackOptions
from edgeslim.deploy.workers import Done
from edgeslim.errors import CheckpointError
from edgeslim.models.builder import Builder
from edgeslim.models.count import Counts, count
from edgeslim.models.network import Network
from edgeslim.models.sliced import SlicedModel
from edgeslim.models.static import StaticModel
from edgeslim.registry import OWN, Entry

ALL, BLOCK = 300, 20
EXPORTED = range(0, ALL, 25)  # by the reference target too, which goes through torch.export
SHORTEST_BYTES = 8  # what the finder looks for at least
T = TypeVar("T")


def in_this_process(function: str, jobs: Sequence[Any], **settings: object) -> Iterator[Done]:
    """What ``run_jobs`` does, without the seconds that a worker's start takes."""
    assert function == "edgeslim.deploy.export_job:run"
    for index, job in enumerate(jobs):
        yield Done(index=index, value=export_job.run(job), error=None, seconds=0.0)


class AtOnce:
    """An executor whose work is done when it is handed over: torch.fx does not trace in two threads at once."""

    def submit(self, function: Callable[..., T], *args: object) -> Future[T]:
        done: Future[T] = Future()
        done.set_result(function(*args))
        return done


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Packing in this process, with a target that costs nothing; operations are counted once per net."""
    monkeypatch.setattr("edgeslim.deploy.pack.run_jobs", in_this_process)
    monkeypatch.setattr("edgeslim.deploy.pack.ThreadPoolExecutor", lambda workers: contextlib.nullcontext(AtOnce()))
    monkeypatch.setattr(targets.REGISTRY, "_added", {})
    targets.REGISTRY.add("verbatim", "verbatim_target:VerbatimTarget")
    known: dict[object, Counts] = {}

    def counted(net: StaticModel, **settings: Any) -> Counts:
        key = (net.spec, net.selection)
        return known.get(key) or known.setdefault(key, count(net, **settings))

    monkeypatch.setattr("edgeslim.deploy.fold.count", counted)
    monkeypatch.setattr("edgeslim.deploy.export_job.count", counted)
    return monkeypatch


def check(seed: int, folder: Path, *, target: str, precision: str) -> None:
    """One network, through ``pack`` and back."""
    checkpoint, nets = random_checkpoint(seed)
    half = seed % 3 == 0
    options = PackOptions(
        targets=[target],
        out=folder / "net.slim",
        nets=nets,
        precisions=(precision,),
        weights="fp16" if half else "fp32",
        jobs=1,
        overwrite=True,
    )
    report = pack(checkpoint, options)
    rows = {row.net: row for row in report.rows}
    rounded = with_fp16_masters(checkpoint) if half else checkpoint
    model = rounded.build()
    with SlimBundle.open(report.bundle) as bundle:
        for selection in nets:
            net = PackedNet(selection=selection, widths=() if selection.width is None else (selection.width,))
            deployed = fold(model.static(selection))
            same_bits(folded_net(bundle, bundle.resolve(net.id)), deployed)
            row = rows[net.id]
            rebuilt, exported = folder / "rebuilt", folder / "exported"
            bundle.rebuild_artifact(row.artifact, rebuilt, overwrite=True)
            exported.unlink(missing_ok=True)
            targets.get(target).export(
                deployed,
                {"image": torch.zeros(1, 3, SIZE, SIZE)},
                exported,
                metadata=metadata_for(rounded, net, labels=None, about={}),
                precision=precision,
            )
            assert rebuilt.read_bytes() == exported.read_bytes()
            if precision == "fp32" and not half:
                assert row.literal_bytes <= unseen_bytes(deployed)


def same_bits(found: SlicedModel, wanted: SlicedModel) -> None:
    ours, theirs = found.state_dict(), wanted.state_dict()
    assert list(ours) == list(theirs)
    for name, tensor in theirs.items():
        assert (ours[name].dtype, ours[name].shape) == (tensor.dtype, tensor.shape), name
        assert np.array_equal(ours[name].numpy().view(np.uint32), tensor.numpy().view(np.uint32)), name


def unseen_bytes(net: SlicedModel) -> int:
    """Of the constants that the finder leaves to the template: zeros, and those that are too short to be looked for."""
    arrays = [tensor.numpy() for tensor in net.state_dict().values()]
    return sum(array.nbytes for array in arrays if array.nbytes < SHORTEST_BYTES or not array.any())


def know(here: pytest.MonkeyPatch, name: str, network: Network) -> None:
    """Have ``network`` in the registry for one test."""
    here.setattr(f"random_nets.{name}", network, raising=False)
    here.setitem(models.REGISTRY._added, name, Entry(name=name, where=f"random_nets:{name}", origin=OWN))


@pytest.mark.parametrize("first", range(0, ALL, BLOCK))
def test_bundles_of_any_network_rebuild_what_was_exported(first: int, here: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for seed in range(first, first + BLOCK):
        know(here, spec_of(seed).name, network_of(seed))
        try:
            check(seed, tmp_path, target="verbatim", precision="fp16" if seed % 4 == 1 else "fp32")
            if seed in EXPORTED:
                check(seed, tmp_path, target="reference", precision="fp32")
        except Exception as error:
            error.add_note(f"network {seed}: {', '.join(sorted(features_of(seed)))}")
            raise


def test_every_feature_is_met() -> None:
    met = Counter(feature for seed in range(ALL) for feature in features_of(seed))
    print(*(f"{feature} {count}" for feature, count in met.most_common()), sep=", ")
    assert met.keys() == FEATURES
    assert min(met.values()) >= 15


def test_the_command_packs_strangers_and_says_what_stays_literal(
    here: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A BatchNorm alone, a shared module and tables; one number alone is too short to be looked for."""
    wanted = {"norm_alone", "shared_module", "tables", "universal"}
    seed = next(seed for seed in itertools.count() if wanted <= features_of(seed))
    know(here, spec_of(seed).name, network_of(seed))
    checkpoint, nets = random_checkpoint(seed)
    checkpoint.save(tmp_path / "net.pt")
    bundle = tmp_path / "net.slim"
    assert main(["pack", str(tmp_path / "net.pt"), "--target", "reference", "-o", str(bundle), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["net"] for row in rows} == {net.label for net in nets}
    for row in rows:
        assert 0 < row["literal_bytes"] <= 8, "one scalar, or two"
        assert row["explained_bytes"] > 100 * row["literal_bytes"]
        assert row["sqnr_db"] > 90
    assert main(["verify", str(bundle), "--images", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_a_table_that_no_master_can_hold_is_refused_by_its_name(here: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def build(b: Builder) -> nn.Module:
        net = Writer(b, 0).network()
        net.register_buffer("order", torch.arange(3))
        return net

    know(here, spec_of(0).name, dataclasses.replace(network_of(0), build=build))
    checkpoint, nets = random_checkpoint(0)
    with pytest.raises(CheckpointError, match=r"order: expected a floating-point tensor, got torch\.int64"):
        pack(checkpoint, PackOptions(targets=["verbatim"], out=tmp_path / "net.slim", nets=nets, jobs=1))
    assert not list(tmp_path.iterdir())
