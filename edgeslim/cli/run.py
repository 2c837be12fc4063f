"""``edgeslim run``: a bundle over a folder of images, with the artifact that the moment allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from edgeslim import targets
from edgeslim.cli.console import Console, common_options
from edgeslim.cli.option_types import COUNT, PATH, THREADS, Number, Whole
from edgeslim.cli.run_view import RunView
from edgeslim.core.policy import PRESETS
from edgeslim.verbs.run import RunOptions, run
from edgeslim.verbs.run_report import RunReport


@click.command()
@click.argument("bundle", type=PATH)
@click.option("--target", help=f"{targets.words()}; default: the preferred one of those that run here")
@click.option("--variant", "variants", multiple=True, help="only this precision and input (fp16-224); may be repeated")
@click.option("--images", type=PATH, required=True, help="folder of images, taken in turn")
@click.option("--table", type=PATH, help="latencies of this device; default: measured at first use")
@click.option("--policy", help=f"{', '.join(PRESETS)}, or a JSON file; default: the bundle's own, else balanced")
@click.option(
    "--budget-ms", type=Number(0, 3_600_000, above=True), help="time per frame; default: what --fps leaves, else 33.3"
)
@click.option("--fps", type=Number(0, 100_000, above=True), help="frames per second; default: without a pause")
@click.option("--frames", type=COUNT, help="how many; default: every image once")
@click.option("--log", "log_path", type=PATH, help="a JSON object per frame, for simulate --replay")
@click.option("--overwrite", is_flag=True, help="replace the log if it is there")
@click.option("--sysfs", type=PATH, help="read heat and battery below here instead of /sys")
@click.option("--threads", type=THREADS, help="of the runtime; default: those of the table, else up to 4")
@click.option("--max-loaded", type=Whole(1, 1000), default=2, show_default=True, help="artifacts kept in memory")
@click.option(
    "--first-use", type=click.Choice(["now", "gaps"]), default="now", show_default=True, help="when to measure"
)
@click.option("--cache-dir", type=PATH, help="where rebuilt files are kept")
@common_options
def command(
    *,
    bundle: Path,
    target: str | None,
    images: Path,
    policy: str | None,
    table: Path | None,
    budget_ms: float | None,
    fps: float | None,
    frames: int | None,
    log_path: Path | None,
    overwrite: bool,
    sysfs: Path | None,
    variants: tuple[str, ...],
    console: Console,
    **options: Any,
) -> None:
    """Run BUNDLE over --images: wide while the device is cool and in time, narrower when it is not."""
    asked = RunOptions(
        images=images,
        target=target,
        variants=variants,
        table=table,
        policy=policy,
        budget_ms=budget_ms,
        fps=fps,
        frames=frames,
        log=log_path,
        overwrite=overwrite,
        sysfs=sysfs,
        **options,
    )
    with RunView(console, asked.frame_ms) as view:
        report = run(bundle, asked, watch=view)
    _present(console, report)


def _present(console: Console, report: RunReport) -> None:
    table = Table("artifact", "frames", "share", title=f"{report.bundle.name} on {report.target}", title_justify="left")
    for row in report.rows:
        table.add_row(row.label, str(row.frames), f"{row.frames / report.frames:.0%}")
    console.say(
        f"{report.frames} frames, {report.misses} later than {report.budget_ms:.1f} ms less preparation, "
        f"{report.switches} switches"
        + (
            f"; p50 {report.p50_ms:.2f} ms, p99 {report.p99_ms:.2f} ms"
            if report.p50_ms is not None and report.p99_ms is not None
            else ""
        )
    )
    console.result(report, table)
    if report.log is not None and report.table is not None:
        console.next_commands(f"edgeslim simulate {report.table} --replay {report.log} --policy all")
