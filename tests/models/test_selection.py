"""Nets by their channels: any counts, one value for one net, and a master for every parameter."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgeslim.core.width import Width
from edgeslim.errors import ModelError
from edgeslim.models import names
from edgeslim.models.blocks import Classifier
from edgeslim.models.builder import Builder
from edgeslim.models.channels import Channels
from edgeslim.models.checkpoint import Checkpoint, load_checkpoint
from edgeslim.models.importance import sort_channels
from edgeslim.models.layers import SlimConv2d, SlimLayerNorm
from edgeslim.models.masters import MasterSpec, Sliced, cut, masters_of
from edgeslim.models.registry import create
from edgeslim.models.selection import Selection
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.models.spec import ModelSpec

HALF, FULL = Width(500), Width(1000)


def small(name: str = "us_mobilenet_v2") -> SlimmableModel:
    torch.manual_seed(0)
    return create(name, num_classes=10, input_size=32)


def odd_vector(model: SlimmableModel) -> Selection:
    """Counts that no width gives: every other group at a half."""
    return Selection.of(
        {group.name: group.at(HALF if i % 2 else FULL) for i, group in enumerate(model.groups())}, label="odd"
    )


def builder(high: Width = FULL) -> Builder:
    spec = ModelSpec(name="made_up", num_classes=4, input_size=32, in_channels=3, low=Width(250), high=high)
    return Builder(spec)


class Skip(nn.Module):
    """conv1 beside conv2, their concatenation into conv3."""

    def __init__(self, b: Builder) -> None:
        super().__init__()
        image, one, two = b.fixed("image", 3), b.channels("one", 16), b.channels("two", 32)
        self.one = nn.Sequential(*b.conv_norm(image, one, 3))
        self.two = nn.Sequential(*b.conv_norm(image, two, 3))
        self.norm = b.norm(b.joined(one, two))
        self.three = nn.Sequential(*b.conv_norm(b.joined(one, two), b.channels("three", 16), 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.three(self.norm(torch.cat([self.one(x), self.two(x)], 1)))  # type: ignore[no-any-return]


def skip_model() -> SlimmableModel:
    torch.manual_seed(0)
    b = builder()
    skip: Any = Skip(b)
    features = nn.Sequential(skip, nn.AdaptiveAvgPool2d(1))
    three = skip.three[0].outputs
    model = SlimmableModel(b.spec, b, Classifier(features, b.classifier(three)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def test_names_of_groups_are_unique_and_stable() -> None:
    groups = [group.name for group in small().groups()]
    assert groups[:4] == ["stem", "stage1", "features.2.hidden", "stage2"]
    assert len(groups) == len(set(groups)) == 24  # stem, 7 stages, 16 expansions
    b = builder()
    b.channels("stem", 8)
    with pytest.raises(ModelError, match="'stem'"):
        b.fixed("stem", 3)


def test_a_width_and_its_aliases_are_one_value() -> None:
    model = small()
    one, alias, other = (model.selection(Width(p)) for p in (350, 360, 500))
    assert one == alias != other
    assert hash(one) == hash(alias)
    assert one.sha256 == alias.sha256 != other.sha256
    assert (one.label, alias.label) == ("0350", "0360")
    assert {one: 1}[alias] == 1
    assert Selection.uniform(model.groups(), HALF) == model.selection(HALF)
    assert Selection.of(dict(one.counts), label="mine") == one
    assert Selection.from_json(one.to_json()) == one


def test_listed_widths_of_equal_channels_are_two_nets() -> None:
    model = create("s_mobilenet_v2", input_size=32, widths=[Width(350), Width(360)])
    one, other = map(model.selection, model.spec.widths)
    assert one.counts == other.counts
    assert one != other
    assert one.sha256 != other.sha256


def test_a_vector_runs_as_its_twin_does() -> None:
    model = small()
    net = odd_vector(model)
    x = torch.randn(4, 3, 32, 32)
    with torch.no_grad(), model.at(net):
        assert model.net == net
        mine = model(x)
    twin: Any = model.static(net).train()
    assert (twin(x) - mine).abs().max() <= 1e-4
    assert twin.features[2].body[0].out_channels == model.groups()[2].at(FULL)
    assert twin.features[2].body[6].out_channels == model.groups()[3].at(HALF)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"stem": None}, "no count for the channels 'stem'"),
        ({"stm": 8}, "no channels 'stm'"),
        ({"stem": 33}, "stem has 32 channels at the most, not 33"),
        ({"stem": 0}, "at least 1 channel"),
    ],
)
def test_counts_that_do_not_fit(edit: dict[str, int | None], message: str) -> None:
    model = small()
    counts = {**dict(model.selection(HALF).counts), **edit}
    with pytest.raises(ModelError, match=message):
        model.selection(Selection.of({n: c for n, c in counts.items() if c is not None}, label="mine"))


def test_groups_of_a_layer_divide_its_channels() -> None:
    b = builder()
    wide = b.channels("wide", 24, movable=False)
    layers: list[Any] = b.conv_norm(b.fixed("image", 3), wide) + b.conv_norm(wide, b.channels("next", 24), groups=3)
    features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))
    model = SlimmableModel(b.spec, b, Classifier(features, b.classifier(layers[3].outputs)))
    with pytest.raises(ModelError, match="wide of net mine: 10 channels do not divide by 3 groups"):
        model.selection(Selection.of({"wide": 10, "next": 12}, label="mine"))
    with pytest.raises(ModelError, match="runs at its listed widths only"):
        create("s_mobilenet_v1").selection(Selection.of({"stem": 8}, label="mine"))
    with pytest.raises(ModelError, match="no block has its parts"):
        b.conv_norm(b.joined(wide, b.channels("more", 24)), b.channels("last", 24), groups=3)


def test_every_part_of_a_concatenation_is_cut_to_its_own_first_channels() -> None:
    model: Any = skip_model()
    conv = model.features[0].three[0]
    by_hand = torch.cat([conv.weight[:8, :8], conv.weight[:8, 16:32]], 1)  # 8 of 16, then 16 of 32
    assert torch.equal(conv.slices(HALF)["weight"], by_hand)
    norm = model.features[0].norm
    assert torch.equal(norm.affine(model.selection(HALF))[0], torch.cat([norm.weight[:8], norm.weight[16:32]]))
    x = torch.randn(4, 3, 8, 8)
    with torch.no_grad(), model.at(HALF):
        assert torch.allclose(model.static(HALF).train()(x), model(x), atol=1e-5)
    with model.at(HALF):
        model(x).sum().backward()
    assert bool((conv.weight.grad[:8, 16:32] != 0).any())
    assert not bool(conv.weight.grad[:, 8:16].any())


def test_sorting_follows_channels_into_a_concatenation() -> None:
    model = skip_model()
    x = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        before = model(x)
        assert sort_channels(model) == 3
        assert torch.allclose(model(x), before, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", names())
def test_every_weight_has_a_master_and_the_cuts_are_the_twins_parameters(name: str) -> None:
    model = small(name)
    masters = {spec.name: spec for spec in masters_of(model)}
    norms = tuple(f"{norm}." for norm in model.norms())
    state = model.state_dict()
    assert list(masters) == [key for key in state if not key.startswith(norms)]
    for width in {model.spec.low, model.spec.high}:
        twin = model.static(width).state_dict()
        for key, spec in masters.items():
            assert [sum(parts) for parts in spec.parts(model.spec.high)] == list(state[key].shape)
            assert torch.equal(cut(state[key], spec.parts(model.spec.high), spec.parts(width)), twin[key])
    assert {spec.role for spec in masters.values()} == {"weight", "tensor"}
    assert all((spec.rows == 0) == (spec.role == "weight") for spec in masters.values())


def test_masters_of_grouped_and_depthwise_layers() -> None:
    model = small("s_shufflenet")
    masters = {spec.name: spec for spec in masters_of(model)}
    grouped, depthwise = masters["features.1.c.0.weight"], masters["features.1.b.1.weight"]
    assert grouped.parts(FULL) == ((72, 72, 72), (20,), (1,), (1,))  # 60 channels to 216, in three groups
    assert grouped.groups == 3
    assert depthwise.parts(FULL) == ((60,), (1,), (3,), (3,))
    assert depthwise.groups == 120  # of the widest, 2.0x


def test_a_parameter_without_a_master_is_refused_by_its_name() -> None:
    class Forgetful(Sliced):
        def __init__(self) -> None:
            super().__init__()
            self.known, self.extra = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))

        def own_masters(self) -> tuple[MasterSpec, ...]:
            return (MasterSpec(name="known", role="tensor", axes=(4,)),)

    with pytest.raises(ModelError, match=r"^0\.body\.extra has no master"):
        masters_of(nn.Sequential(nn.ModuleDict({"body": Forgetful()})))
    with pytest.raises(ModelError, match="1 is a plain BatchNorm"):
        masters_of(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)))


def test_parameters_that_no_scale_touches_are_tensors() -> None:
    b = builder()
    stem = b.channels("stem", 16)
    net = nn.Sequential(SlimLayerNorm(b.cell, FULL, stem), nn.PReLU(), nn.ConvTranspose2d(4, 6, 2, groups=2))
    weight, bias, slope, transposed, own_bias = masters_of(net)
    assert (weight.role, weight.parts(HALF), bias.parts(HALF)) == ("tensor", ((8,),), ((8,),))
    assert (slope.name, slope.role, slope.parts(HALF)) == ("1.weight", "tensor", ((1,),))
    assert (transposed.role, transposed.rows, transposed.groups) == ("weight", 1, 2)
    assert (own_bias.name, own_bias.role) == ("2.bias", "tensor")


def test_biases_start_at_zero_beside_a_batchnorm_too() -> None:
    from edgeslim.models.builder import initialise

    b = builder()
    conv = SlimConv2d(b.cell, FULL, b.fixed("image", 3), b.channels("stem", 16), 1, bias=True)
    assert conv.bias is not None
    with torch.no_grad():
        conv.bias.fill_(7.0)
    initialise(nn.Sequential(conv, b.norm(conv.outputs)), b.spec)
    assert not bool(conv.bias.any())


def test_checkpoints_keep_a_vector(tmp_path: Path) -> None:
    model = small().eval()
    net = odd_vector(model)
    for one in (net, HALF):
        counts = {name: norm.outputs.at(model.selection(one)) for name, norm in model.norms().items()}
        model.set_statistics(one, {name: (torch.randn(c), torch.rand(c) + 0.5) for name, c in counts.items()})
    Checkpoint.from_model(model, accuracies={net: {"top1": 0.5}}).save(tmp_path / "net.pt")
    read = load_checkpoint(tmp_path / "net.pt")
    assert list(read.statistics) == [model.selection(HALF), net]
    assert [one.label for one in read.statistics] == ["0500", "odd"]
    assert read.ladder == (HALF,)
    assert read.accuracies == {net: {"top1": 0.5}}
    x = torch.randn(1, 3, 32, 32)
    again = read.build()
    with torch.no_grad(), model.at(net), again.at(net):
        assert torch.equal(again(x), model(x))


@pytest.mark.parametrize("label", ["", "Upper", "0500", "a b", "-x", "x" * 65])
def test_labels(label: str) -> None:
    with pytest.raises(ModelError, match="label"):
        Selection.of({"stem": 8}, label=label)


def test_repeated_channels_are_one_block_of_a_grouped_layer() -> None:
    one = Channels(name="one", base=8)
    assert builder().repeated(one, 3).share(3) is one
    assert one.blocks(2).parts_at(FULL) == (4, 4)
    assert one.share(2).parts_at(HALF) == (4,)  # 8 of 0.5x, the published rounding's least, in two blocks


def test_a_selection_hashes_as_the_process_it_came_to_does() -> None:
    selection = Selection.of({"stage1": 16, "stage2": 24}, "found")
    code = (
        "import pickle, sys\n"
        "from edgeslim.models.selection import Selection\n"
        "came = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "assert came in {Selection.of({'stage1': 16, 'stage2': 24}, 'found')}\n"
    )
    for seed in ("1", "2"):  # texts hash differently with each
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, pickle.dumps(selection).hex()], env=environment, check=True)
