"""edgeslim: slimmable networks on real devices.

    data → Checkpoint → CalibratedModel → SlicedModel → Artifact → SlimBundle
                                                                        │ phone, board, laptop
                          WidthController ← LatencyTable ← Samples ← device runtime

The names below are stable. They are loaded on first use, so that ``import edgeslim`` needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Width": "edgeslim.core.width",
    "SlimBundle": "edgeslim.core.bundle",
    "LatencyTable": "edgeslim.core.latency",
    "WidthController": "edgeslim.core.controller",
    "SlimSession": "edgeslim.runtime.session",
    "load_checkpoint": "edgeslim.models.checkpoint",
    "calibrate": "edgeslim.deploy.calibration.calibrate",
    "pack": "edgeslim.deploy.pack",
}

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from edgeslim.core.width import Width as Width


def __getattr__(name: str) -> Any:
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module 'edgeslim' has no attribute {name!r}") from None
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
