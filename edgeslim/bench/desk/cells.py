"""From a bundle and what was asked for to the cells of a job."""

from __future__ import annotations

from collections.abc import Sequence

from edgeslim.core import addressing
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.job import Cell
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
        chosen = addressing.only_variant(bundle.manifest, target, variant)
        nets = [bundle.resolve(artifact.net) for artifact in chosen.artifacts]
        wanted = [Width(net.widths[0]) for net in nets if net.widths] if widths is None else widths
        for width in wanted:
            _, artifact = bundle.artifact(target, width, variant=chosen.id)
            for count in threads:
                cell = Cell(
                    target=target,
                    permille=bundle.resolve(artifact.net).widths[0],
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
