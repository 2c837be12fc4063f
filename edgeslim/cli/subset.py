"""``edgeslim subset``: a smaller bundle with some of the artifacts."""

from __future__ import annotations

from pathlib import Path

import click

from edgeslim.cli.console import Console, common_options
from edgeslim.cli.option_types import PATH
from edgeslim.verbs.subset import SubsetOptions, subset


@click.command()
@click.argument("bundle", type=PATH)
@click.option("--target", "targets", help="targets to keep, separated by commas [all]")
@click.option("--widths", help="keep artifacts of these widths, or labels of nets: 0.35,0.5,1.0 [all]")
@click.option("--artifact", "artifacts", multiple=True, help="keep only this one, by its id (repeatable)")
@click.option("--table", type=PATH, help="a measured latency table that travels along, as a first guess")
@click.option("-o", "--out", type=PATH, required=True, help="the smaller bundle")
@click.option("--overwrite", is_flag=True, help="replace an existing bundle")
@common_options
def command(
    *,
    bundle: Path,
    targets: str | None,
    widths: str | None,
    artifacts: tuple[str, ...],
    table: Path | None,
    out: Path,
    overwrite: bool,
    console: Console,
) -> None:
    """Keep only some targets and nets of BUNDLE; the weights stay whole."""
    options = SubsetOptions(
        out=out,
        targets=None if targets is None else tuple(targets.split(",")),
        widths=widths,
        artifacts=artifacts,
        table=table,
        overwrite=overwrite,
    )
    report = subset(bundle, options)
    console.say(f"{out}: {report.bytes:,} bytes, {bundle} has {bundle.stat().st_size:,}")
    rows = ((row.artifact, f"{row.artifact_bytes:,}", f"{row.kept_bytes:,}") for row in report.rows)
    console.result(report, console.artifact_table(str(out), ("artifact", "file, bytes", "kept, bytes"), rows))
    console.next_commands(f"edgeslim inspect {out}", f"edgeslim verify {out}")
