"""The net that runs at any width, and with any other choice of channels.

with model.at(Width(500)): model(x)        one set of weights, restored on exit
model.selection(Width(500))                its channels as a value: what everything about a net is kept under
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
from edgeslim.errors import CheckpointError, ModelError, WidthError, did_you_mean
from edgeslim.models.builder import Builder
from edgeslim.models.channels import Channels
from edgeslim.models.layers import SlimBatchNorm2d, SlimConv2d, SlimLayer, SlimLinear
from edgeslim.models.selection import Net, Selection
from edgeslim.models.shell import Shell
from edgeslim.models.spec import ModelSpec
from edgeslim.models.static import StaticModel, Statistics, set_statistics


class SlimmableModel(Shell):
    """One network, all widths of ``spec``; starts at the widest.

    ``network`` is what a builder's layers were put into, with a forward of its own: (N, in_channels, H, W) float,
    normalised → its outputs. In training mode BatchNorms use the batch's statistics; in evaluation mode a net without
    statistics raises ``CheckpointError``.
    """

    def __init__(self, spec: ModelSpec, builder: Builder, network: nn.Module) -> None:
        super().__init__(network)
        self.spec = spec
        self._cell = builder.cell
        self._layers = {name: module for name, module in self.named_modules() if isinstance(module, SlimLayer)}
        self._groups = _groups(self._layers)
        self._selections: dict[Width, Selection] = {}
        self._checked: set[Selection] = set()
        self._check_prefixes()
        self._cell.selection = self.selection(spec.high)

    # -- nets --------------------------------------------------------------------------------------------------------

    @property
    def net(self) -> Selection:
        """The net that runs now."""
        return self._cell.selection

    @contextmanager
    def at(self, net: Net) -> Iterator[SlimmableModel]:
        """Run as ``net`` inside the block; the former net comes back afterwards, also after an error.

        Raises:
            WidthError: outside the trained range, or not listed (S family).
            ModelError: counts that this model does not have.
        """
        cell, before = self._cell, self._cell.selection
        cell.selection = self.selection(net)
        try:
            yield self
        finally:
            cell.selection = before

    def groups(self) -> tuple[Channels, ...]:
        """The groups of channels that a selection has counts for, in module order."""
        return tuple(self._groups.values())

    def selection(self, net: Net) -> Selection:
        """The channels of ``net``, checked: the counts of all groups, as a value.

        Raises:
            WidthError: a width outside the trained range, or not listed (S family).
            ModelError: a group is missing or unknown, a count is too large, or groups of a layer do not divide it.
        """
        if isinstance(net, Selection):
            if net.width is not None and net != self.selection(net.width):
                raise ModelError(f"these are not the channels of {self.spec.name} at width {net.width}")
            if net.width is None and net not in self._checked:
                self._check(net)
                self._checked.add(net)
            return net
        known = self._selections.get(net)
        if known is None:
            self.check_width(net)
            known = Selection.uniform(self._groups.values(), net, listed=bool(self.spec.widths))
            self._selections[net] = known
        return known

    def check_width(self, width: Width) -> None:
        """Raise ``WidthError`` unless this net can run at ``width``."""
        spec = self.spec
        if spec.widths:
            if width not in spec.widths:
                listed = ", ".join(map(str, spec.widths))
                raise WidthError(f"{spec.name} has no width {width}: it was built for {listed} only")
        elif not spec.low <= width <= spec.high:
            raise WidthError(f"width {width} is outside the range of this {spec.name}: {spec.low} to {spec.high}")

    def _check(self, net: Selection) -> None:
        if self.spec.widths:
            raise ModelError(f"{self.spec.name} runs at its listed widths only: each has BatchNorms of its own")
        given = dict(net.counts)
        for name in self._groups.keys() - given.keys():
            raise ModelError(f"net {net.label} has no count for the channels {name!r}")
        for name, count in given.items():
            if name not in self._groups:
                hint = did_you_mean(name, self._groups) or f"known: {', '.join(self._groups)}"
                raise ModelError(f"net {net.label}: there are no channels {name!r}", hint=hint)
            if count > (most := self._groups[name].at(self.spec.high)):
                raise ModelError(f"net {net.label}: {name} has {most} channels at the most, not {count}")
        for layer in self._layers.values():
            layer.check(net)

    def _check_prefixes(self) -> None:
        """Raise ``ModelError`` if a narrow net has a layer wider than the widest's.

        The published rounding makes 9 channels of fewer than 4, but 8 of 4 to 11: a very narrow range can turn upside
        down.
        """
        spec = self.spec
        for name, layer in self._layers.items():
            most = layer.outputs.at(spec.high)
            for width in spec.widths or (spec.low,):
                if (wants := layer.outputs.at(width)) > most:
                    raise ModelError(
                        f"{spec.name} from {spec.low} to {spec.high}: {name} would have {wants} channels at width "
                        f"{width} but {most} at {spec.high}, so it is no slice",
                        hint="train a wider range: the published rounding makes 9 of fewer than 4 channels",
                    )

    def distinct(self, widths: Iterable[Width]) -> dict[Width, tuple[Width, ...]]:
        """Different nets among ``widths``, ascending: the smallest name of each → its aliases.

        Widths of the S family are never aliases: their BatchNorms are private.
        """
        names: dict[Selection, list[Width]] = {}
        for width in sorted(set(widths)):
            names.setdefault(self.selection(width), []).append(width)
        return {first: tuple(others) for first, *others in names.values()}

    # -- statistics --------------------------------------------------------------------------------------------------

    def layers(self) -> dict[str, SlimLayer]:
        """Slimmable layers by module name, in module order."""
        return dict(self._layers)

    def norms(self) -> dict[str, SlimBatchNorm2d]:
        """BatchNorms by module name."""
        return {name: layer for name, layer in self._layers.items() if isinstance(layer, SlimBatchNorm2d)}

    def set_statistics(self, net: Net, statistics: Statistics) -> None:
        """Give ``net`` means and population variances of every BatchNorm.

        Raises:
            CheckpointError: a BatchNorm is missing, unknown, or has another channel count.
        """
        chosen, norms = self.selection(net), self.norms()
        if norms.keys() != statistics.keys():
            odd = sorted(norms.keys() ^ statistics.keys())[0]
            raise CheckpointError(f"the statistics for net {chosen} do not fit the model: {odd} is on one side only")
        for name, norm in norms.items():
            mean, var = statistics[name]
            channels = norm.outputs.at(chosen)
            if mean.shape != (channels,) or var.shape != (channels,):
                raise CheckpointError(
                    f"statistics of {name} in net {chosen}: expected {channels} channels, got {tuple(mean.shape)}"
                )
        for name, norm in norms.items():
            like = next(norm.parameters())
            mean, var = statistics[name]
            norm.statistics[chosen] = (
                mean.detach().to(like.device, like.dtype, copy=True),
                var.detach().to(like.device, like.dtype, copy=True),
            )

    def statistics(self, net: Net) -> Statistics | None:
        """Means and variances of ``net`` by BatchNorm name, or None where there are none."""
        chosen, norms = self.selection(net), self.norms()
        if any(chosen not in norm.statistics for norm in norms.values()):
            return None
        return {name: norm.statistics[chosen] for name, norm in norms.items()}

    def drop_statistics(self, *, keep: tuple[Net, ...] = ()) -> None:
        """Forget the statistics of all nets but ``keep``: after a change of the weights they mean nothing."""
        kept = {self.selection(net) for net in keep}
        for norm in self.norms().values():
            norm.statistics = {net: pair for net, pair in norm.statistics.items() if net in kept}

    def calibrated(self) -> tuple[Selection, ...]:
        """Nets that statistics were given for, fewest channels first."""
        known = [norm.statistics.keys() for norm in self.norms().values()]
        shared = [net for net in known[0] if all(net in others for others in known)] if known else []
        return tuple(sorted(shared, key=lambda net: (net.channels, net.label)))

    # -- the plain twin ----------------------------------------------------------------------------------------------

    def static(self, net: Net, *, weights: bool = True) -> StaticModel:
        """The plain twin of ``net``: same module names, weights copied, statistics put in if known.

        Args:
            weights: False leaves it on the meta device, which is enough for counting.

        Raises:
            WidthError, ModelError: see ``selection``.
        """
        chosen = self.selection(net)
        twins = {name: layer.twin(chosen) for name, layer in self._layers.items()}
        memo = {id(layer): twins[name] for name, layer in self._layers.items()}
        plain = StaticModel(
            copy.deepcopy(self.network, memo),  # containers are copied, every slimmable layer becomes its twin
            spec=self.spec,
            selection=chosen,
        )
        plain.train(self.training)
        if not weights:
            return plain
        for name, layer in self._layers.items():
            _fill(twins[name], layer.slices(chosen))
        statistics = self.statistics(chosen)
        if statistics:
            set_statistics(plain, statistics)
        return plain


def _groups(layers: Mapping[str, SlimLayer]) -> dict[str, Channels]:
    """What selections count, by name, in module order."""
    found: dict[str, Channels] = {}
    for layer in layers.values():
        read = (layer.inputs,) if isinstance(layer, SlimConv2d | SlimLinear) else ()
        for leaf in (leaf for channels in (*read, layer.outputs) for leaf in channels.leaves()):
            if leaf.can_be_cut and found.setdefault(leaf.name, leaf) is not leaf:
                raise ModelError(f"two groups of channels are called {leaf.name!r}: names are unique within a net")
    return found


def _fill(twin: nn.Module, parts: Mapping[str, Tensor]) -> None:
    """Give a meta-device layer copies of ``parts`` as parameters and fresh buffers beside them."""
    like = next(iter(parts.values()))
    twin.to_empty(device=like.device)
    with torch.no_grad():
        for name, part in parts.items():
            setattr(twin, name, nn.Parameter(part.detach().clone(memory_format=torch.contiguous_format)))
    if isinstance(twin, nn.BatchNorm2d):
        twin.reset_running_stats()
