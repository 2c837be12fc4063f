"""``edgeslim demo``: the whole road on real digits, ending in one page."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import click

from edgeslim import targets as target_table
from edgeslim.cli.console import Console, common_options
from edgeslim.cli.option_types import PATH, Whole
from edgeslim.demo import report, steps
from edgeslim.errors import MissingExtraError, OutputError, UsageError

MARKER = ".edgeslim-demo"  # what tells an earlier demo from somebody's folder


@click.command()
@click.option("--out", type=PATH, default=Path("demo"), show_default=True, help="folder to write")
@click.option("--targets", "chosen", default="all", show_default=True, help="all, or names separated by commas")
@click.option("--epochs", type=Whole(1, 10_000), help="train shorter (for a quick look)")
@click.option("--overwrite", is_flag=True, help="replace an earlier demo in the same folder")
@common_options
def command(*, out: Path, chosen: str, epochs: int | None, overwrite: bool, console: Console) -> None:
    """Train, calibrate, pack, verify, bench and simulate a small US-Net on real data; write OUT/report.html."""
    began = time.monotonic()
    names, missing = _available(chosen)
    for name, error in missing.items():
        console.warn(f"{name} is left out: {error.message} ({error.hint})")
    _prepare(out, overwrite=overwrite)
    outcomes = steps.run_all(names, out, console.say, epochs=epochs)
    page = report.write(out, outcomes, left_out={name: f"{e.message}: {e.hint}" for name, e in missing.items()})
    seconds = time.monotonic() - began
    console.say(f"done in {seconds:.0f} s: open {page}")
    console.next_commands(
        f"edgeslim inspect {out / steps.BUNDLE}" if names else 'pip install "edgeslim[all]"',
    )
    console.result(
        steps.DemoReport(
            report=page,
            seconds=round(seconds, 1),
            left_out=tuple(sorted(missing)),
            steps=tuple(
                steps.StepDone(name=o.step.name, command=o.step.command, seconds=round(o.seconds, 1)) for o in outcomes
            ),
        )
    )


def _available(chosen: str) -> tuple[list[str], dict[str, MissingExtraError]]:
    """Targets whose exporter is installed, and why the others are not used."""
    wanted = target_table.names() if chosen == "all" else tuple(filter(None, chosen.split(",")))
    if not wanted:
        raise UsageError("no target given", hint=f"choose from {', '.join(target_table.names())}")
    names, missing = [], {}
    for name in wanted:
        target = target_table.get(name)
        try:
            target.info.ensure_available(exporting=True)
        except MissingExtraError as error:
            missing[target.info.name] = error
        else:
            names.append(target.info.name)
    return names, missing


def _prepare(out: Path, *, overwrite: bool) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if not overwrite:
            raise OutputError(f"{out} exists already", hint="choose another --out, or replace it with --overwrite")
        if out.is_symlink() or not (out / MARKER).is_file():
            raise OutputError(f"{out} is not an earlier demo, so it is not replaced", hint="choose another --out")
        shutil.rmtree(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / MARKER).touch()
    except OSError as error:
        raise OutputError(f"cannot make {out}: {error.strerror}", hint="choose another --out") from error
