"""Where training batches come from: a set of images, or anything else that never repeats itself.

    Source.batches(range(start, stop), device) ─► (input, target) per step, the same ones for the same step
    Source.state() ─► kept in the resume file ─► Source.load(state)

A set draws by (seed, step), so its state is empty. An environment or a stream that goes on keeps what it needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from edgeslim.data.augment import Augment
from edgeslim.data.batch_plan import BatchPlan
from edgeslim.data.images import ImageSet
from edgeslim.data.stream import batches


class Source(Protocol):
    """Batches of this process, from any step on."""

    @property
    def examples_per_step(self) -> int:
        """Over all processes."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """What counts as an epoch; a source without an end says a number of its own."""
        ...

    def batches(self, steps: range, device: torch.device) -> Iterator[tuple[Tensor, Any]]:
        """For every step the input, float32 and batch first, and what the task takes as target."""
        ...

    def state(self) -> dict[str, Any]:
        """Tensors and plain values that ``load`` goes on from."""
        ...

    def load(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSource:
    """A labelled set of images, augmented; targets are int64 labels (B,)."""

    data: ImageSet
    plan: BatchPlan
    augment: Augment

    @property
    def examples_per_step(self) -> int:
        return self.plan.size

    @property
    def steps_per_epoch(self) -> int:
        return self.plan.steps_per_epoch

    def batches(self, steps: range, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        return batches(self.data, self.plan, self.augment, steps, device)

    def state(self) -> dict[str, Any]:
        return {}

    def load(self, state: dict[str, Any]) -> None:
        """Nothing to restore: every batch follows from its step."""
