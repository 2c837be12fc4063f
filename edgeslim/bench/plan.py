"""From a bundle and what was asked for to the cells of a job, and what the widths are worth."""

from __future__ import annotations

from collections.abc import Sequence

from edgeslim.bench.job import Cell
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.latency import Quality, WidthValue
from edgeslim.core.manifest import artifact_sha256
from edgeslim.core.width import Width


def cells(
    bundle: SlimBundle,
    targets: Sequence[str],
    *,
    widths: Sequence[Width] | None,
    threads: Sequence[int],
    variant: str | None = None,
) -> tuple[Cell, ...]:
    """Every (target, width, threads), narrow to wide; widths that name the same net are one cell.

    Args:
        widths: None takes every width the target has.

    Raises:
        WidthError, UsageError: the bundle has no such width, target or variant.
    """
    found: dict[Cell, None] = {}
    for target in targets:
        chosen = bundle.variant(target, variant)
        wanted = [Width(artifact.permille) for artifact in chosen.artifacts] if widths is None else widths
        for width in wanted:
            _, artifact = bundle.artifact(target, width, variant=chosen.id)
            for count in threads:
                cell = Cell(
                    target=target,
                    permille=artifact.permille,
                    threads=count,
                    variant=chosen.id,
                    suffix=chosen.suffix,
                    precision=chosen.precision,
                    input_shape=chosen.inputs[0].shape,
                    file_sha256=artifact_sha256(artifact),
                    backend=chosen.backend,
                )
                found[cell] = None
    return tuple(sorted(found, key=lambda cell: (cell.target, cell.threads, cell.permille)))


def quality(bundle: SlimBundle) -> Quality:
    """The accuracies in the bundle (of the metric that most widths have), else multiply-adds standing in for them."""
    measured = [(entry.permille, entry.quality) for entry in bundle.manifest.widths if entry.quality is not None]
    if not measured:
        values = tuple(WidthValue(permille=w.permille, value=float(w.macs)) for w in bundle.manifest.widths)
        return Quality(metric="macs", source="bundle", values=values)
    metrics = [found.metric for _, found in measured]
    metric = max(sorted(set(metrics)), key=metrics.count)
    values = tuple(WidthValue(permille=p, value=float(q.value)) for p, q in measured if q.metric == metric)
    return Quality(metric=metric, source="bundle", values=values)
