"""``edgeslim profile``: multiply-adds and parameters of every width, counted on the sliced net."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.table import Table

from edgeslim import models
from edgeslim.cli.checkpoint_options import trained_widths_option
from edgeslim.cli.console import WIDTHS, Console, common_options
from edgeslim.cli.option_types import PIXELS, Whole
from edgeslim.core.width import Width
from edgeslim.verbs.profile import ProfileOptions, profile

if TYPE_CHECKING:
    from edgeslim.models.count import ProfileReport


@click.command("profile")
@click.argument("source", required=False, metavar="[NAME|CKPT]")
@click.option(
    "--model",
    metavar="NAME|CKPT",
    help=f"a checkpoint (same as the argument), or a network: {', '.join(models.names())}",
)
@click.option("--widths", type=WIDTHS, help="widths, lo:hi:step or a number of them [default: the published ladder]")
@click.option(
    "--input-size",
    type=PIXELS,
    help="pixels of the square input; a network named here is built for it: up to 32 px without its first 2 halvings, "
    "up to 16 px without 3 [default: the net's own; 224]",
)
@click.option("--classes", type=Whole(1, 10_000_000), help="classes of a network named here [default: 1000]")
@trained_widths_option
@click.option("--layers", is_flag=True, help="count every layer too")
@common_options
def command(
    source: str | None,
    model: str | None,
    widths: str | None,
    input_size: int | None,
    classes: int | None,
    trained_widths: str | None,
    layers: bool,
    console: Console,
) -> None:
    """Multiply-adds and parameters of every width of a network or checkpoint.

    Multiply-adds are those of convolutions, linear layers and average pooling (one per input element) for one image.
    """
    asked = model if source is None else source
    if asked is None or (source is not None and model is not None):
        raise click.UsageError("name one network or checkpoint, for example: edgeslim profile us_mobilenet_v2")
    options = ProfileOptions(
        widths=widths, input_size=input_size, classes=classes, trained_widths=trained_widths, layers=layers
    )
    report = profile(asked, options, words=console)
    console.result(report, _table(report))


def _table(report: ProfileReport) -> Table:
    table = Table(title=f"{report.model}, {report.input_size} x {report.input_size} px, one image")
    for title in ("width", "multiply-adds", "parameters", "share of widest", "same net as"):
        table.add_column(title, justify="right")
    widest = report.rows[-1].macs
    for row in report.rows:
        table.add_row(
            str(Width(row.permille)),
            f"{row.macs:,}",
            f"{row.params:,}",
            f"{100 * row.macs / widest:.1f} %",
            "" if row.alias_of is None else str(Width(row.alias_of)),
        )
        for layer in row.layers or ():
            shape = " x ".join(map(str, layer.out_shape))
            table.add_row(f"  {layer.name}", f"{layer.macs:,}", f"{layer.params:,}", shape, layer.kind)
    return table
