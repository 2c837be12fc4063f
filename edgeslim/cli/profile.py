"""``edgeslim profile``: multiply-adds and parameters of every width, counted on the sliced net."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from edgeslim import models
from edgeslim.cli.checkpoint_options import load_named, trained_widths_option
from edgeslim.cli.console import WIDTHS, Console, common_options, resolve_widths
from edgeslim.core.width import Width
from edgeslim.errors import UsageError

if TYPE_CHECKING:
    from edgeslim.models.count import ProfileReport
    from edgeslim.models.slimmable import SlimmableModel


@click.command("profile")
@click.argument("source", required=False, metavar="[NAME|CKPT]")
@click.option(
    "--model",
    metavar="NAME|CKPT",
    help=f"a checkpoint (same as the argument), or a network: {', '.join(models.names())}",
)
@click.option("--widths", type=WIDTHS, help="widths, lo:hi:step or a number of them [default: the published ladder]")
@click.option("--input-size", type=click.IntRange(min=4), help="pixels of the square input [default: the net's own]")
@click.option("--classes", type=click.IntRange(min=1), help="classes of a network named here [default: 1000]")
@trained_widths_option
@click.option("--layers", is_flag=True, help="count every layer too")
@common_options
def command(
    source: str | None,
    model: str | None,
    widths: str | None,
    input_size: int | None,
    classes: int | None,
    trained_widths: tuple[Width, ...] | None,
    layers: bool,
    console: Console,
) -> None:
    """Multiply-adds and parameters of every width of a network or checkpoint.

    Multiply-adds are those of convolutions, linear layers and average pooling (one per input element) for one image.
    """
    from edgeslim.models.count import profile

    asked = model if source is None else source
    if asked is None or (source is not None and model is not None):
        raise click.UsageError("name one network or checkpoint, for example: edgeslim profile us_mobilenet_v2")
    if asked in models.names():
        if trained_widths is not None:
            raise UsageError("--trained-widths is for published state dicts", hint="leave it out")
        net, chosen = _network(asked, widths, input_size, classes)
    else:
        net, chosen = _checkpoint(asked, widths, classes, trained_widths, console)
    size = net.spec.input_size if input_size is None else input_size
    report = profile(net, chosen, size, layers=layers)
    console.result(report, _table(report))
    if report.unsupported:
        met = ", ".join(f"{operation} ({times}x)" for operation, times in report.unsupported.items())
        console.warn(f"not counted: {met}")


def _network(
    name: str, widths: str | None, input_size: int | None, classes: int | None
) -> tuple[SlimmableModel, tuple[Width, ...]]:
    """A network by name without weights; the universally slimmable ones may be counted at any width."""
    from dataclasses import replace

    from edgeslim.models.registry import default_ladder, make_spec, skeleton

    spec = make_spec(name, input_size=input_size or 224, num_classes=classes or 1000)
    chosen = resolve_widths(widths, (spec.low, spec.high)) if widths else default_ladder(spec)
    if not spec.widths:
        spec = replace(spec, low=min(spec.low, *chosen), high=max(spec.high, *chosen))
    return skeleton(spec), chosen


def _checkpoint(
    path: str, widths: str | None, classes: int | None, trained_widths: tuple[Width, ...] | None, console: Console
) -> tuple[SlimmableModel, tuple[Width, ...]]:
    from edgeslim.models.registry import default_ladder, network, skeleton

    if not Path(path).exists() and Path(path).name == path and not Path(path).suffix:
        network(path)  # raises: unknown name, with the nearest
    if classes is not None:
        raise UsageError("--classes is for a network's name: a checkpoint has its own classes", hint="leave it out")
    checkpoint = load_named(path, console, trained_widths=trained_widths)
    chosen = resolve_widths(widths, checkpoint.trained) if widths else checkpoint.ladder
    return skeleton(checkpoint.spec), chosen or default_ladder(checkpoint.spec)


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
