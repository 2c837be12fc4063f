"""Importing published US-/S-Net state dicts, on files written here in the published layout."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from edgeslim.core.width import Width
from edgeslim.errors import CheckpointError
from edgeslim.models.checkpoint import load_checkpoint
from edgeslim.models.registry import create, network
from edgeslim.models.slimmable import SlimmableModel

TAIL = "features.18.1"


def widths(*permille: int) -> list[Width]:
    return [Width(p) for p in permille]


def published_key(name: str, shuffle: bool) -> list[str]:
    """The published modules that our module is made of (written independently of the importer)."""
    if shuffle and name.startswith("features.0."):
        return [f"head_{g}.{int(name[-1]) - 1}" for g in range(3)]
    if shuffle and name.startswith("features."):
        _, number, part, position = name.split(".")
        unit = f"features.{int(number) - 1}.{part}"
        return [f"{unit}.{position}"] if part == "b" else [f"{unit}_{g}.{position}" for g in range(3)]
    return [name]


def write_published(
    model: SlimmableModel, ladder: list[Width], path: Path, *, wrap: bool = True, seed: int = 0
) -> dict[int, dict[str, tuple[Tensor, Tensor]]]:
    """Write ``model``'s weights with random statistics; returns those by permille and our names."""
    generator = torch.Generator().manual_seed(seed)
    shuffle = model.spec.name == "s_shufflenet"
    norms = model.norms()
    out: dict[str, Tensor] = {}

    def put(name: str, parameter: str, tensor: Tensor) -> None:
        parts = published_key(name, shuffle)
        for module, part in zip(parts, tensor.chunk(len(parts)), strict=True):
            out[f"module.{module}.{parameter}"] = part.clone()

    for key, tensor in model.state_dict().items():
        private_key = re.fullmatch(r"(.+)\.bn\.(\d+)\.(weight|bias)", key)
        if private_key is None:
            put(key.rpartition(".")[0], key.rpartition(".")[2], tensor)
        elif private_key[1] == TAIL:
            put(TAIL, private_key[3], tensor)
        else:
            put(private_key[1], f"bn.{private_key[2]}.{private_key[3]}", tensor)
    truth: dict[int, dict[str, tuple[Tensor, Tensor]]] = {width.permille: {} for width in ladder}
    for name, norm in norms.items():
        tail = name == TAIL
        shared = None
        for index, width in enumerate(ladder):
            channels = norm.outputs.at(width)
            mean, var = torch.randn(channels, generator=generator), torch.rand(channels, generator=generator) + 0.5
            if tail:
                shared = shared or (mean, var)
                mean, var = shared
            truth[width.permille].setdefault(name, (mean, var))
            prefix = "" if tail else f"bn.{index}."
            put(name, f"{prefix}running_mean", mean)
            put(name, f"{prefix}running_var", var)
            for module in published_key(name, shuffle):
                out[f"module.{module}.{prefix}num_batches_tracked"] = torch.tensor(7)
    torch.save({"model": out} if wrap else out, path)
    return truth


@pytest.mark.parametrize(
    ("name", "keys"),
    [("us_mobilenet_v1", 2594), ("us_mobilenet_v2", 4292), ("s_mobilenet_v1", 569), ("s_mobilenet_v2", 1079),
     ("s_resnet50", 1115), ("s_shufflenet", 1842)],
)  # fmt: skip
def test_a_published_file_is_recognised_by_its_keys_and_sizes(name: str, keys: int, tmp_path: Path) -> None:
    ladder = list(network(name).ladder)
    model = create(name)
    truth = write_published(model, ladder, tmp_path / "net.pt")
    assert len(torch.load(tmp_path / "net.pt")["model"]) == keys

    checkpoint = load_checkpoint(tmp_path / "net.pt")

    assert checkpoint.spec.name == name
    assert (checkpoint.spec.num_classes, checkpoint.spec.input_size) == (1000, 224)
    assert list(checkpoint.ladder) == ladder
    for key, tensor in model.state_dict().items():
        assert torch.equal(checkpoint.state_dict[key], tensor) or TAIL in key, key
    for permille, by_name in truth.items():
        for norm, (mean, var) in by_name.items():
            assert torch.equal(checkpoint.statistics[checkpoint.selection(Width(permille))][norm][0], mean)
            assert torch.equal(checkpoint.statistics[checkpoint.selection(Width(permille))][norm][1], var)
    assert any(TAIL in note for note in checkpoint.notes) == name.endswith("v2")


def test_a_bare_state_dict_with_other_classes_is_read_too(tmp_path: Path) -> None:
    model = create("us_mobilenet_v1", num_classes=7, in_channels=1)
    write_published(model, widths(250, 1000), tmp_path / "net.pt", wrap=False)
    spec = load_checkpoint(tmp_path / "net.pt").spec
    assert (spec.num_classes, spec.in_channels, spec.low, spec.high) == (7, 1, Width(250), Width(1000))


def test_the_imported_net_computes_what_the_published_layout_says(tmp_path: Path) -> None:
    """One layer redone by hand: width 0.5 of the stem, statistics bn.1."""
    torch.manual_seed(0)
    model = create("us_mobilenet_v1", num_classes=10)
    write_published(model, widths(250, 500, 1000), tmp_path / "net.pt", wrap=False)
    raw = torch.load(tmp_path / "net.pt")
    x = torch.randn(2, 3, 64, 64)
    y = torch.nn.functional.conv2d(x, raw["module.features.0.0.weight"][:16], stride=2, padding=1)
    mean, var = (raw[f"module.features.0.1.bn.1.running_{part}"][:, None, None] for part in ("mean", "var"))
    y = ((y - mean) / (var + 1e-5).sqrt()).relu()  # gamma 1, beta 0 as initialised
    net: Any = load_checkpoint(tmp_path / "net.pt").build()
    with net.at(Width(500)), torch.no_grad():
        assert torch.allclose(net.features[0](x), y, atol=1e-5)


def test_one_and_the_same_branches_of_a_shufflenet(tmp_path: Path) -> None:
    """Three branches computed one by one, each with its own prefix, equal our grouped layers."""
    torch.manual_seed(0)
    write_published(create("s_shufflenet", num_classes=10), widths(500, 1000, 2000), tmp_path / "net.pt", wrap=False)
    raw = torch.load(tmp_path / "net.pt")
    x = torch.randn(1, 24, 28, 28)  # what the stem hands on at 1.0x
    outputs = []
    for group in range(3):  # the first unit: every branch sees all of the input, 60 middle channels in all
        y = torch.nn.functional.conv2d(x, raw[f"module.features.0.a_{group}.0.weight"][:20, :24])
        mean, var = (raw[f"module.features.0.a_{group}.1.bn.1.running_{s}"][:, None, None] for s in ("mean", "var"))
        outputs.append(((y - mean) / (var + 1e-5).sqrt()).relu())
    net: Any = load_checkpoint(tmp_path / "net.pt").build()
    with net.at(Width(1000)), torch.no_grad():
        unit = net.features[1]
        assert torch.allclose(unit.a(unit.whole(x)), torch.cat(outputs, 1), atol=1e-5)


def test_private_batchnorms_of_equal_channels_need_names(tmp_path: Path) -> None:
    """0.35 and 0.36 round to the same S-MobileNetV2 channels; their private BatchNorms differ."""
    ladder = widths(350, 360, 1000)
    write_published(create("s_mobilenet_v2", num_classes=10, widths=ladder), ladder, tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match=r"bn\.1 fit 0\.35, as others do") as caught:
        load_checkpoint(tmp_path / "net.pt")
    assert "--widths" in str(caught.value.hint)
    assert load_checkpoint(tmp_path / "net.pt", widths=ladder).ladder == tuple(ladder)


def test_widths_off_the_grid_need_a_name(tmp_path: Path) -> None:
    model = create("us_mobilenet_v1", num_classes=10)
    write_published(model, widths(333, 1000), tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match="cannot tell the widths"):
        load_checkpoint(tmp_path / "net.pt")
    assert load_checkpoint(tmp_path / "net.pt", widths=widths(333, 1000)).ladder == tuple(widths(333, 1000))


def test_repeated_widths_use_the_first_as_the_published_evaluation_does(tmp_path: Path) -> None:
    """After calibration the list is [min, max, *tests]; tests may hold min and max again."""
    model = create("us_mobilenet_v1", num_classes=10)
    write_published(model, widths(250, 1000, 250, 500, 1000), tmp_path / "net.pt")
    raw = torch.load(tmp_path / "net.pt")["model"]
    checkpoint = load_checkpoint(tmp_path / "net.pt")
    assert checkpoint.ladder == tuple(widths(250, 500, 1000))
    first = raw["module.features.0.1.bn.0.running_mean"]
    assert torch.equal(checkpoint.statistics[checkpoint.selection(Width(250))]["features.0.1"][0], first)
    assert any(note.startswith("2 more sets of statistics left out") for note in checkpoint.notes)


def test_statistics_that_never_saw_a_batch_are_none(tmp_path: Path) -> None:
    model = create("us_mobilenet_v1", num_classes=10)
    write_published(model, widths(250, 500, 1000), tmp_path / "net.pt")
    document = torch.load(tmp_path / "net.pt")
    for key in document["model"]:
        if ".bn.1.num_batches_tracked" in key:
            document["model"][key] = torch.tensor(0)
    torch.save(document, tmp_path / "net.pt")
    checkpoint = load_checkpoint(tmp_path / "net.pt")
    assert checkpoint.ladder == tuple(widths(250, 1000))
    assert any("0.5: never calibrated" in note for note in checkpoint.notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda sd: sd.pop("module.features.3.body.3.weight"), "missing key 'features.3.body.3.weight'"),
        (lambda sd: sd.pop("module.features.3.body.1.bn.1.running_var"), "missing key 'features.3.body.1.bn.1.run"),
        (lambda sd: sd.update({"module.extra": torch.zeros(1)}), "unexpected key 'extra'"),
        (lambda sd: sd.update({"module.features.3.body.3.weight": torch.zeros(3, 3, 1, 1)}),
         r"features.3.body.3.weight: expected shape \(128, 128, 1, 1\), got \(3, 3, 1, 1\)"),
        (lambda sd: sd["module.features.3.body.3.weight"].fill_(float("nan")), "features.3.body.3.weight: holds NaN"),
        (lambda sd: sd["module.features.3.body.1.bn.0.running_var"].fill_(float("inf")), "holds NaN or infinity"),
        (lambda sd: sd["module.features.3.body.1.bn.0.running_var"].fill_(-1.0), "is negative"),
    ],
)  # fmt: skip
def test_damage_is_named(change, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write_published(create("us_mobilenet_v1", num_classes=10), widths(250, 1000), tmp_path / "net.pt")
    document = torch.load(tmp_path / "net.pt")
    change(document["model"])
    torch.save(document, tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "net.pt")


def test_another_model_than_asked_for(tmp_path: Path) -> None:
    write_published(create("us_mobilenet_v1", num_classes=10), widths(250, 1000), tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match="key"):
        load_checkpoint(tmp_path / "net.pt", model="us_mobilenet_v2")


def test_a_torchvision_state_dict_points_to_training(tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.save(torchvision.models.mobilenet_v2().state_dict(), tmp_path / "tv.pt")
    with pytest.raises(CheckpointError, match="torchvision") as caught:
        load_checkpoint(tmp_path / "tv.pt")
    assert "--init" in str(caught.value.hint)


def test_a_state_dict_of_something_else(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="cannot tell the network"):
        load_checkpoint(tmp_path / "other.pt")
    torch.save([1, 2, 3], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="neither an edgeslim checkpoint nor a state dict"):
        load_checkpoint(tmp_path / "list.pt")
