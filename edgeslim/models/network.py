"""What a registry of networks holds: how one is built and which widths it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from edgeslim.core.width import Width
from edgeslim.models.builder import Builder
from edgeslim.models.channels import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """How a network is built and which widths it has unless told otherwise, ascending."""

    build: Callable[[Builder], nn.Module]
    ladder: tuple[Width, ...]  # the published widths
    listed: bool  # S family: only the listed widths exist
    rule: Rule = "round8"


def every_25(low: int) -> tuple[Width, ...]:
    """The grid of the universally slimmable family, from ``low`` permille to full width."""
    return tuple(Width(permille) for permille in range(low, 1001, 25))


def listed(*permille: int) -> tuple[Width, ...]:
    """The widths of an S network."""
    return tuple(map(Width, permille))
