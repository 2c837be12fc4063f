"""How a training step runs a model forward and backward.

    engine = choose(model, images)        the first that suits, else autograd
    engine.forward(model, images).backward()

An engine gives what ``model(images)`` gives, up to rounding, and its ``backward`` fills ``.grad``. Models know nothing
of engines: what an engine was proved for, it lists itself, by exact types.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from edgeslim.models.slimmable import SlimmableModel
from edgeslim.training.engines.tape import Pullbacks


class Engine(Protocol):
    """One way to compute outputs and gradients."""

    @property
    def name(self) -> str: ...

    def suits(self, model: SlimmableModel, x: Tensor) -> bool:
        """Whether ``model`` can run here on ``x``, as it is now."""
        ...

    def forward(self, model: SlimmableModel, x: Tensor) -> Tensor:
        """The model's output for ``x``; ``backward`` may be called once and adds to ``.grad``."""
        ...


class Autograd:
    """PyTorch itself: any module, any device, and everything that autograd promises."""

    name = "autograd"

    def suits(self, model: SlimmableModel, x: Tensor) -> bool:
        return True

    def forward(self, model: SlimmableModel, x: Tensor) -> Tensor:
        return model(x)  # type: ignore[no-any-return]


AUTOGRAD = Autograd()
ENGINES: tuple[Engine, ...] = (Pullbacks(), AUTOGRAD)


def choose(model: SlimmableModel, x: Tensor) -> Engine:
    """The first of ``ENGINES`` that suits."""
    return next(engine for engine in ENGINES if engine.suits(model, x))
