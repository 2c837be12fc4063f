"""edgeslim: slimmable networks on real devices.

    data → Checkpoint → CalibratedModel → SlicedModel → Artifact → SlimBundle
                                                                        │ phone, board, laptop
                          WidthController ← LatencyTable ← Samples ← device runtime

The names below are stable. Every verb of the command line is a function with the same options. They are loaded on first
use, so that ``import edgeslim`` needs no torch; type checkers see them all.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from edgeslim.core.bundle import SlimBundle as SlimBundle
    from edgeslim.core.controller import WidthController as WidthController
    from edgeslim.core.latency import LatencyTable as LatencyTable
    from edgeslim.core.width import Width as Width
    from edgeslim.deploy.pack import pack as pack
    from edgeslim.deploy.pack_plan import PackOptions as PackOptions
    from edgeslim.models.checkpoint import load_checkpoint as load_checkpoint
    from edgeslim.runtime.session import SlimSession as SlimSession
    from edgeslim.training.options import TrainOptions as TrainOptions
    from edgeslim.verbs.bench import BenchOptions as BenchOptions
    from edgeslim.verbs.bench import bench as bench
    from edgeslim.verbs.calibrate import CalibrateOptions as CalibrateOptions
    from edgeslim.verbs.calibrate import calibrate as calibrate
    from edgeslim.verbs.data import DataOptions as DataOptions
    from edgeslim.verbs.evaluate import EvaluateOptions as EvaluateOptions
    from edgeslim.verbs.evaluate import evaluate as evaluate
    from edgeslim.verbs.export import ExportOptions as ExportOptions
    from edgeslim.verbs.export import export as export
    from edgeslim.verbs.inspect import InspectOptions as InspectOptions
    from edgeslim.verbs.inspect import inspect as inspect
    from edgeslim.verbs.profile import ProfileOptions as ProfileOptions
    from edgeslim.verbs.profile import profile as profile
    from edgeslim.verbs.run import RunOptions as RunOptions
    from edgeslim.verbs.run import run as run
    from edgeslim.verbs.simulate import SimulateOptions as SimulateOptions
    from edgeslim.verbs.simulate import simulate as simulate
    from edgeslim.verbs.subset import SubsetOptions as SubsetOptions
    from edgeslim.verbs.subset import subset as subset
    from edgeslim.verbs.train import train as train
    from edgeslim.verbs.verify import VerifyOptions as VerifyOptions
    from edgeslim.verbs.verify import verify as verify

_HOME = {
    "Width": "edgeslim.core.width",
    "SlimBundle": "edgeslim.core.bundle",
    "LatencyTable": "edgeslim.core.latency",
    "WidthController": "edgeslim.core.controller",
    "SlimSession": "edgeslim.runtime.session",
    "load_checkpoint": "edgeslim.models.checkpoint",
    "profile": "edgeslim.verbs.profile",
    "ProfileOptions": "edgeslim.verbs.profile",
    "train": "edgeslim.verbs.train",
    "TrainOptions": "edgeslim.training.options",
    "calibrate": "edgeslim.verbs.calibrate",
    "CalibrateOptions": "edgeslim.verbs.calibrate",
    "DataOptions": "edgeslim.verbs.data",
    "evaluate": "edgeslim.verbs.evaluate",
    "EvaluateOptions": "edgeslim.verbs.evaluate",
    "pack": "edgeslim.deploy.pack",
    "PackOptions": "edgeslim.deploy.pack_plan",
    "inspect": "edgeslim.verbs.inspect",
    "InspectOptions": "edgeslim.verbs.inspect",
    "subset": "edgeslim.verbs.subset",
    "SubsetOptions": "edgeslim.verbs.subset",
    "verify": "edgeslim.verbs.verify",
    "VerifyOptions": "edgeslim.verbs.verify",
    "export": "edgeslim.verbs.export",
    "ExportOptions": "edgeslim.verbs.export",
    "bench": "edgeslim.verbs.bench",
    "BenchOptions": "edgeslim.verbs.bench",
    "simulate": "edgeslim.verbs.simulate",
    "SimulateOptions": "edgeslim.verbs.simulate",
    "run": "edgeslim.verbs.run",
    "RunOptions": "edgeslim.verbs.run",
}

__all__ = ["__version__", *_HOME]


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
