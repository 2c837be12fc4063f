"""Checkpoints: what goes in comes out, and nothing damaged or foreign gets in."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from edgeslim.cli.main import main
from edgeslim.core.pixels import ImageContract
from edgeslim.core.width import Width
from edgeslim.errors import CheckpointError, OutputError
from edgeslim.models import names
from edgeslim.models.checkpoint import RESUME_FORMAT, Checkpoint, load_checkpoint
from edgeslim.models.registry import create
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.models.spec import ModelSpec

CONTRACT = ImageContract.imagenet(3, 32, 32, crop="1")

HALF = Width(500)


def calibrated(name: str = "us_mobilenet_v1", **settings: Any) -> SlimmableModel:
    torch.manual_seed(0)
    model = create(name, num_classes=10, input_size=32, **settings)
    for width in (HALF, Width(1000)) if model.spec.norm == "batch" else ():
        channels = {norm: layer.outputs.at(width) for norm, layer in model.norms().items()}
        model.set_statistics(width, {norm: (torch.randn(c), torch.rand(c) + 0.5) for norm, c in channels.items()})
    return model.eval()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "net.pt"
    Checkpoint.from_model(
        calibrated(),
        input=CONTRACT,
        labels=("a", "b"),
        accuracies={HALF: {"top1": 0.5, "images": 7}},
        provenance={"seed": 1, "notes": ["made by a test"]},
        data_sha256="0" * 64,
    ).save(path)
    return path


def test_round_trip(saved: Path) -> None:
    checkpoint = load_checkpoint(saved)
    assert checkpoint.ladder == (HALF, Width(1000))
    assert checkpoint.trained == (Width(250), Width(1000))
    assert checkpoint.accuracies == {checkpoint.selection(HALF): {"top1": 0.5, "images": 7}}
    assert (checkpoint.input, checkpoint.labels) == (CONTRACT, ("a", "b"))
    assert (checkpoint.data_sha256, checkpoint.calibration_sha256) == ("0" * 64, None)
    assert checkpoint.notes == ("made by a test",)
    x = torch.randn(2, 3, 32, 32)
    one, other = calibrated(), checkpoint.build()
    with torch.no_grad(), one.at(HALF), other.at(HALF):
        assert torch.equal(one(x), other(x))


@pytest.mark.parametrize("name", names())
def test_every_network_comes_back_from_its_file(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create(name, num_classes=3, input_size=32)
    Checkpoint.from_model(model).save(tmp_path / "net.pt")
    checkpoint = load_checkpoint(tmp_path / "net.pt")
    assert checkpoint.spec == model.spec
    assert ModelSpec.from_json(json.loads(json.dumps(model.spec.to_json()))) == model.spec
    rebuilt = checkpoint.build().state_dict()
    assert all(torch.equal(tensor, rebuilt[key]) for key, tensor in model.state_dict().items())


def test_built_nets_share_nothing_with_the_checkpoint(saved: Path) -> None:
    checkpoint = load_checkpoint(saved)
    model = checkpoint.build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert checkpoint.state_dict["features.0.0.weight"].abs().sum() > 0
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_new_statistics_drop_the_accuracy_they_made_old(saved: Path) -> None:
    checkpoint = load_checkpoint(saved)
    again = checkpoint.with_statistics(
        {HALF: checkpoint.statistics[checkpoint.selection(HALF)]}, calibration_sha256="1" * 64
    )
    assert again.accuracies == {}
    assert again.calibration_sha256 == "1" * 64


def test_a_net_without_batchnorm_is_ready_at_its_ladder(tmp_path: Path) -> None:
    Checkpoint.from_model(calibrated(norm="none")).save(tmp_path / "net.pt")
    checkpoint = load_checkpoint(tmp_path / "net.pt")
    assert checkpoint.ladder[0] == Width(250)
    with checkpoint.build().at(HALF) as model:
        assert model(torch.randn(1, 3, 32, 32)).shape == (1, 10)


def change(path: Path, edit: Any) -> Path:
    document = torch.load(path, weights_only=True)
    edit(document)
    torch.save(document, path)
    return path


WEIGHT = "features.2.body.3.weight"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d["state_dict"].pop(WEIGHT), f"missing key '{WEIGHT}'"),
        (lambda d: d["state_dict"].update({"extra": torch.zeros(1)}), "unexpected key 'extra'"),
        (lambda d: d["state_dict"].update({WEIGHT: torch.zeros(2, 2)}), rf"{WEIGHT}: expected shape \(128, 64, 1, 1\)"),
        (lambda d: d["state_dict"].update({WEIGHT: torch.zeros(128, 64, 1, 1, dtype=torch.int8)}), "floating-point"),
        (lambda d: d["state_dict"].update({WEIGHT: "text"}), "expected a floating-point tensor, got str"),
        (lambda d: d["state_dict"][WEIGHT].view(-1)[5].fill_(float("nan")), f"{WEIGHT}: holds NaN or infinity"),
        (lambda d: d["state_dict"][WEIGHT].view(-1)[5].fill_(float("-inf")), f"{WEIGHT}: holds NaN or infinity"),
        (lambda d: d["nets"][0]["statistics"].pop("features.0.1"), "net 0.5: missing key 'features.0.1'"),
        (lambda d: d["nets"][0]["statistics"]["features.0.1"][1].neg_(), "is negative"),
        (lambda d: d["nets"][0]["net"].update(width=2000), "outside the range"),
        (lambda d: d["nets"][0]["net"].update(width=700), "not the channels of us_mobilenet_v1 at width 0.7"),
        (lambda d: d["nets"][0]["net"].update(width=None, label="0500"), "reads like a width"),
        (lambda d: d["nets"][0]["net"].update(width=None, label="My net"), "a net's label"),
        (lambda d: d["nets"][0]["net"]["counts"].update(stem=0), "at least 1 channel"),
        (lambda d: d["nets"].append(d["nets"][0]), "there twice"),
        (lambda d: d.update(nets={}), "nets are a list"),
        (lambda d: d["nets"][0].pop("accuracy"), "every net has"),
        (lambda d: d["nets"][0]["net"].pop("label"), "a net has label"),
        (lambda d: d["spec"].update(name="us_mobilenet_v9"), "no network 'us_mobilenet_v9'"),
        (lambda d: d["spec"].update(num_classes=11), r"classifier\.0\.weight: expected shape \(11, 1024\)"),
        (lambda d: d["spec"].pop("low"), "a model spec has the fields"),
        (lambda d: d["spec"].update(low="wide"), "permille"),
        (lambda d: d.update(version=1), "checkpoint version 1"),
        (lambda d: d.pop("provenance"), "missing key 'provenance'"),
        (lambda d: d.update(more=1), "unexpected key 'more'"),
        (lambda d: d["input"].update(std=["0", "1", "1"]), "std must be above 0"),
        (lambda d: d["input"].update(height=64), "another size than its net"),
        (lambda d: d.update(labels="ab"), "labels are a list of text"),
        (lambda d: d["nets"][0]["accuracy"].update(top1=float("nan")), "plain finite values"),
        (lambda d: d.update(data_sha256=3), "a hash is text"),
    ],
)  # fmt: skip
def test_damage_is_named(edit: Any, message: str, saved: Path) -> None:
    with pytest.raises(Exception, match=message) as caught:
        load_checkpoint(change(saved, edit))
    assert getattr(caught.value, "exit_code", None) == 2


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.999])
def test_truncated_files(keep: float, saved: Path) -> None:
    raw = saved.read_bytes()
    saved.write_bytes(raw[: int(keep * len(raw)) if isinstance(keep, float) else keep])
    with pytest.raises(CheckpointError, match="truncated, damaged or no PyTorch file"):
        load_checkpoint(saved)


def test_flipped_bits_never_become_weights(saved: Path) -> None:
    """torch.load itself does not look at the checksums of the zip that it reads."""
    raw = saved.read_bytes()
    original = load_checkpoint(saved)
    generator = random.Random(0)
    loaded = 0
    for _ in range(40):
        damaged = bytearray(raw)
        place = generator.randrange(len(raw)) if generator.random() < 0.6 else -generator.randrange(1, 40_000)
        damaged[place] ^= 1 << generator.randrange(8)
        saved.write_bytes(bytes(damaged))
        with contextlib.suppress(CheckpointError):
            found = load_checkpoint(saved)
            loaded += 1  # a date or an attribute in the zip's directory: nothing that is read
            assert all(torch.equal(found.state_dict[name], tensor) for name, tensor in original.state_dict.items())
            assert found.provenance == original.provenance
    assert loaded < 10


def test_what_was_changed_after_it_was_written_is_refused(saved: Path) -> None:
    """The zip's checksums are right, and every value is one that could be."""
    with pytest.raises(CheckpointError, match="another hash than when it was written"):
        load_checkpoint(change(saved, lambda d: d["state_dict"][WEIGHT].view(-1)[5].add_(1)))


def _itself() -> dict[str, Any]:
    document: dict[str, Any] = {}
    document["more"] = document
    return document


def _many() -> list[Any]:
    values: list[Any] = []
    for _ in range(40):
        values = [values, values]
    return values


def _deep() -> list[Any]:
    values: list[Any] = []
    for _ in range(100):
        values = [values]
    return values


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d.update(provenance=_itself()), "contain themselves"),
        (lambda d: d.update(provenance={"x": _many()}), "contain themselves"),
        (lambda d: d.update(provenance={"x": _deep()}), "contain themselves"),
        (lambda d: d.update(provenance={"x": 10**30}), "more than 64 bits"),
        (lambda d: d.update(provenance={"x": "\ud800"}), "no Unicode"),
        (lambda d: d.update(provenance={("a", 1): 2}), "plain finite values"),
        (lambda d: d.update({7: 1, "x": 2}), "unexpected key"),
        (lambda d: (d.pop("labels"), d.update({7: 1})), "missing key 'labels'"),
        (lambda d: d.update(version=torch.ones(2)), "checkpoint version of type Tensor"),
        (lambda d: d.update(format=torch.ones(2)), "no BatchNorm statistics per width"),
        (lambda d: d["spec"].update(num_classes=10**12), "from 1 to"),
        (lambda d: d["spec"].update({3: 1}), "a model spec has the fields"),
        (lambda d: d["spec"].update(name="x" * 300), "no network"),
        (lambda d: d["state_dict"].update({WEIGHT: torch.zeros(1).expand(128, 64, 1, 1)}), "stored in fewer bytes"),
        (lambda d: d["state_dict"].update({WEIGHT: torch.zeros(1, device="meta")}), "besides tensors that are dense"),
        (lambda d: d["state_dict"].update({WEIGHT: torch.zeros(4, 4).to_sparse()}), "besides tensors that are dense"),
        (lambda d: d.update(provenance={"x": [d["state_dict"][WEIGHT]] * 20_000}), "several share their bytes"),
        (lambda d: d.update(provenance={"x": bytearray(10)}), "besides tensors"),
    ],
)  # fmt: skip
def test_hostile_values_are_refused_before_anything_is_built(edit: Any, message: str, saved: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(change(saved, edit))


def test_a_zip_bomb_is_not_inflated(saved: Path) -> None:
    bomb = saved.with_name("bomb.pt")
    with zipfile.ZipFile(saved) as original, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in original.namelist():
            packed.writestr(name, original.read(name))
    with pytest.raises(CheckpointError, match="compressed data"):
        load_checkpoint(bomb)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_only_regular_files_are_read(kind: str, tmp_path: Path) -> None:
    path = Path("/dev/zero") if kind == "device" else tmp_path / "pipe"
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(CheckpointError, match="no regular file"):
        load_checkpoint(path)


class Meter:
    """Stands for the reference trainer's meter objects."""


def test_pickled_classes_are_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(marker),)

    for name, document in (
        ("resume.pt", {"model": {"a": torch.zeros(1)}, "meters": Meter()}),
        ("args.pt", {"model": {"a": torch.zeros(1)}, "args": argparse.Namespace(meter=Meter())}),
        ("evil.pt", {"model": Evil()}),
    ):
        torch.save(document, tmp_path / name)
        with pytest.raises(CheckpointError, match="pickled objects besides tensors") as caught:
            load_checkpoint(tmp_path / name)
        assert "torch.save" in str(caught.value.hint)
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "plain.pkl")
    assert not marker.exists()


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no file"):
        load_checkpoint(tmp_path / "missing.pt")
    with pytest.raises(CheckpointError, match="is a directory"):
        load_checkpoint(tmp_path)
    torch.save({"format": RESUME_FORMAT, "version": 1}, tmp_path / "resume.pt")
    with pytest.raises(CheckpointError, match="unfinished training run"):
        load_checkpoint(tmp_path / "resume.pt")


def test_another_model_than_the_file_holds(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="holds us_mobilenet_v1, not us_mobilenet_v2"):
        load_checkpoint(saved, model="us_mobilenet_v2")
    assert load_checkpoint(saved, model="us_mobilenet_v1").spec.name == "us_mobilenet_v1"


def test_bad_weights_are_never_written(tmp_path: Path) -> None:
    model: Any = calibrated()
    with torch.no_grad():
        model.features[2].body[3].weight[0, 0] = float("nan")
    with pytest.raises(CheckpointError, match=f"{WEIGHT}: holds NaN"):
        Checkpoint.from_model(model).save(tmp_path / "net.pt")
    assert list(tmp_path.iterdir()) == []


def test_files_are_not_replaced_unasked(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(OutputError, match="exists"):
        load_checkpoint(saved).save(saved)
    assert saved.read_bytes() == before
    load_checkpoint(saved).save(saved, overwrite=True)
    assert load_checkpoint(saved).ladder == (HALF, Width(1000))


def test_the_command_line_exits_2(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved.write_bytes(saved.read_bytes()[:1000])
    assert main(["profile", str(saved)]) == 2
    assert "hint: " in capsys.readouterr().err


def test_text_of_a_foreign_class_is_saved_as_plain_text(tmp_path: Path) -> None:
    """``torch.__version__`` is a subclass of str, which a later ``weights_only`` load would refuse."""
    model = create("us_mobilenet_v1", num_classes=2, input_size=16, high=Width(250))
    path = tmp_path / "net.pt"
    Checkpoint.from_model(model, provenance={"torch": torch.__version__}).save(path)
    assert load_checkpoint(path).provenance["torch"] == str(torch.__version__)
