"""Folding: the same function, the exact bits, and what cannot be folded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeslim.core.constants import Constant, Kind, values
from edgeslim.core.width import Width
from edgeslim.deploy.fold import filled, fold, fold_layers, structure
from edgeslim.deploy.masters import constants, own_vectors, sources
from edgeslim.errors import CheckpointError, ModelError
from edgeslim.models import names
from edgeslim.models.count import count
from edgeslim.models.masters import masters_of as master_specs
from edgeslim.models.registry import create
from edgeslim.models.sliced import ChannelAffine, SlicedModel
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.press.build import MasterSet


def calibrated(name: str, **settings: object) -> SlimmableModel:
    """Random weights, gammas, betas and statistics at the second width of the ladder and at the widest."""
    torch.manual_seed(0)
    model = create(name, num_classes=10, input_size=32, **settings)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn(parameter.shape))
    for width in (middle(model), model.spec.high) if model.spec.norm == "batch" else ():
        channels = {norm: layer.outputs.at(width) for norm, layer in model.norms().items()}
        model.set_statistics(width, {norm: (torch.randn(c), torch.rand(c) + 0.5) for norm, c in channels.items()})
    return model.eval()


def middle(model: SlimmableModel) -> Width:
    return model.spec.widths[1] if model.spec.widths else Width(500)


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("name", names())
def test_slimmable_static_and_folded_nets_agree(name: str) -> None:
    model = calibrated(name)
    width = middle(model)
    x = torch.randn(2, 3, 32, 32)
    twin = model.static(width)
    net = fold(twin)
    assert isinstance(net, SlicedModel)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    with torch.no_grad(), model.at(width):
        assert relative(net(x), model(x)) <= 1e-5
        assert relative(net(x), twin(x)) <= 1e-5
    assert net.counts == count(twin)


@pytest.mark.parametrize("name", names())
def test_numpy_alone_makes_the_same_bits_from_the_masters(name: str) -> None:
    model = calibrated(name)
    for width in (middle(model), model.spec.high):
        net = fold(model.static(width))
        modules = dict(net.named_modules())
        assert [layer.name for layer in net.layers] == [
            name for name, module in modules.items() if isinstance(module, nn.Conv2d | nn.Linear)
        ]
        masters = MasterSet(sources(model, net, model.state_dict()))
        made = constants(model, net, masters)
        index = {master.name: position for position, master in enumerate(masters.masters)}
        for layer in net.layers:
            position = index[f"{layer.name}.weight"]
            weight, bias = (values(Constant(position, kind), made) for kind in (Kind.WEIGHT, Kind.BIAS))
            assert np.array_equal(modules[layer.name].weight.numpy().view(np.uint32), weight.view(np.uint32))
            assert np.array_equal(modules[layer.name].bias.numpy().view(np.uint32), bias.view(np.uint32))


def test_scale_and_shift_of_a_norm_that_stands_alone_come_with_the_net() -> None:
    model = calibrated("us_resnet50" if "us_resnet50" in names() else names()[0])
    net = fold(model.static(middle(model)))
    alone = [name for name, module in net.named_modules() if isinstance(module, ChannelAffine)]
    assert own_vectors(net) == [f"{name}.{part}" for name in alone for part in ("scale", "shift")]
    masters = MasterSet(sources(model, net, model.state_dict()))
    made = constants(model, net, masters)
    for position, master in enumerate(masters.masters):
        if master.role == "own":
            numbers = values(Constant(position, Kind.VECTOR), made)
            assert np.array_equal(numbers, net.get_parameter(master.name).numpy().ravel())


def test_without_batchnorm_the_masters_are_deployed_as_they_are() -> None:
    model = calibrated("us_mobilenet_v2", norm="none")
    net = fold(model.static(Width(500)))
    assert all(layer.scale is None and layer.shift is None for layer in net.layers)
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad(), model.at(Width(500)):
        assert relative(net(x), model(x)) <= 1e-5


def test_one_layer_by_hand() -> None:
    """w = 3, gamma = 2, var = 4 − eps, mean = 5, beta = 7: scale 1, W' = 3, b' = 7 − 5."""
    net: Any = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1))
    set_batchnorm(net[1], gamma=2.0, beta=7.0, mean=5.0, var=4.0 - 1e-5)
    with torch.no_grad():
        net[0].weight.fill_(3.0)
    folded, (layer,) = fold_layers(net)
    assert layer.scale is not None
    assert layer.shift is not None
    assert (float(layer.scale[0]), float(layer.shift[0])) == (1.0, 2.0)
    assert float(folded(torch.full((1, 1, 1, 1), 10.0))) == 32.0


def set_batchnorm(norm: nn.Module, *, gamma: float, beta: float, mean: float, var: float) -> None:
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        norm.weight.fill_(gamma)
        norm.bias.fill_(beta)
        norm.running_mean.fill_(mean)
        norm.running_var.fill_(var)
        norm.get_buffer("num_batches_tracked").fill_(1)


def noisy(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.get_buffer("num_batches_tracked").fill_(1)
    return norm


@pytest.mark.parametrize("groups", [1, 3, 6])
@pytest.mark.parametrize("after", [False, True])
def test_a_batchnorm_before_an_unpadded_convolution_folds(groups: int, after: bool) -> None:
    torch.manual_seed(0)
    layers: list[nn.Module] = [noisy(nn.BatchNorm2d(6)), nn.Conv2d(6, 12, 3, groups=groups)]
    net: Any = nn.Sequential(*layers, *([noisy(nn.BatchNorm2d(12))] if after else [])).eval()
    folded: Any
    folded, (layer,) = fold_layers(net)
    assert layer.in_scale is not None
    x = torch.randn(2, 6, 8, 8)
    with torch.no_grad():
        assert relative(folded(x), net(x)) <= 1e-5
    columns = layer.in_scale.reshape(groups, -1).repeat(12 // groups, axis=0)[:, :, None, None]
    weight = net[1].weight.detach().numpy() * columns
    if layer.scale is not None:
        weight = weight * layer.scale[:, None, None, None]
    assert np.array_equal(weight, folded[1].weight.numpy())


def same_output(net: nn.Module, x: Tensor) -> Any:
    """``net`` folded, after a look at whether it computes the same; no BatchNorm is left."""
    folded, _ = fold_layers(net.eval())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with torch.no_grad():
        assert relative(folded(x), net(x)) <= 1e-5
    return folded


@pytest.mark.parametrize(
    "layers",
    [
        [noisy(nn.BatchNorm2d(4)), nn.Conv2d(4, 4, 3, padding=1)],  # the padded zeros would have to be its shift
        [nn.Conv2d(4, 4, 1), nn.ReLU(), noisy(nn.BatchNorm2d(4)), nn.ReLU()],
        [noisy(nn.BatchNorm2d(4))],
    ],
)
def test_a_batchnorm_that_no_layer_takes_in_stays_as_an_affine(layers: list[nn.Module]) -> None:
    torch.manual_seed(0)
    folded = same_output(nn.Sequential(*layers), torch.randn(2, 4, 8, 8))
    (affine,) = (module for module in folded.modules() if isinstance(module, ChannelAffine))
    assert affine.scale.shape == affine.shift.shape == (4, 1, 1)


class Beside(nn.Module):
    """Neighbours in a Sequential that are none in the graph, and the other way round."""

    def __init__(self) -> None:
        super().__init__()
        self.misleading = nn.Sequential(nn.Conv2d(4, 4, 1), noisy(nn.BatchNorm2d(4)))
        self.norm, self.far = noisy(nn.BatchNorm2d(4)), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        conv, norm = self.misleading
        y = conv(x)
        return y + norm(self.norm(self.far(y)))  # type: ignore[no-any-return]


def test_beside_means_in_the_graph() -> None:
    torch.manual_seed(0)
    net: Any = Beside()
    folded = same_output(net, torch.randn(2, 4, 8, 8))
    assert isinstance(folded.norm, nn.Identity)  # far's only reader
    assert isinstance(folded.misleading[1], ChannelAffine)  # its convolution stands in front of it only in the list
    assert torch.equal(folded.misleading[0].weight, net.misleading[0].weight)


class Reread(Beside):
    """Two read what the convolution gives, so its BatchNorm must not change it."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.far(x)
        return y + self.norm(y) + self.misleading(x)  # type: ignore[no-any-return]


def test_an_output_that_others_read_too_is_left_alone() -> None:
    torch.manual_seed(0)
    folded = same_output(Reread(), torch.randn(2, 4, 8, 8))
    assert isinstance(folded.norm, ChannelAffine)
    assert isinstance(folded.misleading[1], nn.Identity)


def test_a_layer_that_is_called_twice_takes_no_batchnorm_in() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 4, 1)
    net = nn.Sequential(conv, noisy(nn.BatchNorm2d(4)), nn.ReLU(), conv, noisy(nn.BatchNorm2d(4)))
    folded = same_output(net, torch.randn(2, 4, 8, 8))
    assert sum(isinstance(module, ChannelAffine) for module in folded.modules()) == 2


@pytest.mark.parametrize("name", names())
def test_a_structure_needs_no_statistics_and_takes_any_numbers(name: str) -> None:
    """As a bundle has them: every tensor by its name, no BatchNorm anywhere."""
    model = calibrated(name)
    width = middle(model)
    net = fold(model.static(width))
    model.drop_statistics()
    empty = structure(model.static(width))
    assert all(tensor.is_meta for tensor in empty.state_dict().values())
    assert [tensor.name for tensor in empty.tensors] == list(net.state_dict())
    assert empty.tensors == net.tensors
    again = filled(empty, {name: tensor.numpy() for name, tensor in net.state_dict().items()})
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(again(x), net(x))


def test_every_tensor_says_where_it_comes_from() -> None:
    net = fold(calibrated("us_mobilenet_v2").static(Width(500)))
    origins = {tensor.name: tensor for tensor in net.tensors}
    stem, head = origins["features.0.0.weight"], origins["classifier.0.weight"]
    assert (stem.kind, stem.master, stem.scaled, stem.in_scaled) == ("weight", "features.0.0.weight", True, False)
    assert (origins["features.0.0.bias"].kind, origins["features.0.0.bias"].master) == ("vector", None)
    assert (head.kind, head.scaled) == ("weight", False)
    assert (origins["classifier.0.bias"].kind, origins["classifier.0.bias"].master) == ("tensor", "classifier.0.bias")
    known = {spec.name for spec in master_specs(calibrated("us_mobilenet_v2"))}
    assert {tensor.master for tensor in net.tensors} - {None} <= known


def test_numbers_that_do_not_fill_a_structure() -> None:
    net = fold(calibrated("us_mobilenet_v1").static(Width(500)))
    values = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    first = next(iter(values))
    for wrong in ({n: v for n, v in values.items() if n != first}, {**values, "more": values[first]}):
        with pytest.raises(ModelError, match="on one side only"):
            filled(net, wrong)
    with pytest.raises(ModelError, match=f"{first} has shape"):
        filled(net, {**values, first: values[first][:1]})


def test_a_width_without_statistics_is_refused() -> None:
    model = calibrated("us_mobilenet_v1")
    with pytest.raises(CheckpointError, match="no statistics") as caught:
        fold(model.static(Width(725)))
    assert "calibrate" in str(caught.value.hint)


def test_damaged_statistics_are_refused() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    set_batchnorm(net[1], gamma=float("inf"), beta=0.0, mean=0.0, var=1.0)
    with pytest.raises(CheckpointError, match="not finite"):
        fold_layers(net)


def test_dead_channels_and_subnormals_keep_their_bits() -> None:
    """Under weight decay gammas die: scales of zero, of either sign, and products below the smallest normal float."""
    net: Any = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.BatchNorm2d(4))
    set_batchnorm(net[1], gamma=1.0, beta=0.0, mean=0.0, var=1.0 - 1e-5)
    with torch.no_grad():
        net[0].weight[:] = torch.tensor([1e-20, 1e-20, 1e-10, -3.0]).view(4, 1, 1, 1)
        net[1].weight[:] = torch.tensor([0.0, 1e-20, 1e-32, -0.0])
    folded: Any = fold_layers(net)[0]
    weight = folded[0].weight.numpy().ravel()
    assert weight[0] == 0
    assert weight[1] == np.float32(1e-40)
    assert 0 < weight[1] < np.finfo(np.float32).tiny, "flushed to zero"
    assert np.signbit(weight[3]) == np.False_


def test_folding_leaves_the_twin_alone() -> None:
    twin = calibrated("us_mobilenet_v1").static(Width(500))
    before = {key: tensor.clone() for key, tensor in twin.state_dict().items()}
    fold(twin)
    assert all(torch.equal(tensor, before[key]) for key, tensor in twin.state_dict().items())


@pytest.mark.parametrize("name", ["us_mobilenet_v2", "s_shufflenet"])
def test_sliced_nets_export_as_plain_convolutions(name: str) -> None:
    model = calibrated(name)
    net = fold(model.static(middle(model)))
    x = torch.randn(1, 3, 32, 32)
    program = torch.export.export(net, (x,))
    calls = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not any("norm" in call or "slice" in call for call in calls), calls
    assert torch.allclose(program.module()(x), net(x), atol=1e-6)
    traced = torch.jit.trace(net, x)
    assert torch.allclose(traced(x), net(x), atol=1e-6)


def test_parameters_and_tables_of_any_other_module_are_deployed_too() -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kept, self.factor = nn.PReLU(4), nn.Parameter(torch.full((4, 1, 1), 3.0))
            self.register_buffer("table", torch.arange(4.0).view(4, 1, 1))
            self.register_buffer("made", torch.ones(4, 1, 1), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.kept(x) * self.factor + self.table * self.made  # type: ignore[operator, no-any-return]

    same_output(nn.Sequential(nn.Conv2d(4, 4, 1), noisy(nn.BatchNorm2d(4)), Table()), torch.randn(2, 4, 8, 8))
