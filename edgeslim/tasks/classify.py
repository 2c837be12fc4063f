"""Which class is it: logits, cross-entropy, soft labels that are trusted as far as the teacher is right.

A narrow net sums fewer features, so its logits are smaller than its teacher's, and matching them pushes up the weights
that both share: an ignorant teacher grows sure of itself. Measured with plain soft targets (ResNet-18 at quarter width,
CIFAR images, 100 steps at lr 0.01): the widest's loss rose from 2.31 to 2.87 while the narrow nets agreed with it. So a
teacher is trusted, image by image, as far as it is right (``trusted``); ``plain`` takes its word, as the paper does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeslim.core.manifest import TaskName
from edgeslim.tasks import Distill, TaskSettings
from edgeslim.tasks.base import TIE_RMS, Closeness, Metric, Outputs, OutputSpec, detached, sqnr_db

LOGITS = "logits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Classify:
    """One class per image (``tasks.base.Task``); targets are int64 labels (B,).

    ``smoothing``: of the widest's hard labels. ``distill``: what narrower nets learn. With the teacher's probabilities
    p, ``plain`` is p; ``trusted`` is t·p + (1 - t)·label with t = p[label], the probability that the teacher gives to
    the right answer; ``none`` are the labels.
    """

    smoothing: float = 0.1
    distill: Distill = "trusted"

    @property
    def name(self) -> str:
        return "classify"

    @property
    def bundle_task(self) -> TaskName:
        return "classify"

    @property
    def outputs(self) -> tuple[OutputSpec, ...]:
        return (OutputSpec(name=LOGITS, axes=("classes",), meaning="unnormalised log-probabilities"),)

    def loss(self, out: Outputs, target: Tensor) -> Tensor:
        """Cross-entropy with the labels, smoothed; float32 whatever the autocast type."""
        return F.cross_entropy(out[LOGITS].float(), target, label_smoothing=self.smoothing)

    def soften(self, out: Outputs, target: Tensor) -> Outputs:
        """Probabilities, float32 (B, classes)."""
        logits = detached(out)[LOGITS]
        hard = F.one_hot(target, logits.shape[1]).float()
        if self.distill == "none":
            return {LOGITS: hard}
        probabilities = logits.softmax(dim=1)
        if self.distill == "trusted":
            probabilities = torch.lerp(hard, probabilities, probabilities.gather(1, target[:, None]))
        return {LOGITS: probabilities}

    def soft_loss(self, out: Outputs, soft: Outputs) -> Tensor:
        """Cross-entropy with the probabilities (temperature 1)."""
        return F.cross_entropy(out[LOGITS].float(), soft[LOGITS])

    def metric(self) -> Metric:
        return Accuracy()

    def compare(self, ours: Outputs, theirs: Outputs) -> Closeness:
        expected, found = ours[LOGITS].double(), theirs[LOGITS].double()
        same = expected.argmax(1) == found.argmax(1)
        best = expected.topk(min(2, expected.shape[1]), dim=1).values
        rms = (expected - found).square().mean(1).sqrt()
        tie = ~same & (best[:, 0] - best[:, -1] < TIE_RMS * rms)
        return Closeness(
            sqnr_db={LOGITS: sqnr_db(expected, found)},
            agreement=float(same.double().mean()),
            ties=float(tie.double().mean()),
        )


def make(settings: TaskSettings) -> Classify:
    """The task as the registry knows it."""
    return Classify(smoothing=settings.smoothing, distill=settings.distill)


class Accuracy:
    """``top1``, ``top5``: shares in [0, 1]; ``loss``: mean cross-entropy; outputs may be on any device."""

    primary = "top1"
    larger_is_better = True

    def __init__(self) -> None:
        self._loss = torch.zeros((), dtype=torch.float64)
        self._right = self._in_five = 0
        self._answers: list[Tensor] = []

    @property
    def answers(self) -> Tensor:
        """Every image's best class, int64, in order."""
        return torch.cat(self._answers)

    def add(self, out: Outputs, target: Tensor) -> None:
        logits = out[LOGITS]
        self._loss += F.cross_entropy(logits, target, reduction="sum").double().cpu()
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices
        answers = logits.argmax(dim=1)
        self._in_five += int((best == target.unsqueeze(1)).sum())
        self._right += int((answers == target).sum())
        self._answers.append(answers.cpu())

    def result(self) -> dict[str, float]:
        count = len(self.answers)
        return {"loss": self._loss.item() / count, "top1": self._right / count, "top5": self._in_five / count}
