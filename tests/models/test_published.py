"""Importing published US-/S-Net state dicts, on files whose keys and function are written apart from ours."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from published_nets import LADDERS, PublishedNet
from torch import Tensor

from edgeslim.core.addressing import artifacts
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.manifest import artifact_id
from edgeslim.core.width import Width
from edgeslim.deploy.fold import fold
from edgeslim.deploy.pack import pack
from edgeslim.deploy.pack_plan import PackOptions
from edgeslim.errors import CheckpointError
from edgeslim.models.checkpoint import Checkpoint, checkpoint_of, load_checkpoint
from edgeslim.models.registry import network
from edgeslim.targets import get

TAIL = "features.18.1"
SIZE = 64  # pixels; all strides are there


def widths(*permille: int) -> list[Width]:
    return [Width(p) for p in permille]


def small(name: str, *permille: int, in_channels: int = 3, classes: int = 10) -> PublishedNet:
    return PublishedNet(name, classes=classes, in_channels=in_channels, widths=[p / 1000 for p in permille])


def imported(net: PublishedNet) -> Checkpoint:
    return checkpoint_of({"model": net.state_dict()}, "net.pt")


def images() -> Tensor:
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def decibels(reference: Tensor, output: Tensor) -> float:
    """Of the signal over the difference, both in float64."""
    reference, output = reference.double(), output.double()
    noise = float((reference - output).square().sum())
    return 10 * math.log10(float(reference.square().sum()) / noise) if noise else math.inf


KEYS = [
    ("us_mobilenet_v1", 2594, 4_231_976),
    ("us_mobilenet_v2", 4292, 3_504_872),
    ("s_mobilenet_v1", 569, 4_264_808),
    ("s_mobilenet_v2", 1079, 3_556_456),
    ("s_resnet50", 1115, 25_636_712),
    ("s_shufflenet", 1842, 5_487_496),
]


@pytest.mark.parametrize(("name", "keys", "parameters"), KEYS)
def test_the_files_written_here_are_like_published_ones(name: str, keys: int, parameters: int) -> None:
    """As many keys and parameters as the published networks; of the US-Nets every counter per width is 0."""
    net = PublishedNet(name)
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    learnt = [tensor for key, tensor in net.tensors.items() if not key.endswith(statistics)]
    assert (len(net.tensors), sum(tensor.numel() for tensor in learnt)) == (keys, parameters)
    counters = {key: int(n) for key, n in net.tensors.items() if key.endswith("num_batches_tracked")}
    for key, counter in counters.items():
        assert (counter == 0) == (name.startswith("us_") and ".bn." in key)


@pytest.mark.parametrize("name", LADDERS)
def test_a_published_file_computes_what_the_papers_say(name: str, tmp_path: Path) -> None:
    """Every listed width: the folded net against plain torch in float64."""
    net = PublishedNet(name)
    net.save(tmp_path / "net.pt")
    checkpoint = load_checkpoint(tmp_path / "net.pt")
    assert checkpoint.spec.name == name
    assert (checkpoint.spec.num_classes, checkpoint.spec.input_size) == (1000, 224)
    assert list(checkpoint.ladder) == list(network(name).ladder)
    assert any(TAIL in note for note in checkpoint.notes) == name.endswith("v2")
    model, x = checkpoint.build(), images()
    found = {}
    with torch.no_grad():
        for index, width in enumerate(checkpoint.ladder):
            found[width] = decibels(net(x.double(), index), fold(model.static(width))(x))
    assert min(found.values()) >= 120, found


@pytest.mark.parametrize("name", ["us_mobilenet_v1", "s_shufflenet"])
def test_the_comparison_tells_a_wrong_width_from_a_right_one(name: str) -> None:
    """The neighbour's statistics on the right weights, and the right net on a shifted image."""
    low, high = (network(name).ladder[position].permille for position in (0, -1))
    net = small(name, low, high)
    x = images().double()
    with torch.no_grad():
        right = net(x, 0)
        assert decibels(right, net(x.roll(1, 2), 0)) < 80
        for key in list(net.tensors):
            if ".bn.0.running_mean" in key:
                net.tensors[key] = net.tensors[key] * 1.01
        assert decibels(right, net(x, 0)) < 80


def packed_decibels(name: str, target: str, nets: list[Width], folder: Path) -> dict[str, float]:
    """Packed, rebuilt from the bundle and run in its runtime, against plain torch in float64."""
    net = PublishedNet(name)
    x = images()[:1]
    checkpoint = imported(net)
    pack(
        checkpoint,
        PackOptions(targets=(target,), out=folder / "net.slim", nets=nets, input_sizes=(SIZE,), precisions=("fp32",)),
    )
    found = {}
    with SlimBundle.open(folder / "net.slim") as bundle:
        for variant, artifact in artifacts(bundle.manifest):
            identifier = artifact_id(variant.id, artifact.net)
            out = folder / f"{artifact.net}{variant.suffix}"
            bundle.rebuild_artifact(identifier, out)
            runner = get(target).load(out)
            try:
                (logits,) = runner.run({"image": x.numpy()}).values()
            finally:
                runner.close()
            index = list(network(name).ladder).index(Width(int(artifact.net)))
            with torch.no_grad():
                found[identifier] = decibels(net(x.double(), index), torch.from_numpy(logits.copy()))
    return found


@pytest.mark.parametrize("name", ["us_mobilenet_v2", "s_shufflenet"])
def test_a_packed_published_net_computes_it_too(name: str, tmp_path: Path) -> None:
    pytest.importorskip("litert_torch")
    found = packed_decibels(name, "litert", [network(name).ladder[0]], tmp_path)
    assert len(found) == 1
    assert min(found.values()) >= 120, found


@pytest.mark.slow
@pytest.mark.parametrize("name", LADDERS)
def test_every_listed_width_of_a_published_net_packed(name: str, tmp_path: Path) -> None:
    pytest.importorskip("litert_torch")
    found = packed_decibels(name, "litert", list(network(name).ladder), tmp_path)
    assert len(found) == len(imported(PublishedNet(name)).build().distinct(network(name).ladder))
    assert min(found.values()) >= 120, found


@pytest.mark.parametrize("name", ["us_mobilenet_v1", "s_mobilenet_v2"])
def test_every_number_is_the_files(name: str) -> None:
    net = PublishedNet(name)
    checkpoint = imported(net)
    for key, tensor in checkpoint.state_dict.items():
        theirs = key if key in net.tensors else f"{TAIL}.{key.rpartition('.')[2]}"
        assert torch.equal(tensor, net.tensors[theirs]), key
    for index, width in enumerate(checkpoint.ladder):
        for norm, (mean, var) in checkpoint.statistics[checkpoint.selection(width)].items():
            own = "" if norm == TAIL else f"bn.{index}."
            assert torch.equal(mean, net.tensors[f"{norm}.{own}running_mean"])
            assert torch.equal(var, net.tensors[f"{norm}.{own}running_var"])


def test_a_bare_state_dict_with_other_classes_is_read_too(tmp_path: Path) -> None:
    small("us_mobilenet_v1", 250, 1000, in_channels=1, classes=7).save(tmp_path / "net.pt", wrap=False)
    spec = load_checkpoint(tmp_path / "net.pt").spec
    assert (spec.num_classes, spec.in_channels, spec.low, spec.high) == (7, 1, Width(250), Width(1000))


def test_private_batchnorms_of_equal_channels_need_names(tmp_path: Path) -> None:
    """0.35 and 0.36 round to the same S-MobileNetV2 channels; their private BatchNorms differ."""
    small("s_mobilenet_v2", 350, 360, 1000).save(tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match=r"bn\.1 fit 0\.35, as others do") as caught:
        load_checkpoint(tmp_path / "net.pt")
    assert "--trained-widths" in str(caught.value.hint)
    ladder = widths(350, 360, 1000)
    assert load_checkpoint(tmp_path / "net.pt", widths=ladder).ladder == tuple(ladder)


def test_widths_off_the_grid_need_a_name(tmp_path: Path) -> None:
    small("us_mobilenet_v1", 333, 1000).save(tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match="cannot tell the widths"):
        load_checkpoint(tmp_path / "net.pt")
    assert load_checkpoint(tmp_path / "net.pt", widths=widths(333, 1000)).ladder == tuple(widths(333, 1000))


def test_repeated_widths_use_the_first_as_the_published_evaluation_does() -> None:
    """After calibration the list is [min, max, *tests]; tests may hold min and max again."""
    net = small("us_mobilenet_v1", 250, 1000, 250, 500, 1000)
    checkpoint = imported(net)
    assert checkpoint.ladder == tuple(widths(250, 500, 1000))
    first = net.tensors["features.0.1.bn.0.running_mean"]
    assert torch.equal(checkpoint.statistics[checkpoint.selection(Width(250))]["features.0.1"][0], first)
    assert any(note.startswith("2 more sets of statistics left out") for note in checkpoint.notes)


@pytest.mark.parametrize("counter", [0, None, 7])
def test_statistics_that_never_saw_a_batch_are_none(counter: int | None) -> None:
    """As ``nn.BatchNorm2d`` begins; a counter above 0 says that this is what they came to, one of 0 says nothing."""
    net = small("us_mobilenet_v1", 250, 500, 1000)
    for key, tensor in list(net.tensors.items()):
        if ".bn.1." in key:
            net.tensors[key] = tensor * 0 + int("var" in key)
        if ".bn.1.num_batches_tracked" in key:
            net.tensors[key] = torch.tensor(counter or 0)
            if counter is None:
                del net.tensors[key]
    checkpoint = imported(net)
    assert checkpoint.ladder == tuple(widths(250, 500, 1000) if counter else widths(250, 1000))
    assert any("0.5: never calibrated" in note for note in checkpoint.notes) == (not counter)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda sd: sd.pop("module.features.3.body.3.weight"), "missing key 'features.3.body.3.weight'"),
        (lambda sd: sd.pop("module.features.3.body.1.bn.1.running_var"), "missing key 'features.3.body.1.bn.1.run"),
        (lambda sd: sd.update({"module.extra": torch.zeros(1)}), "unexpected key 'extra'"),
        (lambda sd: sd.update({f"module.extra{i}": torch.zeros(1) for i in range(7)}),
         "unexpected keys 'extra0', 'extra1', 'extra2', 'extra3', 'extra4' and 2 more"),
        (lambda sd: sd.update({"module.features.3.body.3.weight": torch.zeros(3, 3, 1, 1)}),
         r"features.3.body.3.weight: expected shape \(128, 128, 1, 1\), got \(3, 3, 1, 1\)"),
        (lambda sd: sd["module.features.3.body.3.weight"].fill_(float("nan")), "features.3.body.3.weight: holds NaN"),
        (lambda sd: sd["module.features.3.body.1.bn.0.running_var"].fill_(float("inf")), "holds NaN or infinity"),
        (lambda sd: sd["module.features.3.body.1.bn.0.running_var"].fill_(-1.0), "is negative"),
    ],
)  # fmt: skip
def test_damage_is_named(change, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    small("us_mobilenet_v1", 250, 1000).save(tmp_path / "net.pt")
    document = torch.load(tmp_path / "net.pt")
    change(document["model"])
    torch.save(document, tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "net.pt")


def test_another_model_than_asked_for(tmp_path: Path) -> None:
    small("us_mobilenet_v1", 250, 1000).save(tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match="key"):
        load_checkpoint(tmp_path / "net.pt", model="us_mobilenet_v2")


def test_a_state_dict_of_something_else(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="cannot tell the network"):
        load_checkpoint(tmp_path / "other.pt")
    torch.save([1, 2, 3], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="neither an edgeslim checkpoint nor a state dict"):
        load_checkpoint(tmp_path / "list.pt")
