"""``edgeslim export``: one artifact as the runtime's own file."""

from __future__ import annotations

import time
from pathlib import Path

import click

from edgeslim import targets
from edgeslim.cli.bundle_options import target_name
from edgeslim.cli.console import WIDTH, Console, common_options
from edgeslim.core import addressing
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.manifest import artifact_id
from edgeslim.core.width import Width
from edgeslim.deploy.reports import ExportReport
from edgeslim.errors import UsageError


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--artifact", "identifier", help="which one, by its id (coreml-fp16-224/0500), as inspect lists them")
@click.option("--target", help=f"{targets.words()}: with --width instead of --artifact")
@click.option("--width", type=WIDTH, help="0.35, 0.5 …, where exactly one artifact fits")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="file or .mlpackage to write")
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
    started = time.perf_counter()
    with SlimBundle.open(bundle) as opened:
        if identifier is None:
            if target is None or width is None:
                raise UsageError("say which artifact", hint="--artifact ID, or --target TARGET --width WIDTH")
            identifier = _fitting(opened, target, width, variant, nearest=nearest, console=console)
        elif target is not None or width is not None or variant is not None:
            raise UsageError("--artifact says it all", hint="leave out --target, --width and --variant")
        chosen, entry = opened.find(identifier)
        done = opened.rebuild_artifact(identifier, out, overwrite=overwrite)
        permille = opened.resolve(entry.net).permille
    seconds = time.perf_counter() - started
    if out.suffix != chosen.suffix:
        console.warn(f"{out} is a {chosen.suffix} file by content; runtimes may look at the name")
    console.say(f"{out}: {sum(file.bytes for file in done.files):,} bytes in {1000 * seconds:.0f} ms, hashes checked")
    console.result(
        ExportReport(path=out, artifact=identifier, permille=permille, files=done.files, seconds=round(seconds, 6))
    )
    console.next_commands(f"edgeslim verify {bundle} --artifact {identifier}")


def _fitting(
    bundle: SlimBundle, target: str, width: Width, variant: str | None, *, nearest: bool, console: Console
) -> str:
    """The only artifact of a target and width; says where another name was meant."""
    name = target_name(bundle.manifest, target)
    chosen = addressing.nearest(bundle.manifest, name, width, variant) if nearest else width
    found, artifact = bundle.artifact(name, chosen, variant=variant)
    first = bundle.resolve(artifact.net).permille
    if chosen != width:
        console.say(f"there is no {width}x; the next narrower is {chosen}x")
    elif first is not None and first != width.permille:
        console.say(f"{width}x is the same net as {Width(first)}x")
    return artifact_id(found.id, artifact.net)
