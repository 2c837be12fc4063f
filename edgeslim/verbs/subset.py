"""``edgeslim.subset``: a smaller bundle with some of the artifacts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeslim.core.bundle import SlimBundle
from edgeslim.core.latency import LatencyTable
from edgeslim.deploy.bundle_reports import PackReport, PackRow
from edgeslim.files import check_free
from edgeslim.press.build import BundleContent, write_bundle
from edgeslim.press.combine import subset as chosen_content
from edgeslim.press.combine import with_prior
from edgeslim.verbs.addressing import chosen_nets, target_name


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsetOptions:
    """``targets``, ``widths`` (text, or labels of nets), ``artifacts`` (ids): what to keep (None, (): all); ``table``:
    a measured latency table that travels along, as a first guess; ``out``: the smaller bundle."""

    out: Path
    targets: tuple[str, ...] | None = None
    widths: str | None = None
    artifacts: tuple[str, ...] = ()
    table: Path | None = None
    overwrite: bool = False


def subset(bundle: str | Path, options: SubsetOptions) -> PackReport:
    """Keep only some targets and nets of ``bundle``; the weights stay whole.

    Raises:
        FormatError: it is no bundle.
        UsageError, WidthError: it has no such target, net or artifact.
        OutputError: the result is there already, or cannot be written.
    """
    check_free(options.out, overwrite=options.overwrite)
    with SlimBundle.open(bundle) as opened:
        content = chosen_content(
            BundleContent.of(opened),
            targets=None
            if options.targets is None
            else [target_name(opened.manifest, name.strip()) for name in options.targets],
            widths=chosen_nets(opened, options.widths),
            artifacts=options.artifacts or None,
        )
        if options.table is not None:
            content = with_prior(content, LatencyTable.read(options.table))
        write_bundle(content, options.out, overwrite=options.overwrite)
    with SlimBundle.open(options.out) as smaller:
        return PackReport.of(
            smaller,
            [
                PackRow.of(smaller, variant, artifact, sqnr_db=None, seconds=None)
                for variant in smaller.manifest.variants
                for artifact in variant.artifacts
            ],
        )
