"""``edgeslim calibrate``: exact BatchNorm statistics of every asked width, into a new checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from edgeslim.cli.checkpoint_options import checkpoint_options
from edgeslim.cli.console import WIDTHS, Console, common_options
from edgeslim.cli.data_options import data_options, device_option
from edgeslim.cli.option_types import BYTES, PATH
from edgeslim.core.width import Width
from edgeslim.deploy.reports import CalibrateReport
from edgeslim.verbs.calibrate import CalibrateOptions, calibrate
from edgeslim.verbs.data import DataOptions

if TYPE_CHECKING:
    from edgeslim.models.selection import Selection


@click.command("calibrate")
@click.argument("checkpoint", metavar="CKPT", type=PATH)
@data_options(split="calib", images="images to calibrate with  [default: 512]")
@click.option("--widths", type=WIDTHS, help="any widths of the trained range  [default: those it has, else its ladder]")
@click.option("--memory", type=BYTES, help="for activations, such as 500M  [default: half of what is free, at most 4G]")
@checkpoint_options
@device_option
@click.option("-o", "--out", type=PATH, help="checkpoint to write  [default: CKPT itself]")
@click.option("--overwrite", is_flag=True, help="replace an existing checkpoint")
@common_options
def command(
    *,
    checkpoint: Path,
    widths: str | None,
    memory: int | None,
    model: str | None,
    trained_widths: str | None,
    device: str,
    out: Path | None,
    overwrite: bool,
    console: Console,
    **source: Any,
) -> None:
    """Give every BatchNorm of CKPT its own statistics at every width.

    They are those of all images as one batch: layer by layer, the same whatever the memory, the batch size or the
    number of processes (torchrun shares the work). Statistics of other widths stay.
    """
    options = CalibrateOptions(
        images=DataOptions(**source),
        widths=widths,
        memory_bytes=memory,
        model=model,
        trained_widths=trained_widths,
        device=device,
        out=out,
        overwrite=overwrite,
    )
    first, of, done = True, 0, 0
    with console.progress("stage") as bar:
        task = bar.add_task("calibrating", total=None, stage="")

        def planned(nets: int, is_first: bool) -> None:
            nonlocal first, of
            first, of, console.quiet = is_first, nets, console.quiet or not is_first
            if not is_first:
                bar.stop()

        def net_done(net: Selection) -> None:
            nonlocal done
            done += 1
            console.detail(f"{net}x calibrated")

        def stage_done(net: Selection, stage: int, stages: int) -> None:
            bar.update(task, total=of, completed=done, stage=f"{net}x {stage}/{stages}")

        report = calibrate(checkpoint, options, words=console, on_plan=planned, on_stage=stage_done, on_net=net_done)
    if not first:
        return  # of torchrun's processes only the first has something to say
    console.result(report, _table(report))
    path = report.checkpoint
    console.next_commands(
        f"edgeslim evaluate {path} --data {source['data']} --write", f"edgeslim pack {path} --target all"
    )


def _table(report: CalibrateReport) -> Table:
    table = Table("calibrated", "same net")
    for permille in report.widths:
        table.add_row(str(Width(permille)), ", ".join(str(Width(alias)) for alias in report.aliases[str(permille)]))
    return table
