"""``edgeslim train``: data ─► slimmable net ─► calibrated checkpoint with its accuracy per width.

The files of a run are listed in ``training.resume``; what it does is ``edgeslim.verbs.train``.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from edgeslim import models, tasks
from edgeslim.cli.checkpoint_options import trained_widths_option
from edgeslim.cli.console import WIDTH, WIDTHS, Console, common_options
from edgeslim.cli.data_options import DATA_HELP, device_option
from edgeslim.cli.measured import measured_head, measured_text
from edgeslim.cli.option_types import COUNT, PATH, SEED, WORKERS, Number, Whole
from edgeslim.core.width import Width
from edgeslim.deploy.reports import TrainReport
from edgeslim.training.options import TrainOptions, read_args

BY_DATA = "[default: digits {}, other small images {}, photos {}, imagenet {}]"


def _config(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """What the file says stands in for the defaults; what is typed counts more."""
    if path is not None:
        ctx.default_map = {name: value for name, value in read_args(path).items() if value is not None}
    return path


@click.command()
@click.option("--model", help=f"network: {', '.join(models.names())}  [default: that of --init]")
@click.option("--data", default="digits", show_default=True, help=DATA_HELP)
@click.option("--task", default="classify", show_default=True, help=f"what it learns: {tasks.words()}")
@click.option("--data-root", type=PATH, help="where downloaded sets are kept  [default: the user's cache]")
@click.option("--download", is_flag=True, help="fetch the data set if it is missing")
@click.option("--images", type=COUNT, help="train on so many images only  [default: all]")
@click.option(
    "--val-images",
    type=Whole(0, 1_000_000_000),
    help="held out of them, for a line per epoch and the best checkpoint; 0: none  [default: 1 in 20, at most 1000]",
)
@click.option("--calib-images", type=COUNT, help="for the result's statistics  [default: 512]")
@click.option("--test-images", type=COUNT, help="to measure the result on  [default: all of the test split]")
@click.option("--workers", type=WORKERS, default=2, show_default=True, help="processes that decode photos")
@click.option("--widths", help="trained range lo:hi; for an s_ network a list  [default: 0.25:1.0; its own list]")
@click.option(
    "--ladder",
    type=WIDTHS,
    help="widths to calibrate, and to draw from  [default: 4 over the range, drawn from all of it]",
)
@click.option(
    "--input-size",
    type=Whole(8, 16_384),
    help="pixels per side; up to 32 px nets keep the resolution of their first 2 halvings, up to 16 px of 3, so that "
    "32 px cost more than 64 px (edgeslim profile counts)  [default: the images' own up to 64 px, else 224]",
)
@click.option("--norm", type=click.Choice(["batch", "none"]), default="batch", show_default=True, help="normalisation")
@click.option(
    "--init", help="start from a checkpoint or state dict FILE, or torchvision:NAME  [default: random weights]"
)
@trained_widths_option
@click.option(
    "--teacher", default="none", show_default=True, help="soft targets from: ema, a checkpoint FILE, or the net"
)
@click.option("--epochs", type=Whole(1, 1_000_000), help=f"over the images  {BY_DATA.format(12, 30, 60, 250)}")
@click.option("--batch-size", type=Whole(2, 1 << 20), help=f"over all processes  {BY_DATA.format(64, 128, 64, 1024)}")
@click.option(
    "--optimizer", type=click.Choice(["sgd", "adamw"]), default="sgd", show_default=True, help="sgd: Nesterov"
)
@click.option(
    "--lr",
    type=Number(0, 1000, above=True),
    help=f"peak learning rate  {BY_DATA.format(0.1, 0.1, 0.05, 0.5)[:-1]}, for another batch size in proportion; "
    "adamw 0.001 per 64 images]",
)
@click.option(
    "--schedule", type=click.Choice(["cosine", "linear"]), default="cosine", show_default=True, help="fall to 0"
)
@click.option("--warmup", type=Number(0, 1_000_000), default=1.0, show_default=True, help="epochs")
@click.option(
    "--weight-decay",
    type=Number(0, 100),
    help=f"of convolutions and linear layers  {BY_DATA.format(5e-4, 5e-4, 4e-5, 4e-5)}",
)
@click.option("--label-smoothing", type=Number(0, 0.999), help="of the widest  [default: 0.1]")
@click.option("--clip", type=Number(0, 1e9), default=5.0, show_default=True, help="largest gradient norm, 0: none")
@click.option("--jitter", type=Number(0, 1), default=0.0, show_default=True, help="colour jitter")
@click.option("--n-widths", type=Whole(1, 1000), help="widths per step  [default: 4; s_ networks: all]")
@click.option(
    "--sample",
    type=click.Choice(["ladder", "continuous"]),
    help="which widths are drawn  [default: ladder where one is given]",
)
@click.option("--no-distill", is_flag=True, help="hard labels for every width (ablation)")
@click.option("--plain-distill", is_flag=True, help="soft targets as in the paper, however wrong the teacher is")
@click.option("--no-bounds", is_flag=True, help="all widths random: no widest, no narrowest (ablation)")
@click.option("--alone", type=WIDTH, help="a net of this one width (baseline)")
@click.option("--seed", type=SEED, default=0, show_default=True, help="of weights, widths and images")
@device_option
@click.option("--save-seconds", type=Number(0.1, 1e6), default=60.0, show_default=True, help="between two resume files")
@click.option("--tensorboard", type=PATH, help="folder to write losses and validations to, for TensorBoard")
@click.option("--out", "-o", type=PATH, required=True, help="checkpoint to write")
@click.option(
    "--config",
    type=PATH,
    is_eager=True,
    expose_value=False,
    callback=_config,
    help="options from a run's args.json, which stands beside its checkpoint; typed ones count more",
)
@click.option("--resume", is_flag=True, help="go on with a run that was stopped or killed")
@click.option("--overwrite", is_flag=True, help="replace the checkpoint, and begin an unfinished run again")
@common_options
def command(*, console: Console, out: Path, resume: bool, overwrite: bool, **options: Any) -> None:
    """Train a slimmable network, calibrate its ladder and measure it on the test images.

    Ctrl-C keeps what was done and says how to go on.
    """
    from edgeslim.cli.train_view import TrainView
    from edgeslim.verbs.train import train

    plain: dict[str, Any] = {
        name: str(value) if isinstance(value, Path | Width) else value for name, value in options.items()
    }
    chosen = TrainOptions(**plain)
    with TrainView(console) as view:
        report = train(out, chosen, resume=resume, overwrite=overwrite, watch=view)
    if not report.rows:
        return  # of torchrun's processes only the first has something to say
    console.result(report, _table(report))
    data = shlex.join(["--data", chosen.data, *([] if chosen.data_root is None else ["--data-root", chosen.data_root])])
    checkpoint = shlex.quote(str(out))
    console.next_commands(
        f"edgeslim evaluate {checkpoint} {data} --plot spectrum.png", f"edgeslim pack {checkpoint} --target all"
    )


def _table(report: TrainReport) -> Table:
    measured = tuple(report.rows[0].values)
    table = Table("width", *map(measured_head, measured))
    for row in report.rows:
        cells = (measured_text(name, row.values[name]) for name in measured)
        table.add_row(str(Width(row.permille or 0)), *cells)
    return table
