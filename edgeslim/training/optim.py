"""Optimiser, parameter groups and the learning rate of every step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from edgeslim.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """``lr`` is the peak; ``warmup`` epochs rise linearly to it, ``schedule`` then falls to 0; ``clip``: largest
    gradient norm (0: no clipping). SGD has Nesterov momentum 0.9.

    Raises:
        UsageError: a value out of its range.
    """

    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.1
    weight_decay: float = 1e-4
    schedule: Literal["cosine", "linear"] = "cosine"
    warmup: float = 1.0
    clip: float = 5.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise UsageError(f"a learning rate is above 0, got {self.lr}")
        for name in ("weight_decay", "warmup", "clip"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"--{name.replace('_', '-')} is at least 0, got {value}")

    def lr_at(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """Learning rate of ``step`` (from 0) out of ``steps``."""
        warmup = min(round(self.warmup * steps_per_epoch), steps // 2)
        if step < warmup:
            return self.lr * (step + 1) / warmup
        done = (step - warmup) / (steps - warmup)
        return self.lr * (0.5 * (1 + math.cos(math.pi * done)) if self.schedule == "cosine" else 1 - done)

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """Two parameter groups, with and without weight decay."""
        decayed, free = split_by_decay(model)
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": free, "weight_decay": 0.0}]
        if self.optimizer == "adamw":
            return torch.optim.AdamW(groups, lr=self.lr)
        return torch.optim.SGD(groups, lr=self.lr, momentum=0.9, nesterov=True)


def split_by_decay(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters that decay (convolution and linear weights) and those that do not: normalisation, biases, and
    depthwise weights, whose few values a decay would push to dead channels (MobileNet papers' setting)."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decays = [p.dim() == 2 or (p.dim() == 4 and p.shape[1] != 1) for p in parameters]
    return (
        [p for p, decay in zip(parameters, decays, strict=True) if decay],
        [p for p, decay in zip(parameters, decays, strict=True) if not decay],
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
