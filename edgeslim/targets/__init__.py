"""Runtimes that edgeslim writes for and runs on, one file each.

``get(name)`` imports only that target's file; the file imports its exporter or runtime only when used. Other installed
packages bring more by an entry point of the group ``edgeslim.targets``: a class that makes a ``Target``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from edgeslim.errors import EdgeslimError
from edgeslim.registry import Registry
from edgeslim.targets.base import Target
from edgeslim.targets.info import TargetInfo

# "reference" and "fake" are for tests: no exporter and no runtime that a phone has.
REGISTRY: Registry[Callable[[], Target]] = Registry(
    "target",
    "edgeslim.targets",
    {
        "executorch": "edgeslim.targets.executorch:ExecutorchTarget",
        "coreml": "edgeslim.targets.coreml:CoremlTarget",
        "coreai": "edgeslim.targets.coreai:CoreaiTarget",
        "litert": "edgeslim.targets.litert:LitertTarget",
        "reference": "edgeslim.targets.reference:ReferenceTarget",
        "fake": "edgeslim.targets.fake:FakeTarget",
    },
    hidden=("reference", "fake"),
    aliases=lambda make: make().info.aliases,
)


def names() -> tuple[str, ...]:
    """The targets people choose from."""
    return REGISTRY.names()


def get(name: str) -> Target:
    """The target called ``name``.

    Raises:
        UsageError: no such target; the hint names the nearest.
    """
    return REGISTRY.get(name)()


def words(joined: str = ", ") -> str:
    """The names people may type, for the help of options: ``executorch, coreml, litert (or tflite)``."""
    found = []
    for name in names():
        aliases: tuple[str, ...] = ()
        with contextlib.suppress(EdgeslimError):  # another package's, broken: its name is still what one would type
            aliases = get(name).info.aliases
        found.append(f"{name} (or {', '.join(aliases)})" if aliases else name)
    return joined.join(found)


__all__ = ["REGISTRY", "Target", "TargetInfo", "get", "names", "words"]
