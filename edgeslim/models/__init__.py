"""Slimmable layers and networks, their sliced twins, checkpoints.

spec ─► registry.create ─► SlimmableModel ─ static(width) ─► StaticModel ─ deploy.fold ─► SlicedModel
                                ▲ build()
Checkpoint ◄─ checkpoint.load_checkpoint ◄─ own file, or a published US-/S-Net state dict

Networks have names. Other installed packages bring more by an entry point of the group ``edgeslim.networks``: a
``models.network.Network``. Knowing the names needs no torch; building one does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeslim.errors import ModelError
from edgeslim.registry import Registry

if TYPE_CHECKING:
    from edgeslim.models.network import Network

REGISTRY: Registry[Network] = Registry(
    "network",
    "edgeslim.networks",
    {
        "us_mobilenet_v1": "edgeslim.models.mobilenet_v1:US",
        "us_mobilenet_v2": "edgeslim.models.mobilenet_v2:US",
        "us_efficientnet_lite0": "edgeslim.models.efficientnet_lite:US_0",
        "us_resnet18": "edgeslim.models.resnet:US_18",
        "us_resnet50": "edgeslim.models.resnet:US_50",
        "s_mobilenet_v1": "edgeslim.models.mobilenet_v1:S",
        "s_mobilenet_v2": "edgeslim.models.mobilenet_v2:S",
        "s_resnet50": "edgeslim.models.resnet:S_50",
        "s_shufflenet": "edgeslim.models.shufflenet:S",
    },
    error=ModelError,
)


def names() -> tuple[str, ...]:
    """The networks people choose from."""
    return REGISTRY.names()


__all__ = ["REGISTRY", "names"]
