"""A run's losses, learning rate and validations for TensorBoard (extra ``tensorboard``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeslim.core.latency import label_of
from edgeslim.core.width import net_id
from edgeslim.errors import MissingExtraError
from edgeslim.training.watch import EpochDone, Progress, TrainEvent


class TensorBoard:
    """Writes every step's losses as ``loss/<net>``, ``lr``, and every validation as ``<measured>/<net>``."""

    def __init__(self, folder: Path, *, first_step: int = 0) -> None:
        """Go on in ``folder`` from ``first_step``; what an earlier process wrote beyond it is hidden.

        Raises:
            MissingExtraError: TensorBoard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise MissingExtraError("tensorboard", "tensorboard") from error
        make: Any = SummaryWriter
        self.writer = make(str(folder), purge_step=first_step or None)

    def __call__(self, event: TrainEvent) -> None:
        match event:
            case Progress():
                for line in event.lines:
                    self.writer.add_scalar("lr", line.lr, line.step)
                    for name, loss in line.losses.items():
                        self.writer.add_scalar(f"loss/{name_of(name)}", loss, line.step)
            case EpochDone(validation=found) if found is not None:
                for name, values in found.values.items():
                    for measured, value in values.items():
                        self.writer.add_scalar(f"{measured}/{name_of(name)}", value, event.step)

    def close(self) -> None:
        self.writer.close()


def name_of(net: str) -> str:
    """A net of the log for people: ``250`` → ``0.25x``; a label stays."""
    return label_of(net_id(int(net))) if net.isdigit() else net
