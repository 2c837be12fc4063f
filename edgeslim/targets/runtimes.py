"""Which target a cell runs on: one of ``edgeslim.targets``, or the honest fake."""

from __future__ import annotations

import importlib
from typing import Any

from edgeslim import targets
from edgeslim.targets.fake import FakeTarget

# Imported before a clock runs: an app has its runtime linked in, Python's import is no part of a load.
_MODULES = {
    "executorch": ("torch", "executorch.runtime", "executorch.extension.pybindings.portable_lib"),
    "litert": ("ai_edge_litert.interpreter",),
}


def check(name: str) -> None:
    """Raises MissingExtraError if the runtime of ``name`` is not installed, UsageError if there is no such target."""
    if name != FakeTarget.name:
        targets.get(name).ensure_available(exporting=False)


def imported(name: str) -> Any:
    """The target, its runtime's modules imported; only its ``load`` is meant to be used.

    Raises:
        MissingExtraError, UsageError: as ``check``.
    """
    if name == FakeTarget.name:
        return FakeTarget()
    check(name)
    target = targets.get(name)
    for module in _MODULES.get(target.name, ()):
        importlib.import_module(module)
    return target
