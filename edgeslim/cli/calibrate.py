"""``edgeslim calibrate``: exact BatchNorm statistics of every asked width, into a new checkpoint."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from edgeslim.cli.checkpoint_options import checkpoint_options, load_named
from edgeslim.cli.console import WIDTHS, Console, common_options, resolve_widths
from edgeslim.cli.data_options import data_options, device_option, load
from edgeslim.cli.sizes import BYTES
from edgeslim.core.width import Width
from edgeslim.deploy.reports import CalibrateReport
from edgeslim.files import check_free

if TYPE_CHECKING:
    from edgeslim.models.selection import Selection


@click.command("calibrate")
@click.argument("checkpoint", metavar="CKPT", type=click.Path(path_type=Path))
@data_options(split="calib", images="images to calibrate with  [default: 512]")
@click.option("--widths", type=WIDTHS, help="any widths of the trained range  [default: those it has, else its ladder]")
@click.option("--memory", type=BYTES, help="for activations, such as 500M  [default: half of what is free, at most 4G]")
@checkpoint_options
@device_option
@click.option("-o", "--out", type=click.Path(path_type=Path), help="checkpoint to write  [default: CKPT itself]")
@click.option("--overwrite", is_flag=True, help="replace an existing checkpoint")
@common_options
def command(
    *,
    checkpoint: Path,
    widths: str | None,
    memory: int | None,
    model: str | None,
    trained_widths: tuple[Width, ...] | None,
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
    path = out or checkpoint
    check_free(path, overwrite=overwrite)
    import torch.distributed as dist

    from edgeslim.deploy.calibration.calibrate import calibrate
    from edgeslim.models.devices import pick
    from edgeslim.models.registry import default_ladder
    from edgeslim.training.distributed import joined

    chosen_device = pick(device)
    loaded = load_named(checkpoint, console, model=model, trained_widths=trained_widths)
    chosen = resolve_widths(widths, loaded.trained) if widths else loaded.ladder or default_ladder(loaded.spec)
    images = load(source, loaded.spec)
    with contextlib.ExitStack() as stack:
        ranks = stack.enter_context(joined(chosen_device))
        console.quiet = console.quiet or not ranks.first
        bar = stack.enter_context(console.progress("stage"))
        group = dist.group.WORLD if ranks.count > 1 else None
        task = bar.add_task("calibrating", total=None, stage="")
        done: list[Selection] = []

        def net_done(net: Selection) -> None:
            done.append(net)
            console.detail(f"{net}x calibrated")

        def stage_done(net: Selection, stage: int, stages: int) -> None:
            bar.update(task, total=len(chosen), completed=len(done), stage=f"{net}x {stage}/{stages}")

        calibrated = calibrate(
            loaded,
            images,
            chosen,
            memory_bytes=memory,
            device=chosen_device,
            group=group,
            on_stage=stage_done,
            on_net=net_done,
        )
        if not ranks.first:
            return
    calibrated.checkpoint().save(path, overwrite=overwrite)
    if not done:
        console.say(f"{loaded.spec.name} has no BatchNorm: nothing to calibrate")
    nets = calibrated.distinct(chosen)
    report = CalibrateReport(
        checkpoint=path,
        images=len(images),
        data_sha256=images.data_sha256,
        widths=tuple(width.permille for width in nets),
    )
    console.result(report, _table(nets))
    console.say(f"{path}: statistics of {len(images)} images of {images.name} at {len(nets)} widths")
    console.next_commands(
        f"edgeslim evaluate {path} --data {source['data']} --write", f"edgeslim pack {path} --target all"
    )


def _table(nets: dict[Width, tuple[Width, ...]]) -> Table:
    table = Table("calibrated", "same net")
    for width, aliases in nets.items():
        table.add_row(str(width), ", ".join(map(str, aliases)))
    return table
