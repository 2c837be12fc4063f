"""The run's log: one JSON object per line, one line per step, and one more where an epoch ends with a validation.

    {"step": 17, "epoch": 0, "lr": 0.05, "losses": {"1000": 1.2, "250": 1.7}}
    {"step": 17, "epoch": 0, "metric": "top1", "larger_is_better": true, "validation": {"250": {"top1": 0.6, …}, …}}

Lines hold only what the settings decide, never a time, so two runs can be compared with ``cmp``. Losses stay on
the device until ``flush``: no synchronisation per step.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgeslim.errors import UsageError
from edgeslim.files import write_atomically
from edgeslim.models.selection import Selection
from edgeslim.training.distributed import Ranks
from edgeslim.training.watch import StepLine, Validation


class RunLog:
    """Buffers steps; ``flush`` writes and returns them. ``validations``: those of earlier epochs, oldest first."""

    def __init__(self, path: Path | None, ranks: Ranks, *, first_step: int = 0) -> None:
        """Go on with the log at ``path`` (None: nowhere) from ``first_step``; later lines are dropped."""
        self._pending: list[tuple[int, int, float, tuple[Selection, ...], Tensor]] = []
        self._path = path if ranks.first else None
        self.validations: list[Validation] = []
        if self._path is not None:
            kept = [line for line in _lines(self._path) if line["step"] < first_step]
            self.validations = [Validation.from_line(line) for line in kept if "validation" in line]
            with write_atomically(self._path, overwrite=True) as stream:
                stream.write("".join(json.dumps(line) + "\n" for line in kept).encode())

    def add(self, step: int, epoch: int, lr: float, nets: tuple[Selection, ...], losses: Tensor) -> None:
        """Remember one step; ``losses``: (len(nets),) on any device."""
        self._pending.append((step, epoch, lr, nets, losses))

    def flush(self) -> tuple[StepLine, ...]:
        """Write what is pending, durably.

        Raises:
            UsageError: a loss is not finite: the run has diverged.
        """
        if not self._pending:
            return ()
        losses = torch.cat([losses for *_, losses in self._pending]).tolist()
        lines = []
        for step, epoch, lr, nets, _ in self._pending:
            mine, losses = losses[: len(nets)], losses[len(nets) :]
            named = {net.name: loss for net, loss in zip(nets, mine, strict=True)}
            lines.append(StepLine(step=step, epoch=epoch, lr=lr, losses=named))
        self._pending.clear()
        for line in lines:
            if not all(math.isfinite(loss) for loss in line.losses.values()):
                raise UsageError(
                    f"training diverged: a loss of step {line.step} is not finite",
                    hint="try a smaller --lr, a longer --warmup or a smaller --clip",
                )
        self._write([asdict(line) for line in lines])
        return tuple(lines)

    def validated(self, step: int, epoch: int, found: Validation) -> None:
        """Write what was measured after ``step``."""
        self.validations.append(found)
        self._write([{"step": step, "epoch": epoch, **found.to_line()}])

    def _write(self, lines: list[dict[str, Any]]) -> None:
        if self._path is not None:
            with self._path.open("a") as stream:
                stream.writelines(json.dumps(line) + "\n" for line in lines)
                stream.flush()
                os.fsync(stream.fileno())


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; a last line that a kill cut short is left out."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text().splitlines(keepends=True):
        if not text.endswith("\n"):
            break
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            break
        lines.append(line)
    return lines
