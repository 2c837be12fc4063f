"""A module around a network that leaves its names alone."""

from __future__ import annotations

from typing import Self

from torch import Tensor, nn


class Shell(nn.Module):
    """Has the parts of ``network`` as its own and runs its forward; what a subclass adds is no part of the network.

    A submodule would put its name before every parameter. Here both modules hold the *same* dictionaries of modules,
    parameters and buffers, so that state dicts, traces and exporters see the names that the network's author chose, and
    a network is any ``nn.Module`` whose attributes nothing of ours can hide.

    One tensor in; what the network gives comes out.
    """

    network: nn.Module

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.__dict__["network"] = network  # not through nn.Module, which would register it
        for shared in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
            self.__dict__[shared] = network.__dict__[shared]
        self.training = network.training

    def forward(self, x: Tensor) -> Tensor:
        return self.network.forward(x)  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> Self:
        self.network.training = mode
        super().train(mode)
        return self
