"""``edgeslim inspect``: what is in a bundle and what each part costs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from rich.table import Table

from edgeslim.cli.console import Console, common_options
from edgeslim.cli.option_types import PATH
from edgeslim.core.bundle import Depth, SlimBundle
from edgeslim.core.manifest import artifact_id
from edgeslim.core.width import Width
from edgeslim.deploy.bundle_reports import CheckReport, InspectReport


@click.command()
@click.argument("bundle", type=PATH)
@click.option(
    "--check",
    "depth",
    type=click.Choice(["parts", "files"]),
    help="also read and hash every part; files: rebuild every file and compare its hash, too",
)
@common_options
def command(*, bundle: Path, depth: Depth | None, console: Console) -> None:
    """Show the nets, the artifacts and the size of every part of BUNDLE."""
    with SlimBundle.open(bundle) as opened:
        if depth is not None:
            opened.check(depth)
            what = "every part is" if depth == "parts" else "every part, and every file that is rebuilt, is"
            console.say(f"{bundle}: {what} what the manifest says")
            if console.as_json:
                console.result(CheckReport(depth=depth))
                return
        report = InspectReport.of(opened)
        console.result(report, _about(opened), _nets(report), _artifacts(console, report), _parts(report))
        first = opened.manifest.variants[0] if opened.manifest.variants else None
    if first is not None:
        identifier = artifact_id(first.id, first.artifacts[-1].net)
        console.next_commands(
            f"edgeslim verify {bundle}", f"edgeslim export {bundle} --artifact {identifier} -o model{first.suffix}"
        )


def _about(bundle: SlimBundle) -> Table:
    manifest = bundle.manifest
    table = Table(title=str(bundle.path), show_header=False)
    images = (tensor.image for info in manifest.inputs for tensor in info.tensors)
    rows = {
        "model": f"{manifest.model.id} {manifest.model.version}",
        "author": manifest.model.author,
        "licence": manifest.model.licence,
        "task": manifest.task,
        "input": ", ".join("tensor" if i is None else f"{i.channels}x{i.height}x{i.width} {i.order}" for i in images),
        "labels": "" if manifest.labels is None else f"{len(manifest.labels)}",
        "trained": f"{Width(manifest.low)} to {Width(manifest.high)}",
    }
    for name, text in rows.items():
        if text:
            table.add_row(name, text)
    return table


def _nets(report: InspectReport) -> Table:
    table = Table(title="nets")
    inputs = [info.id for info in report.inputs]
    macs = [f"MMACs at {name}" for name in inputs] if len(inputs) > 1 else ["MMACs"]
    for head in ("net", "width", "also called", *macs, "params", "top-1", "fold, bytes"):
        table.add_column(head, justify="right")
    for row in report.nets:
        table.add_row(
            row.net,
            "" if row.permille is None else f"{Width(row.permille)}x",
            " ".join(f"{Width(alias)}x" for alias in row.aliases),
            *(f"{row.macs_at[name] / 1e6:,.1f}" if name in row.macs_at else "" for name in inputs),
            f"{row.params:,}",
            "" if row.top1 is None else f"{100 * row.top1:.2f} %",
            f"{row.fold_bytes:,}",
        )
    return table


def _artifacts(console: Console, report: InspectReport) -> Table:
    heads = ("artifact", "file, bytes", "kept, bytes", "explained")
    rows = (row for rows in report.targets.values() for row in rows)
    return console.artifact_table(
        "artifacts",
        heads,
        ((r.artifact, f"{r.artifact_bytes:,}", f"{r.kept_bytes:,}", f"{100 * r.explained_share:.2f} %") for r in rows),
    )


def _parts(report: InspectReport) -> Table:
    table = Table(title="parts")
    for head in ("part", "bytes", "of the weights"):
        table.add_column(head, justify="left" if head == "part" else "right")
    for name, size in (*asdict(report.parts).items(), ("whole file", report.bytes)):
        table.add_row(name, f"{size:,}", f"{size / max(1, report.parts.weights):.4f}x")
    return table
