"""What the verbs that read checkpoints share: options for files that do not say everything, and the notes on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeslim.cli.console import Console
from edgeslim.core.width import Width, parse_widths

if TYPE_CHECKING:
    from edgeslim.models.checkpoint import Checkpoint


class TrainedWidthsType(click.ParamType[tuple[Width, ...]]):
    """Widths by name. No count of them: what range it would be spread over is what the file does not say."""

    name = "widths"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Width, ...]:
        return value if isinstance(value, tuple) else parse_widths(str(value))


trained_widths_option = click.option(
    "--trained-widths",
    type=TrainedWidthsType(),
    help="0.25,1.0 or lo:hi:step: widths that a published state dict has statistics of, where its sizes do not tell",
)
model_option = click.option("--model", help="network of a published state dict, where its keys do not tell")


def checkpoint_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--model`` and ``--trained-widths`` for ``load_named``."""
    return model_option(trained_widths_option(function))


def load_named(
    path: str | Path, console: Console, *, trained_widths: tuple[Width, ...] | None, model: str | None = None
) -> Checkpoint:
    """The checkpoint, or published state dict, at ``path``; its notes are told.

    Raises:
        CheckpointError: unreadable, damaged, foreign, of another model, or its widths cannot be told.
    """
    from edgeslim.models.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path, model=model, widths=trained_widths)
    for note in checkpoint.notes:
        console.warn(note)
    return checkpoint
