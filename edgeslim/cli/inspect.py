"""``edgeslim inspect``: what is in a bundle and what each part costs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from edgeslim.cli.bundle_options import artifact_row, file_rows
from edgeslim.cli.console import Console, common_options
from edgeslim.cli.option_types import PATH
from edgeslim.core.bundle import Depth, SlimBundle
from edgeslim.core.header import FORMAT_VERSION
from edgeslim.core.manifest import Net, SlimManifest, artifact_id
from edgeslim.core.width import Width


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
                console.result({"ok": True, "depth": depth})
                return
        document = describe(opened)
        console.result(document)
        if not console.as_json:
            for table in (_about(opened), _nets(document), _artifacts(document), _parts(opened)):
                console.results.print(table)
        first = opened.manifest.variants[0] if opened.manifest.variants else None
    if first is not None:
        identifier = artifact_id(first.id, first.artifacts[-1].net)
        console.next_commands(
            f"edgeslim verify {bundle}", f"edgeslim export {bundle} --artifact {identifier} -o model{first.suffix}"
        )


def describe(bundle: SlimBundle) -> dict[str, Any]:
    """The contract's document."""
    manifest = bundle.manifest
    targets: dict[str, list[dict[str, Any]]] = {variant.target: [] for variant in manifest.variants}
    for variant in manifest.variants:
        targets[variant.target] += [
            {
                "variant": variant.id,
                **artifact_row(bundle, variant, artifact),
                "backend": variant.backend,
                "macs": artifact.macs,
                "requires": artifact.requires,
                "quality": None if artifact.quality is None else dataclasses.asdict(artifact.quality),
                "files": file_rows(artifact.files),
            }
            for artifact in variant.artifacts
        ]
    return {
        "bundle": str(bundle.path),
        "bytes": bundle.size_bytes,
        "format_version": FORMAT_VERSION,
        "model": dataclasses.asdict(manifest.model),
        "task": manifest.task,
        "input": _first_image(manifest),
        "inputs": [dataclasses.asdict(info) for info in manifest.inputs],
        "labels": len(manifest.labels) if manifest.labels is not None else None,
        "trained": {"low": manifest.low, "high": manifest.high},
        "widths": [row for net in manifest.nets if (row := _net_row(bundle, net))["permille"] is not None],
        "nets": [_net_row(bundle, net) for net in manifest.nets],
        "targets": targets,
        "parts": bundle.parts(),
    }


def _first_image(manifest: SlimManifest) -> dict[str, Any] | None:
    """The contract of the first image that goes in; None where nothing is an image."""
    images = [tensor.image for info in manifest.inputs for tensor in info.tensors if tensor.image is not None]
    return dataclasses.asdict(images[0]) if images else None


def _net_row(bundle: SlimBundle, net: Net) -> dict[str, Any]:
    mine = [a for variant in bundle.manifest.variants for a in variant.artifacts if a.net == net.id]
    scores = {a.quality.value for a in mine if a.quality is not None and a.quality.metric == "top1"}
    fold = f"fold/{net.id}"
    return {
        "net": net.id,
        "permille": net.permille,
        "aliases": list(net.widths[1:]),
        "macs": max((a.macs for a in mine), default=None),
        "params": net.params,
        "top1": float(scores.pop()) if len(scores) == 1 else None,
        "fold_bytes": len(bundle.stored(fold)) if fold in bundle.header.tensors else 0,
    }


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


def _nets(document: dict[str, Any]) -> Table:
    table = Table(title="nets")
    for head in ("net", "width", "also called", "MMACs", "params", "top-1", "fold, bytes"):
        table.add_column(head, justify="right")
    for row in document["nets"]:
        table.add_row(
            row["net"],
            "" if row["permille"] is None else f"{Width(row['permille'])}x",
            " ".join(f"{Width(alias)}x" for alias in row["aliases"]),
            "" if row["macs"] is None else f"{row['macs'] / 1e6:,.1f}",
            f"{row['params']:,}",
            "" if row["top1"] is None else f"{100 * row['top1']:.2f} %",
            f"{row['fold_bytes']:,}",
        )
    return table


def _artifacts(document: dict[str, Any]) -> Table:
    table = Table(title="artifacts")
    for head in ("artifact", "file, bytes", "kept, bytes", "explained"):
        table.add_column(head, justify="left" if head == "artifact" else "right")
    for row in (row for rows in document["targets"].values() for row in rows):
        constants = max(1, row["explained_bytes"] + row["literal_bytes"])
        table.add_row(
            row["artifact"],
            f"{row['artifact_bytes']:,}",
            f"{row['template_bytes'] + row['recipe_bytes']:,}",
            f"{100 * row['explained_bytes'] / constants:.2f} %",
        )
    return table


def _parts(bundle: SlimBundle) -> Table:
    table = Table(title="parts")
    for head in ("part", "bytes", "of the weights"):
        table.add_column(head, justify="left" if head == "part" else "right")
    parts = bundle.parts()
    for name, size in (*parts.items(), ("whole file", bundle.size_bytes)):
        table.add_row(name, f"{size:,}", f"{size / max(1, parts['weights']):.4f}x")
    return table
