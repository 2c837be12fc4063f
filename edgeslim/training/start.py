"""The net a run starts from."""

from __future__ import annotations

import torch

from edgeslim.models.registry import from_spec
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.models.spec import ModelSpec


def fresh(spec: ModelSpec, seed: int) -> SlimmableModel:
    """A randomly initialised net; the same one for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return from_spec(spec)
