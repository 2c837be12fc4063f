"""Data sets by name, and what becomes of them: images, batches, sources of training steps.

``named.load_data("cifar10", split)``, ``load_data("folder:PATH", split)``; a set's file is imported only when it is
asked for. Other installed packages bring more by an entry point of the group ``edgeslim.data``: a ``Loader``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeslim.errors import DataError
from edgeslim.registry import Registry

if TYPE_CHECKING:
    from edgeslim.data.images import ImageSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What of a data set: ``split`` is ``train``, ``calib`` or ``test``.

    ``rest``: what follows the name's colon (``PATH`` of ``folder:PATH``), "" without one. ``input_size``: pixels per
    side, None: the set's own. ``in_channels``: 1 or 3. ``images``: at most so many, None: all. ``root``: folder of
    downloaded sets. ``download``: whether missing files may be fetched. ``workers``: processes that decode large sets.
    """

    split: str
    rest: str
    input_size: int | None
    in_channels: int
    images: int | None
    root: Path
    download: bool
    workers: int


Loader = Callable[[Wanted], "ImageSet"]

REGISTRY: Registry[Loader] = Registry(
    "data set",
    "edgeslim.data",
    {
        "digits": "edgeslim.data.named:digits",
        "cifar10": "edgeslim.data.named:cifar10",
        "cifar100": "edgeslim.data.named:cifar100",
        "fashion_mnist": "edgeslim.data.named:fashion_mnist",
        "imagenet": "edgeslim.data.named:imagenet",
        "folder": "edgeslim.data.named:folder",
    },
    error=DataError,
    otherwise="folder:PATH takes your own images: PATH/train/<class>/",
)


def words() -> str:
    """What people may type, for the help of options."""
    return ", ".join("folder:PATH (a folder or a .zip)" if name == "folder" else name for name in REGISTRY.names())
