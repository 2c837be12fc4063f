"""``edgeslim export``: one width as the runtime's own file."""

from __future__ import annotations

import time
from pathlib import Path

import click

from edgeslim import targets
from edgeslim.cli.bundle_options import file_rows, target_name
from edgeslim.cli.console import WIDTH, Console, common_options
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.width import Width


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--target", required=True, help=targets.words())
@click.option("--width", type=WIDTH, required=True, help="0.35, 0.5 …")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="file or .mlpackage to write")
@click.option("--variant", help="which one, where the target has several (fp16-224)")
@click.option("--nearest", is_flag=True, help="take the next narrower width if this one is not there")
@click.option("--overwrite", is_flag=True, help="replace what is there")
@common_options
def command(
    *,
    bundle: Path,
    target: str,
    width: Width,
    out: Path,
    variant: str | None,
    nearest: bool,
    overwrite: bool,
    console: Console,
) -> None:
    """Rebuild one width of BUNDLE byte for byte as its exporter wrote it."""
    started = time.perf_counter()
    with SlimBundle.open(bundle) as opened:
        name = target_name(opened.manifest, target)
        chosen = opened.nearest(name, width, variant=variant) if nearest else width
        done = opened.rebuild(name, chosen, out, variant=variant, overwrite=overwrite)
        suffix = opened.variant(name, variant).suffix
    seconds = time.perf_counter() - started
    if out.suffix != suffix:
        console.warn(f"{out} is a {suffix} file by content; runtimes may look at the name")
    if chosen != width:
        console.say(f"there is no {width}x; the next narrower is {chosen}x")
    elif done.permille != width.permille:
        console.say(f"{width}x is the same net as {Width(done.permille)}x")
    console.say(f"{out}: {sum(file.bytes for file in done.files):,} bytes in {1000 * seconds:.0f} ms, hashes checked")
    console.result(
        {"path": str(out), "permille": done.permille, "files": file_rows(done.files), "seconds": round(seconds, 6)}
    )
    console.next_commands(f"edgeslim verify {bundle} --target {name} --widths {Width(done.permille)}")
