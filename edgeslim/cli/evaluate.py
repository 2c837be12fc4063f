"""``edgeslim evaluate``: loss and accuracy of every net of a checkpoint, or of every artifact of a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from edgeslim.cli.checkpoint_options import checkpoint_options
from edgeslim.cli.console import Console, common_options
from edgeslim.cli.data_options import data_options, device_option
from edgeslim.cli.measured import measured_head, measured_text
from edgeslim.cli.option_types import PATH, THREADS, Whole
from edgeslim.verbs.data import DataOptions
from edgeslim.verbs.evaluate import EvaluateOptions, measured

if TYPE_CHECKING:
    from edgeslim.deploy.evaluate import Score


@click.command("evaluate")
@click.argument("source", metavar="CKPT|BUNDLE", type=PATH)
@data_options(split="test", images="measure on so many only, evenly spread")
@click.option("--widths", help="[default: those with statistics; all of a bundle]")
@click.option("--artifact", "artifacts", multiple=True, help="of a bundle: one artifact by its id (repeatable)")
@checkpoint_options
@click.option("--target", help="runtime that a bundle's files run in  [default: its only target]")
@click.option("--threads", type=THREADS, default=1, show_default=True, help="of a bundle's runtime")
@click.option("--batch-size", type=Whole(1, 1 << 20), default=128, show_default=True, help="of a checkpoint")
@device_option
@click.option("--plot", type=PATH, help="PNG of accuracy against multiply-adds")
@click.option("--write", is_flag=True, help="keep the accuracies in the checkpoint; pack takes them from there")
@click.option("--overwrite", is_flag=True, help="replace an existing plot")
@common_options
def command(
    *,
    source: Path,
    widths: str | None,
    artifacts: tuple[str, ...],
    model: str | None,
    trained_widths: str | None,
    target: str | None,
    threads: int,
    batch_size: int,
    device: str,
    plot: Path | None,
    write: bool,
    overwrite: bool,
    console: Console,
    **options: Any,
) -> None:
    """Measure every net, or every artifact of a bundle, on the test images.

    That gives loss, top-1 and top-5, or what the task of the net measures.
    """
    asked = EvaluateOptions(
        images=DataOptions(**options),
        widths=widths,
        artifacts=artifacts,
        model=model,
        trained_widths=trained_widths,
        target=target,
        threads=threads,
        batch_size=batch_size,
        device=device,
        plot=plot,
        write=write,
        overwrite=overwrite,
    )
    with console.progress() as bar:
        task = bar.add_task("measuring", total=None)
        found = measured(
            source, asked, words=console, on_net=lambda done, of: bar.update(task, completed=done, total=of)
        )
    console.result(found.report(), _table(console, found.title, found.scores))
    if write:
        console.next_commands(f"edgeslim pack {source} --target all")


def _table(console: Console, title: str, scores: Sequence[Score]) -> Table:
    measured = tuple(scores[0].values)
    table = console.artifact_table(
        title,
        ("net", "MACs", *map(measured_head, measured), "agreement %", "also called"),
        (
            (
                one.artifact or one.label,
                f"{one.macs:,}",
                *(measured_text(name, one.values[name]) for name in measured),
                "" if one.agreement is None else f"{100 * one.agreement:.1f}",
                " ".join(f"{name}x" for name in one.widths[1:]),
            )
            for one in scores
        ),
    )
    console.say("agreement: share of the answers that the widest net gives too")
    return table
