"""Classification judged by the rank of the right class, and learnt class by class."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from edgeslim.tasks import TaskSettings
from edgeslim.tasks.base import Metric, Outputs
from edgeslim.tasks.classify import LOGITS, Classify


@dataclass(frozen=True, slots=True, kw_only=True)
class RankClassify(Classify):
    """The widest learns every class by itself (binary cross-entropy); the narrower nets learn as in ``Classify``."""

    @property
    def name(self) -> str:
        return "example_rank"

    def loss(self, out: Outputs, target: Tensor) -> Tensor:
        logits = out[LOGITS].float()
        return F.binary_cross_entropy_with_logits(logits, F.one_hot(target, logits.shape[1]).float())

    def metric(self) -> Metric:
        return ReciprocalRank()


class ReciprocalRank:
    """``rank``: mean of 1 / (place of the right class), 1 where it is always first."""

    primary = "rank"
    larger_is_better = True

    def __init__(self) -> None:
        self._total, self._count = 0.0, 0

    def add(self, out: Outputs, target: Tensor) -> None:
        logits = out[LOGITS]
        places = 1 + (logits > logits.gather(1, target[:, None])).sum(1)
        self._total += float((1 / places.double()).sum())
        self._count += len(target)

    def result(self) -> dict[str, float]:
        return {"rank": self._total / self._count}


def make(settings: TaskSettings) -> RankClassify:
    """What the entry point names."""
    return RankClassify(smoothing=settings.smoothing, distill=settings.distill)
