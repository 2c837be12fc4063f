"""``edgeslim inspect``: what is in a bundle and what each part costs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from edgeslim.cli.bundle_options import artifact_row, file_rows
from edgeslim.cli.console import Console, common_options
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.header import FORMAT_VERSION
from edgeslim.core.manifest import Variant, WidthEntry
from edgeslim.core.width import Width


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="also read and hash every part")
@common_options
def command(*, bundle: Path, check: bool, console: Console) -> None:
    """Show the widths, the targets and the size of every part of BUNDLE."""
    with SlimBundle.open(bundle) as opened:
        if check:
            opened.check()
            console.say(f"{bundle}: every part is what the manifest says")
        document = describe(opened)
        console.result(document)
        if not console.as_json:
            for table in (_about(opened), _widths(document), _targets(opened), _parts(opened)):
                console.results.print(table)
        first = opened.manifest.variants[0] if opened.manifest.variants else None
    if first is not None:
        width = Width(first.artifacts[-1].permille)
        out = f"{bundle.stem}_{width}{first.suffix}"
        console.next_commands(
            f"edgeslim verify {bundle}", f"edgeslim export {bundle} --target {first.target} --width {width} -o {out}"
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
                "precision": variant.precision,
                "backend": variant.backend,
                "files": file_rows(artifact.files),
            }
            for artifact in variant.artifacts
        ]
    return {
        "bundle": str(bundle.path),
        "bytes": bundle.size_bytes,
        "format_version": FORMAT_VERSION,
        "model": dataclasses.asdict(manifest.model),
        "input": dataclasses.asdict(manifest.input),
        "labels": len(manifest.labels) if manifest.labels is not None else None,
        "trained": {"low": manifest.low, "high": manifest.high},
        "weights": manifest.weights,
        "widths": [_width_row(bundle, width) for width in manifest.widths],
        "targets": targets,
        "parts": bundle.parts(),
    }


def _width_row(bundle: SlimBundle, width: WidthEntry) -> dict[str, Any]:
    quality = width.quality
    fold = f"fold/{width.permille:04d}"
    return {
        "permille": width.permille,
        "aliases": list(width.aliases),
        "macs": width.macs,
        "params": width.params,
        "top1": float(quality.value) if quality is not None and quality.metric == "top1" else None,
        "fold_bytes": len(bundle.stored(fold)) if fold in bundle.header.tensors else 0,
    }


def _about(bundle: SlimBundle) -> Table:
    manifest = bundle.manifest
    table = Table(title=str(bundle.path), show_header=False)
    shape = f"{manifest.input.channels}x{manifest.input.height}x{manifest.input.width} {manifest.input.channel_order}"
    rows = {
        "model": f"{manifest.model.id} {manifest.model.version}",
        "author": manifest.model.author,
        "licence": manifest.model.licence,
        "input": shape,
        "labels": "" if manifest.labels is None else f"{len(manifest.labels)}",
        "trained": f"{Width(manifest.low)} to {Width(manifest.high)}",
        "weights": manifest.weights,
    }
    for name, text in rows.items():
        if text:
            table.add_row(name, text)
    return table


def _widths(document: dict[str, Any]) -> Table:
    table = Table(title="widths")
    for head in ("width", "also called", "MMACs", "params", "top-1", "fold, bytes"):
        table.add_column(head, justify="right")
    for row in document["widths"]:
        table.add_row(
            str(Width(row["permille"])),
            " ".join(str(Width(alias)) for alias in row["aliases"]),
            f"{row['macs'] / 1e6:,.1f}",
            f"{row['params']:,}",
            "" if row["top1"] is None else f"{100 * row['top1']:.2f} %",
            f"{row['fold_bytes']:,}",
        )
    return table


def _targets(bundle: SlimBundle) -> Table:
    table = Table(title="targets")
    for head in ("variant", "width", "file, bytes", "kept, bytes", "explained"):
        table.add_column(head, justify="left" if head == "variant" else "right")
    for variant in bundle.manifest.variants:
        for row in _artifact_rows(bundle, variant):
            constants = max(1, row["explained_bytes"] + row["literal_bytes"])
            table.add_row(
                variant.id,
                str(Width(row["permille"])),
                f"{row['artifact_bytes']:,}",
                f"{row['template_bytes'] + row['recipe_bytes']:,}",
                f"{100 * row['explained_bytes'] / constants:.2f} %",
            )
    return table


def _artifact_rows(bundle: SlimBundle, variant: Variant) -> list[dict[str, Any]]:
    return [artifact_row(bundle, variant, artifact) for artifact in variant.artifacts]


def _parts(bundle: SlimBundle) -> Table:
    table = Table(title="parts")
    for head in ("part", "bytes", "of the weights"):
        table.add_column(head, justify="left" if head == "part" else "right")
    parts = bundle.parts()
    for name, size in (*parts.items(), ("whole file", bundle.size_bytes)):
        table.add_row(name, f"{size:,}", f"{size / max(1, parts['weights']):.4f}x")
    return table
