"""A target whose files cannot be run on this machine, as Core ML's with an operation that no evaluator here knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeslim.errors import CannotCheckError
from edgeslim.targets.base import Runner
from edgeslim.targets.reference import ReferenceTarget

REASON = "cannot evaluate the operation 'lstm' here"


class BlindTarget(ReferenceTarget):
    info = replace(ReferenceTarget.info, name="blind", suffix=".blind")

    def load(self, path: Path, *, threads: int = 1) -> Runner:
        raise CannotCheckError(REASON)
