"""The net that runs at any width.

with model.at(Width(500)): model(x)        one set of weights, restored on exit
model.static(Width(500))                   the plain twin: calibration, baselines, folding
model.distinct(widths)                     which of them are different nets
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from edgeslim.core.width import Width
from edgeslim.errors import CheckpointError, WidthError
from edgeslim.models import tape
from edgeslim.models.builder import Builder
from edgeslim.models.layers import SlimBatchNorm2d, SlimConv2d, SlimLayer
from edgeslim.models.spec import ModelSpec
from edgeslim.models.static import StaticModel, Statistics, set_statistics


class SlimmableModel(nn.Module):
    """One network, all widths of ``spec``; starts at the widest.

    Input (N, in_channels, H, W) float, normalised; output (N, num_classes) logits. In training mode BatchNorms use
    the batch's statistics; in evaluation mode a width without statistics raises ``CheckpointError``.
    """

    def __init__(self, spec: ModelSpec, builder: Builder, features: nn.Sequential, classifier: nn.Sequential) -> None:
        super().__init__()
        self.spec = spec
        self._cell = builder.cell
        self.features = features
        self.classifier = classifier
        self._layers = {name: module for name, module in self.named_modules() if isinstance(module, SlimLayer)}
        self._signatures: dict[int, tuple[int, ...]] = {}
        self.direct_gradients = False
        """Whether training on a CPU may go by the pullbacks of ``models.direct`` instead of autograd.

        Off at first, as everything autograd promises then holds. A training loop that only calls ``backward`` once and
        reads ``.grad`` may switch it on: the same gradients up to rounding, faster. Hooks on modules and parameters
        do not run, so DistributedDataParallel must not be used with it.
        """
        self._statistics_names: dict[int, int] = {}

    def forward(self, x: Tensor) -> Tensor:
        if self.direct_gradients and tape.suits(self, x):
            return tape.forward(self.features, self.classifier, x)
        return self.classifier(self.features(x).flatten(1))  # type: ignore[no-any-return]

    # -- widths ------------------------------------------------------------------------------------------------------

    @property
    def width(self) -> Width:
        """The width it runs at now."""
        return Width(self._cell.permille)

    @contextmanager
    def at(self, width: Width) -> Iterator[SlimmableModel]:
        """Run at ``width`` inside the block; the former width comes back afterwards, also after an error.

        Raises:
            WidthError: outside the trained range, or not listed (S family).
        """
        cell = self._cell
        before = cell.permille, cell.statistics
        cell.statistics = self._statistics_name(width)
        cell.permille = width.permille
        try:
            yield self
        finally:
            cell.permille, cell.statistics = before

    def check_width(self, width: Width) -> None:
        """Raise ``WidthError`` unless this net can run at ``width``."""
        spec = self.spec
        if spec.widths:
            if width not in spec.widths:
                listed = ", ".join(map(str, spec.widths))
                raise WidthError(f"{spec.name} has no width {width}: it was built for {listed} only")
        elif not spec.low <= width <= spec.high:
            raise WidthError(f"width {width} is outside the range of this {spec.name}: {spec.low} to {spec.high}")

    def channel_signature(self, width: Width) -> tuple[int, ...]:
        """Output channels of every slimmable layer, in module order: equal signatures are equal nets."""
        known = self._signatures.get(width.permille)
        if known is None:
            self.check_width(width)
            known = tuple(layer.outputs.at(width) for layer in self._layers.values())
            self._signatures[width.permille] = known
        return known

    def distinct(self, widths: Iterable[Width]) -> dict[Width, tuple[Width, ...]]:
        """Different nets among ``widths``, ascending: the smallest name of each → its aliases.

        Widths of the S family are never aliases: their BatchNorms are private.
        """
        first: dict[tuple[int, ...], Width] = {}
        nets: dict[Width, tuple[Width, ...]] = {}
        for width in sorted(set(widths)):
            signature = self.channel_signature(width)
            name = width if self.spec.widths else first.setdefault(signature, width)
            nets[name] = () if name == width else (*nets[name], width)
        return nets

    # -- statistics --------------------------------------------------------------------------------------------------

    def layers(self) -> dict[str, SlimLayer]:
        """Slimmable layers by module name, in module order."""
        return dict(self._layers)

    def norms(self) -> dict[str, SlimBatchNorm2d]:
        """BatchNorms by module name."""
        return {name: layer for name, layer in self._layers.items() if isinstance(layer, SlimBatchNorm2d)}

    def set_statistics(self, width: Width, statistics: Statistics) -> None:
        """Give the net at ``width`` (and its aliases) means and population variances of every BatchNorm.

        Raises:
            CheckpointError: a BatchNorm is missing, unknown, or has another channel count.
        """
        self.check_width(width)
        norms = self.norms()
        if norms.keys() != statistics.keys():
            odd = sorted(norms.keys() ^ statistics.keys())[0]
            raise CheckpointError(f"the statistics for width {width} do not fit the net: {odd} is on one side only")
        for name, norm in norms.items():
            mean, var = statistics[name]
            channels = norm.outputs.at(width)
            if mean.shape != (channels,) or var.shape != (channels,):
                raise CheckpointError(
                    f"statistics of {name} at width {width}: expected {channels} channels, got {tuple(mean.shape)}"
                )
        for name, norm in norms.items():
            like = next(norm.parameters())
            mean, var = statistics[name]
            norm.statistics[width.permille] = (
                mean.detach().to(like.device, like.dtype, copy=True),
                var.detach().to(like.device, like.dtype, copy=True),
            )
        self._statistics_names.clear()
        if self._cell.permille == width.permille:
            self._cell.statistics = width.permille

    def statistics(self, width: Width) -> Statistics | None:
        """Means and variances of the net at ``width`` by BatchNorm name, or None where there are none."""
        key = self._statistics_name(width)
        norms = self.norms()
        if any(key not in norm.statistics for norm in norms.values()):
            return None
        return {name: norm.statistics[key] for name, norm in norms.items()}

    def drop_statistics(self, *, keep: tuple[Width, ...] = ()) -> None:
        """Forget the statistics of all widths but ``keep``: after a change of the weights they mean nothing."""
        kept = {width.permille for width in keep}
        for norm in self.norms().values():
            norm.statistics = {key: pair for key, pair in norm.statistics.items() if key in kept}
        self._statistics_names.clear()

    def calibrated(self) -> tuple[Width, ...]:
        """Widths that statistics were given for, ascending."""
        known = [set(norm.statistics) for norm in self.norms().values()]
        return tuple(Width(permille) for permille in sorted(set.intersection(*known))) if known else ()

    def _statistics_name(self, width: Width) -> int:
        """The name under which this net's statistics are kept: its own, else that of a width with the same channels."""
        known = self._statistics_names.get(width.permille)
        if known is None:
            signature = self.channel_signature(width)
            names = self.calibrated()
            same = [name for name in names if not self.spec.widths and self.channel_signature(name) == signature]
            known = width.permille if width in names or not same else same[0].permille
            self._statistics_names[width.permille] = known
        return known

    # -- the plain twin ----------------------------------------------------------------------------------------------

    def static(self, width: Width, *, weights: bool = True) -> StaticModel:
        """The plain twin at ``width``: same module names, weights copied, statistics put in if known.

        Args:
            weights: False leaves it on the meta device, which is enough for counting.

        Raises:
            WidthError: this net cannot run at ``width``.
        """
        self.check_width(width)
        twins = {name: layer.twin(width) for name, layer in self._layers.items()}
        memo = {id(layer): twins[name] for name, layer in self._layers.items()}
        full_groups = {
            name: layer.full_groups if isinstance(layer, SlimConv2d) else 1
            for name, layer in self._layers.items()
            if not isinstance(layer, SlimBatchNorm2d)
        }
        net = StaticModel(
            copy.deepcopy(self.features, memo),  # containers are copied, every slimmable layer becomes its twin
            copy.deepcopy(self.classifier, memo),
            spec=self.spec,
            width=width,
            full_groups=full_groups,
        )
        net.train(self.training)
        if not weights:
            return net
        for name, layer in self._layers.items():
            _fill(twins[name], layer.slices(width))
        statistics = self.statistics(width)
        if statistics:
            set_statistics(net, statistics)
        return net


def _fill(twin: nn.Module, parts: Mapping[str, Tensor]) -> None:
    """Give a meta-device layer copies of ``parts`` as parameters and fresh buffers beside them."""
    like = next(iter(parts.values()))
    twin.to_empty(device=like.device)
    with torch.no_grad():
        for name, part in parts.items():
            setattr(twin, name, nn.Parameter(part.detach().clone(memory_format=torch.contiguous_format)))
    if isinstance(twin, nn.BatchNorm2d):
        twin.reset_running_stats()
