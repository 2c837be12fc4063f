"""What the numbers a net is fed mean: normalisation, channel order, and the names of its classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from edgeslim.errors import CheckpointError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputContract:
    """Input = (pixel/255 − mean)/std per channel, channels in ``channel_order``; ``labels`` in logit order, if known.

    Raises:
        CheckpointError: not one finite mean and positive std per channel, or labels that are not text.
    """

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    channel_order: Literal["rgb", "gray"] = "rgb"
    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        finite = all(isinstance(value, float | int) and math.isfinite(value) for value in (*self.mean, *self.std))
        if not finite or len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise CheckpointError(f"an input needs one mean and one positive std per channel: {self.mean}, {self.std}")
        if self.channel_order not in ("rgb", "gray"):
            raise CheckpointError(f"channel order is 'rgb' or 'gray', got {self.channel_order!r}")
        if self.labels is not None and not all(isinstance(label, str) for label in self.labels):
            raise CheckpointError("labels are text")

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            "mean": list(self.mean),
            "std": list(self.std),
            "channel_order": self.channel_order,
            "labels": None if self.labels is None else list(self.labels),
        }

    @classmethod
    def from_json(cls, document: Any) -> InputContract:
        """Read ``to_json``'s dictionary back.

        Raises:
            CheckpointError: a field is missing, unknown or of the wrong kind.
        """
        if not isinstance(document, dict) or set(document) != {"mean", "std", "channel_order", "labels"}:
            raise CheckpointError("an input contract has mean, std, channel_order and labels")
        mean, std, labels = document["mean"], document["std"], document["labels"]
        if not isinstance(mean, list | tuple) or not isinstance(std, list | tuple):
            raise CheckpointError("mean and std are lists of numbers")
        if labels is not None and not isinstance(labels, list | tuple):
            raise CheckpointError("labels are a list of text")
        return cls(
            mean=tuple(mean),
            std=tuple(std),
            channel_order=document["channel_order"],
            labels=None if labels is None else tuple(labels),
        )
