"""What the verbs that read images of a checkpoint's kind share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from edgeslim import data
from edgeslim.cli.option_types import COUNT, PATH, WORKERS

if TYPE_CHECKING:
    from edgeslim.data.images import ImageSet
    from edgeslim.models.spec import ModelSpec

DATA_HELP = f"data set: {data.words()}"


def data_options(*, split: str, images: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds ``--data --split --images --data-root --download --workers`` for ``load``."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(
            (
                click.option("--data", required=True, help=DATA_HELP),
                click.option(
                    "--split", type=click.Choice(["train", "calib", "test"]), default=split, show_default=True
                ),
                click.option("--images", type=COUNT, help=images),
                click.option("--data-root", type=PATH, help="where downloaded sets are kept"),
                click.option("--download", is_flag=True, help="fetch the data set if it is missing"),
                click.option("--workers", type=WORKERS, default=2, help="processes that decode photos"),
            )
        ):
            function = option(function)
        return function

    return add


device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N")


def load(source: dict[str, Any], spec: ModelSpec) -> ImageSet:
    """The images that the options name, in the size and channels of ``spec``'s nets.

    Raises:
        DataError: unknown, missing or damaged data.
    """
    from edgeslim.data.named import load_data

    return load_data(
        source["data"],
        source["split"],
        input_size=spec.input_size,
        in_channels=spec.in_channels,
        images=source["images"],
        root=source["data_root"],
        download=source["download"],
        workers=source["workers"],
    )
