"""The state of an unfinished run, so that a killed one goes on as if nothing had happened.

us.pt              the result, when the run is done
us.pt.resume       weights, optimiser, teacher, data source, step; replaced whole while training; removed at the end
us.best.pt         after the epoch that was best on held-out images, calibrated at the widths measured there
us.log.jsonl       losses per step, validation per epoch (log.py)
us.args.json       the options of the run (options.py)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edgeslim.errors import CheckpointError
from edgeslim.files import write_atomically
from edgeslim.models.checkpoint import RESUME_FORMAT
from edgeslim.models.checkpoint_reading import read_document

_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFiles:
    """Where a run whose result is ``out`` keeps its files."""

    out: Path

    @property
    def resume(self) -> Path:
        return self.out.with_name(self.out.name + ".resume")

    @property
    def log(self) -> Path:
        return self.out.with_suffix(".log.jsonl")

    @property
    def best(self) -> Path:
        return self.out.with_suffix(f".best{self.out.suffix}")

    @property
    def args(self) -> Path:
        return self.out.with_suffix(".args.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """Tensors and plain values only. ``settings``: what must be the same to go on; ``step``: the next one."""

    settings: dict[str, Any]
    step: int
    model: dict[str, Any]
    optimizer: dict[str, Any]
    teacher: dict[str, Any]
    source: dict[str, Any]

    def save(self, path: Path) -> None:
        document = {
            "format": RESUME_FORMAT,
            "version": _VERSION,
            **{name: getattr(self, name) for name in self.__slots__},
        }
        with write_atomically(path, overwrite=True) as stream:
            torch.save(document, stream)

    @classmethod
    def load(cls, path: Path, settings: dict[str, Any]) -> RunState:
        """Read the state of a run with the same settings.

        Raises:
            CheckpointError: unreadable, not a resume file, or of a run with other settings.
        """
        document = read_document(path)
        fields = {"format", "version", *cls.__slots__}
        if not isinstance(document, dict) or document.get("format") != RESUME_FORMAT:
            raise CheckpointError(f"{path} is not the state of an edgeslim training run")
        if document["version"] != _VERSION or document.keys() != fields:
            raise CheckpointError(
                f"{path} was written by another version of edgeslim", hint=f"remove {path} to start again"
            )
        state = cls(**{name: document[name] for name in cls.__slots__})
        difference = _first_difference(state.settings, settings)
        if difference:
            raise CheckpointError(
                f"{path} belongs to a run with other settings: {difference}",
                hint=f"resume with the same options, or remove {path} to start again",
            )
        return state


def _first_difference(old: Any, new: Any, name: str = "") -> str | None:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            found = _first_difference(old.get(key), new.get(key), f"{name}.{key}" if name else key)
            if found:
                return found
        return None
    return None if old == new else f"{name} was {old!r}, now {new!r}"
