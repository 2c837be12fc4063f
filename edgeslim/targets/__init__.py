"""Runtimes that edgeslim writes for and runs on, one file each.

``get(name)`` imports only that target's file; the file imports its exporter or runtime only when used.
"""

from __future__ import annotations

import importlib

from edgeslim.errors import UsageError, did_you_mean
from edgeslim.targets.base import Target

# name → module, class. "reference" is for tests: no exporter, no runtime, torch only.
_TABLE = {
    "executorch": ("edgeslim.targets.executorch", "ExecutorchTarget"),
    "coreml": ("edgeslim.targets.coreml", "CoremlTarget"),
    "litert": ("edgeslim.targets.litert", "LitertTarget"),
    "reference": ("edgeslim.targets.reference", "ReferenceTarget"),
}
_ALIASES = {"tflite": "litert"}
_HIDDEN = {"reference"}


def names() -> tuple[str, ...]:
    """The targets people choose from."""
    return tuple(name for name in _TABLE if name not in _HIDDEN)


def get(name: str) -> Target:
    """The target called ``name``.

    Raises:
        UsageError: no such target; the hint names the nearest.
    """
    key = _ALIASES.get(name, name)
    if key not in _TABLE:
        raise UsageError(
            f"no target {name!r}: there are {', '.join(names())}",
            hint=did_you_mean(name, [*names(), *_ALIASES]),
        )
    module, attribute = _TABLE[key]
    target: Target = getattr(importlib.import_module(module), attribute)()
    return target


__all__ = ["Target", "get", "names"]
