"""Networks made by name."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import torch

from edgeslim.core.pixels import ImageContract
from edgeslim.core.width import Width
from edgeslim.errors import ModelError
from edgeslim.models import REGISTRY
from edgeslim.models.builder import Builder, initialise
from edgeslim.models.network import Network
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.models.spec import ModelSpec, Norm


def network(name: str, *, package: str | None = None) -> Network:
    """The entry of ``name``, which a file says is brought by ``package``.

    Raises:
        ModelError: unknown (suggests the nearest), brought by two packages, or not importable.
    """
    found: object = REGISTRY.get(name, package=package)
    if not isinstance(found, Network):
        origin = REGISTRY.entry(name).origin
        raise ModelError(
            f"the network {name!r} of {origin.distribution} is a {type(found).__name__}, expected a Network",
            hint=f"update or uninstall {origin.distribution}",
        )
    return found


def default_ladder(spec: ModelSpec) -> tuple[Width, ...]:
    """The published widths of ``spec``'s network that lie in its range, with both ends; the listed ones (S family)."""
    if spec.widths:
        return spec.widths
    inside = {width for width in network(spec.name, package=spec.package).ladder if spec.low <= width <= spec.high}
    return tuple(sorted(inside | {spec.low, spec.high}))


def make_spec(
    name: str,
    *,
    num_classes: int = 1000,
    input_size: int = 224,
    in_channels: int = 3,
    low: Width | None = None,
    high: Width | None = None,
    widths: Sequence[Width] | None = None,
    norm: Norm = "batch",
) -> ModelSpec:
    """The spec of a network, with its published widths where none are given.

    Raises:
        ModelError: unknown name, or settings that do not go together.
    """
    entry = network(name)
    if entry.listed:
        listed = tuple(sorted(set(widths))) if widths else entry.ladder
        if low not in (None, listed[0]) or high not in (None, listed[-1]):
            raise ModelError(f"{name} runs at listed widths only: give widths, not a range")
        low, high = listed[0], listed[-1]
    else:
        if widths:
            raise ModelError(f"{name} runs at every width of a range: give low and high, not a list")
        listed = ()
    return ModelSpec(
        name=name,
        num_classes=num_classes,
        input_size=input_size,
        in_channels=in_channels,
        low=low or min(entry.ladder[0], high or entry.ladder[0]),
        high=high or entry.ladder[-1],
        widths=listed,
        norm=norm,
        package=REGISTRY.entry(name).origin.distribution,
    )


def usual_input(spec: ModelSpec) -> ImageContract | None:
    """What a net of ``spec`` sees where nothing else is known: its network's usual input; None where that is no
    image."""
    if spec.in_channels not in (1, 3):
        return None
    entry = network(spec.name, package=spec.package)
    usual = ImageContract.imagenet(spec.in_channels, spec.input_size, spec.input_size)
    usual = dataclasses.replace(usual, interpolation=entry.interpolation)
    if entry.normalisation is None:
        return usual
    mean, std = ((number,) * spec.in_channels for number in entry.normalisation)
    return dataclasses.replace(usual, mean=mean, std=std)


def from_spec(spec: ModelSpec) -> SlimmableModel:
    """A freshly initialised network of ``spec``.

    Raises:
        ModelError: unknown name, widths of the wrong family, or a narrow width with more channels than the widest.
    """
    entry = network(spec.name, package=spec.package)
    if entry.listed != bool(spec.widths):
        raise ModelError(f"{spec.name} {'needs' if entry.listed else 'has no'} listed widths")
    builder = Builder(spec, entry.rule, entry.norm_eps)
    model = SlimmableModel(spec, builder, entry.build(builder))
    initialise(model, spec)
    return model


@functools.lru_cache(maxsize=16)
def skeleton(spec: ModelSpec) -> SlimmableModel:
    """The network of ``spec`` without storage, for shapes, names and selections; shared, so leave it as it is.

    Raises:
        ModelError: as ``from_spec``.
    """
    with torch.device("meta"):
        return from_spec(spec)


def create(
    name: str,
    *,
    num_classes: int = 1000,
    input_size: int = 224,
    in_channels: int = 3,
    low: Width | None = None,
    high: Width | None = None,
    widths: Sequence[Width] | None = None,
    norm: Norm = "batch",
) -> SlimmableModel:
    """A freshly initialised network by name, at its widest width, in training mode.

    Args:
        input_size: pixels of the square input; at most 32 px the first halvings are left out (``Builder.strides``).
        low, high: trained range of the universally slimmable family.
        widths: listed widths of the S family.
        norm: ``batch``, or ``none`` for convolutions with bias and no normalisation (universally slimmable only).

    Raises:
        ModelError: unknown name (suggests the nearest), or settings that do not go together.
    """
    return from_spec(
        make_spec(
            name,
            num_classes=num_classes,
            input_size=input_size,
            in_channels=in_channels,
            low=low,
            high=high,
            widths=widths,
            norm=norm,
        )
    )
