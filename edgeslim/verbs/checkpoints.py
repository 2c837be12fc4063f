"""Checkpoints as verbs read them: what a file does not say is an option, and what it means to say is told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeslim.core.width import parse_widths
from edgeslim.verbs.words import Words

if TYPE_CHECKING:
    from edgeslim.models.checkpoint import Checkpoint


def load_named(
    path: str | Path, words: Words, *, trained_widths: str | None = None, model: str | None = None
) -> Checkpoint:
    """The checkpoint, or published state dict, at ``path``; its notes are told.

    Args:
        trained_widths: that a state dict has statistics of, as text, where its sizes do not tell.
        model: its network, where its keys do not tell.

    Raises:
        CheckpointError: unreadable, damaged, foreign, of another model, or its widths cannot be told.
        WidthError: ``trained_widths`` are no widths.
    """
    from edgeslim.models.checkpoint import load_checkpoint

    widths = None if trained_widths is None else parse_widths(trained_widths)
    checkpoint = load_checkpoint(path, model=model, widths=widths)
    for note in checkpoint.notes:
        words.warn(note)
    return checkpoint
