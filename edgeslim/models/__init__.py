"""Slimmable layers and networks, their sliced twins, checkpoints.

spec ─► registry.create ─► SlimmableModel ─ static(width) ─► StaticModel ─ deploy.fold ─► SlicedModel
                                ▲ build()
Checkpoint ◄─ checkpoint.load_checkpoint ◄─ own file, or a published US-/S-Net state dict
"""

from edgeslim.models.registry import create, default_ladder, from_spec, names
from edgeslim.models.spec import ModelSpec

__all__ = ["ModelSpec", "create", "default_ladder", "from_spec", "names"]
