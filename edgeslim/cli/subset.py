"""``edgeslim subset``: a smaller bundle with some of the artifacts."""

from __future__ import annotations

from pathlib import Path

import click

from edgeslim.cli.bundle_options import chosen_nets, target_name
from edgeslim.cli.console import Console, common_options
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.latency import LatencyTable
from edgeslim.deploy.bundle_reports import PackReport, PackRow
from edgeslim.press.build import BundleContent, write_bundle
from edgeslim.press.combine import subset, with_prior


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--target", "targets", help="targets to keep, separated by commas [all]")
@click.option("--widths", help="keep artifacts of these widths, or labels of nets: 0.35,0.5,1.0 [all]")
@click.option("--artifact", "artifacts", multiple=True, help="keep only this one, by its id (repeatable)")
@click.option(
    "--table", type=click.Path(path_type=Path), help="a measured latency table that travels along, as a first guess"
)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="the smaller bundle")
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
    with SlimBundle.open(bundle) as opened:
        manifest = opened.manifest
        content = subset(
            BundleContent.of(opened),
            targets=None if targets is None else [target_name(manifest, t.strip()) for t in targets.split(",")],
            widths=chosen_nets(opened, widths),
            artifacts=artifacts or None,
        )
        if table is not None:
            content = with_prior(content, LatencyTable.read(table))
        before = opened.size_bytes
        write_bundle(content, out, overwrite=overwrite)
    with SlimBundle.open(out) as smaller:
        report = PackReport.of(
            smaller,
            [
                PackRow.of(smaller, variant, artifact, sqnr_db=None, seconds=None)
                for variant in smaller.manifest.variants
                for artifact in variant.artifacts
            ],
        )
    console.say(f"{out}: {report.bytes:,} bytes, {bundle} has {before:,}")
    rows = ((row.artifact, f"{row.artifact_bytes:,}", f"{row.kept_bytes:,}") for row in report.rows)
    console.result(report, console.artifact_table(str(out), ("artifact", "file, bytes", "kept, bytes"), rows))
    console.next_commands(f"edgeslim inspect {out}", f"edgeslim verify {out}")
