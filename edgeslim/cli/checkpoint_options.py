"""What the verbs that read checkpoints share: options for files that do not say everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from edgeslim.core.width import parse_widths


class TrainedWidthsType(click.ParamType[str]):
    """Widths by name. No count of them: what range it would be spread over is what the file does not say."""

    name = "widths"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        parse_widths(str(value))
        return str(value)


trained_widths_option = click.option(
    "--trained-widths",
    type=TrainedWidthsType(),
    help="0.25,1.0 or lo:hi:step: widths that a published state dict has statistics of, where its sizes do not tell",
)
model_option = click.option("--model", help="network of a published state dict, where its keys do not tell")


def checkpoint_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--model`` and ``--trained-widths`` for ``verbs.checkpoints.load_named``."""
    return model_option(trained_widths_option(function))
