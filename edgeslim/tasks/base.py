"""What a net is for: how its outputs are learnt from, measured and compared. One file per task.

    widest ── outputs ─┬─ loss(outputs, target) ─► scalar
                       └─ soften(outputs, target) ─► soft targets ─┐
    others ── outputs ──── soft_loss(outputs, soft) ◄──────────────┘
    evaluation ── metric().add(outputs, target) … result()
    deployment ── compare(ours, theirs) ─► Closeness

Everything else (sandwich rule, calibration, packing, sessions) is blind to the task. Decoding for people lives where
sessions can use it and needs numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from edgeslim.core.manifest import TaskName
from edgeslim.errors import ModelError

Outputs = Mapping[str, Tensor]
"""Output name → tensor, batch first."""

Target = Any
"""What a data source gives beside the input, and only the task understands: labels, boxes, images."""

TIE_RMS = 4.0  # a difference of two outputs errs by √2 rms, so 2.8 sigma
MAX_DB = 200.0  # reported for equal numbers: float32 cannot tell more apart


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """One output: ``axes`` behind the batch, each by its name (``classes``, ``height``); ``meaning`` in a word."""

    name: str
    axes: tuple[str, ...]
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Closeness:
    """How close two nets' outputs are: per output the lowest SQNR of an example in dB, and two shares of all examples.

    ``agreement`` have the same answer. ``ties`` have another one, but the reference itself hardly prefers its own: its
    two best lie closer than ``TIE_RMS`` times the rms error of that example's outputs. The rest are changed answers. A
    task whose answers cannot be told apart like that knows no ties.
    """

    sqnr_db: Mapping[str, float]
    agreement: float
    ties: float = 0.0


class Metric(Protocol):
    """Gathers a measurement over batches. ``primary``: the name in ``result()`` that says how good a net is."""

    @property
    def primary(self) -> str: ...

    @property
    def larger_is_better(self) -> bool: ...

    def add(self, out: Outputs, target: Target) -> None: ...

    def result(self) -> dict[str, float]: ...


@runtime_checkable
class Answers(Protocol):
    """A metric that also keeps what was answered to every example, so that two nets' answers can be counted as same."""

    @property
    def answers(self) -> Tensor:
        """Whole numbers (N,), in the order of the examples."""
        ...


class Task(Protocol):
    """The whole of what training, evaluation and verification ask."""

    @property
    def name(self) -> str:
        """What it is called in the registry, on the command line and in checkpoints."""
        ...

    @property
    def bundle_task(self) -> TaskName:
        """What readers of a bundle, who know only FORMAT.md, may take it for; ``other`` where that says too much."""
        ...

    @property
    def outputs(self) -> tuple[OutputSpec, ...]: ...

    def loss(self, out: Outputs, target: Target) -> Tensor:
        """What the widest net learns: a float32 scalar, mean over the batch."""
        ...

    def soften(self, out: Outputs, target: Target) -> Outputs:
        """What narrower nets learn from a teacher's outputs, without gradient."""
        ...

    def soft_loss(self, out: Outputs, soft: Outputs) -> Tensor:
        """How far a narrower net is from that: a float32 scalar, mean over the batch."""
        ...

    def metric(self) -> Metric: ...

    def compare(self, ours: Outputs, theirs: Outputs) -> Closeness: ...


def named(task: Task, output: Any) -> Outputs:
    """What a network returned, by output name: a tensor, a tuple in the order of ``task.outputs``, or a mapping.

    Raises:
        ModelError: other outputs than the task has.
    """
    names = [spec.name for spec in task.outputs]
    if isinstance(output, Mapping):
        if set(output) == set(names):
            return output
    elif isinstance(output, Tensor):
        if len(names) == 1:
            return {names[0]: output}
    elif isinstance(output, tuple | list) and len(output) == len(names):
        return dict(zip(names, output, strict=True))
    met = sorted(output) if isinstance(output, Mapping) else type(output).__name__
    raise ModelError(f"task {task.name} has the outputs {names}, the network gives {met}")


def sqnr_db(reference: Tensor, output: Tensor) -> float:
    """10·log10(Σref² / Σ(ref − out)²) in float64, of the worst example: 200 for equal ones, −200 for NaN or silence."""
    ratios = []
    for expected, got in zip(reference.double(), output.double(), strict=True):
        noise, signal = float((expected - got).square().sum()), float(expected.square().sum())
        if noise == 0:
            ratios.append(MAX_DB)
        elif not math.isfinite(noise) or signal == 0:
            ratios.append(-MAX_DB)
        else:
            ratios.append(min(MAX_DB, 10 * math.log10(signal / noise)))
    return min(ratios)


def detached(out: Outputs) -> dict[str, Tensor]:
    """The same numbers in float32, without gradient."""
    return {name: tensor.detach().to(torch.float32) for name, tensor in out.items()}
