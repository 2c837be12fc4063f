"""Containers that the networks share; they hold no weights of their own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """``classifier(features(x).flatten(1))``: (N, C, H, W) → (N, classes) logits; features end in a global pool."""

    def __init__(self, features: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))  # type: ignore[no-any-return]


class Apply(nn.Module):
    """A function as a module: (…) → (…)."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Chain(nn.Module):
    """``body`` and nothing around it; gives its layers the published names ``….body.<i>``."""

    def __init__(self, body: nn.Sequential) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)  # type: ignore[no-any-return]


class Residual(nn.Module):
    """activation(shortcut(x) + body(x)); shortcut and activation may be absent."""

    def __init__(
        self, body: nn.Sequential, *, shortcut: nn.Sequential | None = None, activation: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut if shortcut is not None else nn.Identity()
        self.activation = activation if activation is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.shortcut(x) + self.body(x))  # type: ignore[no-any-return]


class Repeat(nn.Module):
    """(N, C, H, W) → (N, times·C, H, W), all channels again and again: gives every group of a convolution the whole."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x] * self.times, dim=1)


class Shuffle(nn.Module):
    """Channel j of group g becomes channel j·groups + g, so that the next grouped convolution sees every group."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        grouped: Tensor = x.unflatten(1, (self.groups, -1))
        return grouped.transpose(1, 2).flatten(1, 2)
