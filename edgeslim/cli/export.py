"""``edgeslim export``: one artifact as the runtime's own file."""

from __future__ import annotations

from pathlib import Path

import click

from edgeslim import targets
from edgeslim.cli.console import WIDTH, Console, common_options
from edgeslim.cli.option_types import PATH
from edgeslim.core.width import Width
from edgeslim.verbs.export import ExportOptions, export


@click.command()
@click.argument("bundle", type=PATH)
@click.option("--artifact", "identifier", help="which one, by its id (coreml-fp16-224/0500), as inspect lists them")
@click.option("--target", help=f"{targets.words()}: with --width instead of --artifact")
@click.option("--width", type=WIDTH, help="0.35, 0.5 …, where exactly one artifact fits")
@click.option("-o", "--out", type=PATH, required=True, help="file or .mlpackage to write")
@click.option("--variant", help="which one, where the target has several (fp16-224)")
@click.option(
    "--nearest", is_flag=True, help="take the artifact of the next narrower width if there is none of this one"
)
@click.option("--overwrite", is_flag=True, help="replace what is there")
@common_options
def command(
    *,
    bundle: Path,
    identifier: str | None,
    target: str | None,
    width: Width | None,
    out: Path,
    variant: str | None,
    nearest: bool,
    overwrite: bool,
    console: Console,
) -> None:
    """Rebuild one artifact of BUNDLE byte for byte as its exporter wrote it."""
    options = ExportOptions(
        out=out,
        artifact=identifier,
        target=target,
        width=width,
        variant=variant,
        nearest=nearest,
        overwrite=overwrite,
    )
    report = export(bundle, options, words=console)
    console.result(report)
    console.next_commands(f"edgeslim verify {bundle} --artifact {report.artifact}")
