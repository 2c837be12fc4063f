"""A target whose runtime is imported, ready for a clock."""

from __future__ import annotations

import importlib

from edgeslim import targets
from edgeslim.targets.base import Target


def check(name: str) -> None:
    """Raises MissingExtraError if the runtime of ``name`` is not installed, UsageError if there is no such target."""
    targets.get(name).info.ensure_available(exporting=False)


def imported(name: str) -> Target:
    """The target, its runtime's modules imported; only its ``load`` is meant to be used.

    Raises:
        MissingExtraError, UsageError: as ``check``.
    """
    target = targets.get(name)
    target.info.ensure_available(exporting=False)
    for module in target.info.runtime.preload:
        importlib.import_module(module)
    return target
