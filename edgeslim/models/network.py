"""What a registry of networks holds: how one is built and which widths it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from edgeslim.core.resample import Interpolation
from edgeslim.core.width import Width
from edgeslim.models.builder import Builder
from edgeslim.models.channels import Rule
from edgeslim.models.layers import NORM_EPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How a network is built, which widths it has unless told otherwise, ascending, and what it is used to see.

    ``normalisation``: mean and standard deviation that published weights want, as decimals for pixels scaled to
    [0, 1], the same for every channel; None: ImageNet's own. ``interpolation``: how their images were resized.
    """

    build: Callable[[Builder], nn.Module]
    ladder: tuple[Width, ...]  # the published widths
    listed: bool  # S family: only the listed widths exist
    rule: Rule = "round8"
    norm_eps: float = NORM_EPS
    normalisation: tuple[str, str] | None = None
    interpolation: Interpolation = "bilinear"


def every_25(low: int) -> tuple[Width, ...]:
    """The grid of the universally slimmable family, from ``low`` permille to full width."""
    return tuple(Width(permille) for permille in range(low, 1001, 25))


def listed(*permille: int) -> tuple[Width, ...]:
    """The widths of an S network."""
    return tuple(map(Width, permille))
