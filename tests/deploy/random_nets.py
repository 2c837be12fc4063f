"""Small networks at random: everything that a network of this library may be made of, in any order.

    seed ─┬─ network_of ─► Network           an entry for the registry
          ├─ features_of ─► names            what it is made of: all of them are FEATURES
          └─ random_checkpoint ─► Checkpoint, nets

The same seed gives the same net in every process.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeslim.core.pixels import ImageContract
from edgeslim.core.width import Width
from edgeslim.models.blocks import Repeat, Shuffle
from edgeslim.models.builder import Builder
from edgeslim.models.channels import Channels, Rule
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.models.layers import SlimConv2d, SlimLayerNorm, SlimLinear
from edgeslim.models.network import Network
from edgeslim.models.registry import from_spec
from edgeslim.models.selection import Selection
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.models.spec import ModelSpec

SIZE, CLASSES = 6, 3
LOW, HIGH = Width(500), Width(1000)
LISTED = (Width(250), Width(500), Width(1000))


class Step(nn.Module):
    """Some modules and a function of them: a forward of its own."""

    def __init__(self, function: Callable[[Step, Tensor], Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


class Table(nn.Module):
    """Numbers of a module that is no layer: a parameter, a buffer, one scalar."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.empty(()))
        self.factor = nn.Parameter(torch.empty(channels, 1, 1))
        self.position = nn.Parameter(torch.empty(1, 1, SIZE, SIZE))
        self.register_buffer("table", torch.linspace(0.5, 1.5, channels).view(1, channels, 1, 1))
        self.register_buffer("scratch", torch.ones(channels, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * (x + self.position) * self.factor * self.table * self.scratch  # type: ignore[operator]


class RandomNet(nn.Module):
    """(N, 3, S, S) → (N, classes). ``even``: groups of channels that grouped layers divide by up to 4."""

    def __init__(self, steps: Sequence[nn.Module], even: frozenset[str]) -> None:
        super().__init__()
        self.steps, self.even = nn.ModuleList(steps), even

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        return x


class Writer:
    """Writes one network: a stem, random steps, a random head. ``features`` says what it is made of."""

    def __init__(self, b: Builder, seed: int) -> None:
        self._b, self._random, self._number = b, random.Random(seed), 0
        self._even: set[str] = set()
        self.features: set[str] = set()
        self._channels = self._new()

    def network(self) -> RandomNet:
        steps: list[nn.Module] = [self._conv_norm(self._b.fixed("image", 3), self._channels, 3)]
        chosen = STEPS if self._b.spec.norm == "batch" else [step for step in STEPS if step not in NORMED]
        for step in self._random.sample(chosen, self._random.randint(2, 4)):
            self.features.add(step.__name__)
            steps.append(step(self))
        return RandomNet([*steps, self._head()], frozenset(self._even))

    def _new(self, *, even: bool = False) -> Channels:
        """Channels that nets cut; ``even``: by steps of 4, because grouped layers divide them."""
        self._number += 1
        made = self._b.channels(
            f"c{self._number}", self._random.choice((16, 32) if even else (8, 16, 24)), movable=False
        )
        if even:
            self._even.add(made.name)
        return made

    def _fixed(self, count: int) -> Channels:
        self._number += 1
        return self._b.fixed(f"f{self._number}", count)

    def _next(self, channels: Channels | None = None, *, even: bool = False) -> tuple[Channels, Channels]:
        """The channels so far, and those from here on."""
        before, self._channels = self._channels, channels or self._new(even=even)
        return before, self._channels

    def _conv(self, inputs: Channels, outputs: Channels, size: int = 1, *, bias: bool = False) -> SlimConv2d:
        return SlimConv2d(self._b.cell, self._b.spec.high, inputs, outputs, size, bias=bias)

    def _conv_norm(
        self, inputs: Channels, outputs: Channels, size: int = 1, *, groups: int = 1, depthwise: bool = False
    ) -> nn.Sequential:
        activation = self._random.choice((None, nn.ReLU, nn.Hardswish, nn.ReLU6))
        layers = self._b.conv_norm(inputs, outputs, size, groups=groups, depthwise=depthwise, activation=activation)
        return nn.Sequential(*layers)

    def _head(self) -> nn.Module:
        pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        if self._random.random() < 0.7:
            return nn.Sequential(*pooled, self._b.classifier(self._channels))
        self.features.add("linear_before_the_classes")
        hidden = self._new()
        first = SlimLinear(self._b.cell, self._b.spec.high, self._channels, hidden)
        return nn.Sequential(*pooled, first, nn.ReLU(), self._b.classifier(hidden))

    # Steps: each reads the channels so far and leaves what comes out of it as those from here on.

    def convolution(self) -> Step:
        before, after = self._next()
        return Step(_body, body=self._conv_norm(before, after, self._random.choice((1, 3))))

    def grouped(self) -> Step:
        """``first`` is written by one layer as a whole, and read in groups; ``after`` is written in groups."""
        before, after = self._next(even=True)
        first, groups = self._new(even=True), self._random.choice((2, 4))
        last = self._conv_norm(first, after, 3, groups=groups)
        return Step(_body, body=nn.Sequential(self._conv_norm(before, first), last))

    def only_grouped(self) -> Step:
        """Channels that nothing but grouped layers write and read."""
        before, after = self._next()
        start, middle, last = self._fixed(8), self._new(even=True), self._new(even=True)
        layers = (
            self._conv_norm(before, start),
            self._conv_norm(start, middle, groups=2),
            Shuffle(2),
            self._conv_norm(middle, last, 3, groups=2),
            self._conv_norm(last, after),
        )
        return Step(_body, body=nn.Sequential(*layers))

    def depthwise(self) -> Step:
        return Step(_body, body=self._conv_norm(self._channels, self._channels, 3, depthwise=True))

    def repeated(self) -> Step:
        """Every group of a convolution reads all channels."""
        before, after = self._next(even=True)
        again = self._conv_norm(self._b.repeated(before, 2), after, groups=2)
        return Step(_body, body=nn.Sequential(Repeat(2), again))

    def concatenation(self) -> Step:
        before, one = self._channels, self._new()
        self._next(self._b.joined(before, one))
        return Step(_beside, body=self._conv_norm(before, one, 3))

    def concatenation_cut_whole(self) -> Step:
        before, one, after = self._channels, self._new(), self._new()
        joined = self._b.joined(before, one, whole=True)
        self._next(after)
        return Step(_beside_then, body=self._conv_norm(before, one), last=self._conv_norm(joined, after))

    def residual(self) -> Step:
        inner = self._new()
        body = nn.Sequential(self._conv_norm(self._channels, inner, 3), self._conv_norm(inner, self._channels))
        return Step(_added, body=body)

    def norm_before(self) -> Step:
        """A BatchNorm in front of a convolution that does not pad; sometimes one behind it too."""
        before, after = self._next()
        behind = [self._b.norm(after)] if self._random.random() < 0.5 else []
        conv = self._conv(before, after, bias=self._random.random() < 0.5)
        return Step(_body, body=nn.Sequential(nn.ReLU(), self._b.norm(before), conv, *behind))

    def norm_before_groups(self) -> Step:
        before, after = self._next(even=True)
        first = self._new(even=True)
        grouped = SlimConv2d(self._b.cell, self._b.spec.high, first, after, 1, groups=2)
        layers = (self._conv_norm(before, first), nn.ReLU(), self._b.norm(first), grouped, self._b.norm(after))
        return Step(_body, body=nn.Sequential(*layers))

    def norm_alone(self) -> Step:
        """One that no layer can take in: it stands between functions, or in front of a padding."""
        before, after = self._next()
        conv = self._conv(before, after, 3, bias=True)
        return Step(_body, body=nn.Sequential(nn.ReLU(), self._b.norm(before), conv, nn.ReLU(), self._b.norm(after)))

    def convolution_called_twice(self) -> Step:
        """One module, two places: neither BatchNorm can go into it."""
        conv, channels = self._conv(self._channels, self._channels, 3), self._channels
        layers = (conv, self._b.norm(channels), nn.ReLU(), conv, self._b.norm(channels))
        return Step(_body, body=nn.Sequential(*layers))

    def shared_module(self) -> Step:
        """One module under two names, with nothing to fold."""
        conv = self._conv(self._channels, self._channels, bias=True)
        return Step(_both, body=conv, again=conv)

    def tied_parameter(self) -> Step:
        """One parameter of two modules."""
        body, again = (self._conv(self._channels, self._channels, bias=True) for _ in range(2))
        again.weight = body.weight
        return Step(_both, body=body, again=again)

    def layer_norm(self) -> Step:
        before, after = self._next()
        norm = SlimLayerNorm(self._b.cell, self._b.spec.high, before)
        linear = SlimLinear(self._b.cell, self._b.spec.high, before, after)
        return Step(_on_tokens, norm=norm, body=linear)

    def one_slope(self) -> Step:
        return Step(_body, body=nn.PReLU())

    def tables(self) -> Step:
        before, after = self._next(self._fixed(6))
        layers = (self._conv_norm(before, after), nn.PReLU(6), Table(6))
        return Step(_body, body=nn.Sequential(*layers))

    def plain_layers(self) -> Step:
        """Layers of torch among channels that every net keeps."""
        before, after = self._next(self._fixed(8))
        grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=self._random.random() < 0.5)
        return Step(_body, body=nn.Sequential(self._conv_norm(before, after), grouped, nn.GroupNorm(2, 8)))

    def transposed(self) -> Step:
        before, after = self._next(self._fixed(8))
        groups, bias = self._random.choice((1, 2)), self._random.random() < 0.5
        raised = nn.ConvTranspose2d(8, 8, 2, stride=2, groups=groups, bias=bias)
        norm = [self._b.norm(after)] if self._b.spec.norm == "batch" and self._random.random() < 0.5 else []
        layers = (self._conv_norm(before, after), raised, nn.MaxPool2d(2), *norm)
        return Step(_body, body=nn.Sequential(*layers))


def _body(step: Step, x: Tensor) -> Tensor:
    return step.body(x)  # type: ignore[operator, no-any-return]


def _added(step: Step, x: Tensor) -> Tensor:
    return x + step.body(x)  # type: ignore[operator, no-any-return]


def _beside(step: Step, x: Tensor) -> Tensor:
    return torch.cat([x, step.body(x)], 1)  # type: ignore[operator]


def _beside_then(step: Step, x: Tensor) -> Tensor:
    return step.last(_beside(step, x))  # type: ignore[operator, no-any-return]


def _both(step: Step, x: Tensor) -> Tensor:
    return F.relu(step.body(x)) + step.again(F.relu(x))  # type: ignore[operator, no-any-return]


def _on_tokens(step: Step, x: Tensor) -> Tensor:
    tokens = step.norm(x.flatten(2).transpose(1, 2))  # type: ignore[operator]
    return step.body(tokens).transpose(1, 2).unflatten(2, (SIZE, SIZE))  # type: ignore[operator, no-any-return]


NORMED = (Writer.norm_before, Writer.norm_before_groups, Writer.norm_alone, Writer.convolution_called_twice)
STEPS: tuple[Callable[[Writer], Step], ...] = (
    *NORMED,
    Writer.convolution,
    Writer.grouped,
    Writer.only_grouped,
    Writer.depthwise,
    Writer.repeated,
    Writer.concatenation,
    Writer.concatenation_cut_whole,
    Writer.residual,
    Writer.shared_module,
    Writer.tied_parameter,
    Writer.layer_norm,
    Writer.one_slope,
    Writer.tables,
    Writer.plain_layers,
    Writer.transposed,
)
FAMILIES = ("universal", "listed", "no_norm")
FEATURES = frozenset({*(step.__name__ for step in STEPS), *FAMILIES, "linear_before_the_classes", "vector"})


def network_of(seed: int) -> Network:
    """The entry of network ``seed`` for the registry."""
    listed = spec_of(seed).widths != ()
    ladder = LISTED if listed else (LOW, HIGH)
    rule: Rule = "floor" if listed else "round8"
    return Network(build=lambda b: Writer(b, seed).network(), ladder=ladder, listed=listed, rule=rule)


def spec_of(seed: int) -> ModelSpec:
    (family,) = random.Random(f"family {seed}").choices(FAMILIES, (5, 1, 1))
    return ModelSpec(
        name=f"random_{seed}",
        num_classes=CLASSES,
        input_size=SIZE,
        in_channels=3,
        low=LISTED[0] if family == "listed" else LOW,
        high=HIGH,
        widths=LISTED if family == "listed" else (),
        norm="none" if family == "no_norm" else "batch",
    )


def features_of(seed: int) -> frozenset[str]:
    """What network ``seed`` is made of."""
    spec = spec_of(seed)
    with torch.device("meta"):
        writer = Writer(Builder(spec), seed)
        writer.network()
    if spec.widths:
        return frozenset({*writer.features, "listed"})
    return frozenset({*writer.features, "no_norm" if spec.norm == "none" else "universal", "vector"})


def random_checkpoint(seed: int) -> tuple[Checkpoint, tuple[Selection, ...]]:
    """Network ``seed``, which must be in the registry, with numbers as training leaves them; the nets to pack."""
    torch.manual_seed(seed)
    model = from_spec(spec_of(seed))
    _fill(model)
    nets = _nets(model, random.Random(f"nets {seed}"))
    for net in nets:
        counts = {name: norm.outputs.at(net) for name, norm in model.norms().items()}
        model.set_statistics(net, {name: (torch.randn(c), torch.rand(c) + 0.3) for name, c in counts.items()})
    contract = dataclasses.replace(ImageContract.imagenet(3, SIZE, SIZE, crop="1"), mean=("0.5",) * 3)
    return Checkpoint.from_model(model, input=contract), nets


def _fill(model: SlimmableModel) -> None:
    """Weights of all sizes; gammas that are dead, tiny or negative."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
        for norm in model.norms().values():
            for parameter in norm.parameters():
                if parameter.numel() >= 8:
                    parameter[:3] = torch.tensor([0.0, 1e-30, -0.5])


def _nets(model: SlimmableModel, chance: random.Random) -> tuple[Selection, ...]:
    """A width; but for listed widths, a vector of channels whose counts nothing but its groups restrict."""
    if model.spec.widths:
        return (model.selection(chance.choice(LISTED)),)
    assert isinstance(model.network, RandomNet)
    even = model.network.even
    counts = {}
    for group in model.groups():
        step = 4 if group.name in even else 1
        counts[group.name] = step * chance.randint(1, group.at(HIGH) // step)
    vector = model.selection(Selection.of(counts, "by-chance"))
    return (vector, model.selection(Width(chance.randint(LOW.permille, HIGH.permille))))[: chance.choice((1, 1, 2))]
