"""The slimmable net: slices, twins, widths, statistics, gradients."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgeslim.core.width import Width
from edgeslim.errors import CheckpointError, ModelError, WidthError
from edgeslim.models import names
from edgeslim.models.layers import SlimConv2d, SlimLinear
from edgeslim.models.registry import create, default_ladder
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.models.static import batch_norms, set_statistics

US = ("us_mobilenet_v1", "us_mobilenet_v2", "us_resnet18", "us_resnet50")
HALF, FULL = Width(500), Width(1000)


def small(name: str, **settings: object) -> SlimmableModel:
    torch.manual_seed(0)
    return create(name, num_classes=10, input_size=32, **settings)  # type: ignore[arg-type]


def give_statistics(model: SlimmableModel, width: Width, seed: int = 0) -> None:
    """Random but sensible statistics at one width."""
    generator = torch.Generator().manual_seed(seed)
    model.set_statistics(
        width,
        {
            name: (
                0.1 * torch.randn(norm.outputs.at(width), generator=generator),
                0.5 + torch.rand(norm.outputs.at(width), generator=generator),
            )
            for name, norm in model.norms().items()
        },
    )


def forward_at(model: SlimmableModel, width: Width, x: Tensor) -> Tensor:
    with model.at(width), torch.no_grad():
        return model(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", names())
def test_the_net_at_a_width_is_its_static_twin(name: str) -> None:
    model = small(name).eval()
    x = torch.randn(2, 3, 32, 32)
    for width in (model.spec.low, default_ladder(model.spec)[1], model.spec.high):
        give_statistics(model, width)
        twin = model.static(width)
        assert not any(type(module).__module__.endswith("models.layers") for module in twin.modules())
        assert (forward_at(model, width, x) - twin(x)).abs().max() <= 1e-5
        model.train()  # batch statistics
        assert (forward_at(model, width, x) - model.static(width)(x)).abs().max() <= 1e-5
        model.eval()


def masked(master: nn.Module, model: SlimmableModel, width: Width) -> nn.Module:
    """The full-width twin with every channel that ``width`` does not have set to zero, same statistics.

    Behind each BatchNorm the cut channels are zeroed (gamma = beta = mean = 0), so nothing flows through them.
    """
    narrow = model.statistics(width)
    assert narrow is not None
    net = copy.deepcopy(master)
    norm: Any
    for name, norm in batch_norms(net).items():
        kept = model.norms()[name].outputs.at(width)
        with torch.no_grad():
            norm.weight[kept:] = 0
            norm.bias[kept:] = 0
            norm.running_mean.zero_()
            norm.running_var.fill_(1)
            norm.running_mean[:kept] = narrow[name][0]
            norm.running_var[:kept] = narrow[name][1]
    return net


@pytest.mark.parametrize("name", US)
def test_slicing_equals_masking(name: str) -> None:
    model = small(name).eval()
    with torch.no_grad():
        norm: Any
        for norm in model.norms().values():  # so that masking is not undone by beta = 0
            norm.weight.normal_(1, 0.2)
            norm.bias.normal_(0, 0.2)
    give_statistics(model, HALF)
    give_statistics(model, FULL)
    x = torch.randn(2, 3, 32, 32)
    expected = masked(model.static(FULL), model, HALF)(x)
    assert expected.abs().max() > 1e-3
    assert (forward_at(model, HALF, x) - expected).abs().max() <= 1e-5


def test_grouped_convolutions_slice_rows_and_columns_of_every_group() -> None:
    model: Any = small("s_shufflenet")
    conv = model.features[2].a[0]  # 3 groups, 480 → 120 at 2.0x: 40 rows of 160 columns in each group
    assert tuple(conv.weight.shape) == (120, 160, 1, 1)
    by_hand = torch.cat([conv.weight[40 * g : 40 * g + 10, :40] for g in range(3)])  # 0.5x
    assert torch.equal(conv.slices(HALF)["weight"], by_hand)


def test_at_restores_the_width_also_after_an_error_and_nested() -> None:
    model = small("us_mobilenet_v2")
    assert model.net.width == FULL
    with model.at(HALF):
        with pytest.raises(ZeroDivisionError), model.at(Width(350)):
            assert model.net.width == Width(350)
            raise ZeroDivisionError
        assert model.net.width == HALF
    assert model.net.width == FULL


def test_copies_have_a_width_of_their_own() -> None:
    model = small("us_mobilenet_v2")
    other = copy.deepcopy(model)
    with other.at(HALF):
        assert (model.net.width, other.net.width) == (FULL, HALF)
        assert other(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_a_range_whose_narrow_nets_are_no_slices_is_refused() -> None:
    # 32 channels: 0.06x asks for 1.92, which the published rounding makes 9; 0.25x has 8.
    with pytest.raises(ModelError, match=r"features\.0\.0 would have 9 channels at width 0\.06 but 8 at 0\.25"):
        create("us_mobilenet_v1", low=Width(60), high=Width(250))
    assert create("us_mobilenet_v1", low=Width(125), high=Width(250)).net.width == Width(250)


@pytest.mark.parametrize(("name", "width"), [("us_mobilenet_v2", 300), ("us_mobilenet_v2", 1025), ("s_resnet50", 600)])
def test_widths_that_are_not_there(name: str, width: int) -> None:
    model = small(name)
    with pytest.raises(WidthError), model.at(Width(width)):
        pass
    with pytest.raises(WidthError):
        model.static(Width(width))


def test_evaluation_without_statistics_is_an_error_that_names_the_command() -> None:
    model = small("us_mobilenet_v1").eval()
    give_statistics(model, FULL)
    with pytest.raises(CheckpointError, match=r"width 0\.5") as caught:
        forward_at(model, HALF, torch.randn(2, 3, 32, 32))
    assert "edgeslim calibrate" in str(caught.value.hint)
    forward_at(model, FULL, torch.randn(2, 3, 32, 32))


def test_statistics_belong_to_the_net_and_reach_its_aliases_only() -> None:
    model, other = small("us_mobilenet_v2").eval(), small("us_mobilenet_v2").eval()
    alias, different = Width(360), Width(400)
    assert model.selection(Width(350)) == model.selection(alias) != model.selection(different)
    give_statistics(model, Width(350))
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(forward_at(model, alias, x), forward_at(model, Width(350), x))
    assert [net.width for net in model.calibrated()] == [Width(350)]
    assert model.statistics(different) is None
    assert other.statistics(Width(350)) is None


@pytest.mark.parametrize("damage", ["missing", "unknown", "size"])
def test_statistics_that_do_not_fit(damage: str) -> None:
    model = small("us_mobilenet_v1")
    statistics = {
        name: (torch.zeros(n.outputs.at(HALF)), torch.ones(n.outputs.at(HALF))) for name, n in model.norms().items()
    }
    if damage == "missing":
        del statistics["features.0.1"]
    elif damage == "unknown":
        statistics["nobody"] = (torch.zeros(1), torch.ones(1))
    else:
        statistics["features.0.1"] = (torch.zeros(3), torch.ones(3))
    with pytest.raises(CheckpointError, match=r"features\.0\.1|nobody"):
        model.set_statistics(HALF, statistics)
    assert model.calibrated() == ()


def test_every_width_has_statistics_of_its_own_also_in_the_tail_that_never_narrows() -> None:
    model = small("us_mobilenet_v2").eval()
    give_statistics(model, HALF, seed=1)
    give_statistics(model, FULL, seed=2)
    tail = model.norms()["features.18.1"]
    assert tail.outputs.at(HALF) == tail.outputs.at(FULL) == 1280
    assert not torch.equal(*(tail.statistics[model.selection(width)][0] for width in (HALF, FULL)))


def test_how_many_different_nets_there_are() -> None:
    """In permille; a grid a hundred times finer finds one US-MobileNetV1 more (187), between two permille."""
    every = [Width(permille) for permille in range(250, 1001)]
    assert len(create("us_mobilenet_v1").distinct(every)) == 186
    assert len(create("us_mobilenet_v2").distinct(every[100:])) == 50


def test_distinct_keeps_the_smallest_name() -> None:
    model = small("us_mobilenet_v2")
    widths = [Width(p) for p in (1000, 360, 350, 355)]
    assert model.distinct(widths) == {Width(350): (Width(355), Width(360)), FULL: ()}


def test_the_private_batchnorms_of_equal_channels_are_different_nets() -> None:
    model = small("s_mobilenet_v2", widths=[Width(350), Width(360)])
    assert model.distinct(model.spec.widths) == {Width(350): (), Width(360): ()}


@pytest.mark.parametrize("width", [350, 500, 750, 1000])
def test_mobilenet_v2_has_torchvisions_parameters(width: int) -> None:
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):
        theirs = torchvision.models.mobilenet_v2(width_mult=width / 1000)
        ours = create("us_mobilenet_v2").static(Width(width), weights=False)
    assert [tuple(p.shape) for p in ours.parameters()] == [tuple(p.shape) for p in theirs.parameters()]


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnets_have_torchvisions_parameters(name: str) -> None:
    torchvision = pytest.importorskip("torchvision")
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)()
        ours = create(f"us_{name}").static(FULL, weights=False)
    assert sorted(tuple(p.shape) for p in ours.parameters()) == sorted(tuple(p.shape) for p in theirs.parameters())


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize(("size", "last"), [(224, 7), (64, 2), (32, 4), (16, 4), (8, 2)])
def test_small_images_keep_their_resolution(name: str, size: int, last: int) -> None:
    with torch.device("meta"):
        model: Any = create(name, num_classes=10, input_size=size, in_channels=1)
        x = torch.empty(1, 1, size, size)
    shapes: list[tuple[int, ...]] = []
    list(model.features)[-2].register_forward_hook(lambda _, __, y: shapes.append(tuple(y.shape[2:])))
    model(x)
    assert shapes == [(last, last)]


def test_gradients_of_a_narrow_width_stay_in_the_prefix() -> None:
    model: Any = small("us_mobilenet_v1")
    with model.at(HALF):
        model(torch.randn(4, 3, 32, 32)).sum().backward()
    conv = model.features[13].body[3]
    assert isinstance(conv, SlimConv2d)
    assert conv.weight.grad is not None
    assert bool((conv.weight.grad[:512, :512] != 0).any())
    assert not bool(conv.weight.grad[512:].any())
    assert not bool(conv.weight.grad[:, 512:].any())


@pytest.mark.parametrize("name", US)
def test_without_batchnorm_every_width_starts_alike(name: str) -> None:
    """A plain He start would leave a quarter-width MobileNetV1 with 1/10,000 of the widest net's activations."""
    model: Any = small(name, norm="none")
    assert not model.norms()
    sizes = []
    for width in (model.spec.low, HALF, FULL):
        with model.at(width), torch.no_grad():
            sizes.append(float(model.features(torch.randn(16, 3, 32, 32)).std()))
    assert max(sizes) < 5 * min(sizes)


@pytest.mark.parametrize("name", US[:2])
def test_without_batchnorm_every_width_learns(name: str) -> None:
    torch.manual_seed(0)
    model = create(name, num_classes=10, input_size=16, in_channels=1, norm="none")
    x, y = torch.randn(16, 1, 16, 16), torch.arange(16) % 10
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    history = []
    for _ in range(16):
        optimiser.zero_grad()
        losses = []
        for width in (FULL, model.spec.low):
            with model.at(width):
                loss = nn.functional.cross_entropy(model(x), y)
                loss.backward()
            losses.append(loss.item())
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        history.append(losses)
    assert history[-1][0] < history[0][0] - 0.3
    assert history[-1][1] < history[0][1] - 0.08


def test_settings_that_do_not_go_together() -> None:
    with pytest.raises(ModelError) as caught:
        create("us_mobilenet_v3")
    assert "us_mobilenet_v" in str(caught.value.hint)
    with pytest.raises(ModelError, match="listed widths only"):
        create("s_resnet50", low=HALF)
    with pytest.raises(ModelError, match="every width of a range"):
        create("us_resnet50", widths=[HALF])
    with pytest.raises(ModelError, match="norm must be 'batch'"):
        create("s_resnet50", norm="none")
    with pytest.raises(ModelError, match="num_classes"):
        create("us_resnet18", num_classes=0)


def test_a_range_above_one_makes_wider_masters() -> None:
    model: Any = create("us_mobilenet_v2", num_classes=10, high=Width(1400), input_size=32)
    assert model.features[0][0].weight.shape[0] == 48  # 32 · 1.4 = 44.8, to the nearest multiple of 8
    assert isinstance(model.classifier[0], SlimLinear)
    assert forward_at(model, Width(1400), torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_twins_without_statistics_say_so() -> None:
    model = small("us_mobilenet_v2")
    twin = model.static(HALF)
    assert all(int(norm.get_buffer("num_batches_tracked")) == 0 for norm in batch_norms(twin).values())
    known = {
        name: (torch.zeros(norm.num_features), torch.ones(norm.num_features))
        for name, norm in batch_norms(twin).items()
    }
    set_statistics(twin, known)
    assert all(int(norm.get_buffer("num_batches_tracked")) == 1 for norm in batch_norms(twin).values())


def test_twins_own_their_weights() -> None:
    model: Any = small("us_mobilenet_v2")
    twin = model.static(HALF)
    before = model.features[0][0].weight.clone()
    with torch.no_grad():
        twin.features[0][0].weight.zero_()
    assert torch.equal(model.features[0][0].weight, before)


def test_twins_are_traceable() -> None:
    for name in names():
        twin = small(name).eval().static(small(name).spec.low)
        traced = torch.fx.symbolic_trace(twin.eval())
        x = torch.randn(1, 3, 32, 32)
        assert torch.equal(traced(x), twin(x))
