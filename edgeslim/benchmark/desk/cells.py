"""From a bundle and what was asked for to the cells of a job."""

from __future__ import annotations

from collections.abc import Sequence

from edgeslim.core import addressing
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.job import Cell
from edgeslim.core.labels import labels
from edgeslim.core.manifest import Variant, artifact_id, artifact_sha256
from edgeslim.core.width import Width
from edgeslim.errors import UsageError, did_you_mean


def cells(
    bundle: SlimBundle,
    targets: Sequence[str],
    *,
    widths: Sequence[Width] | None = None,
    artifacts: Sequence[str] | None = None,
    threads: Sequence[int],
    variant: str | None = None,
) -> tuple[Cell, ...]:
    """Every (artifact, threads), from narrow to wide; widths that name the same net are one cell.

    Args:
        widths: of each target the only artifact that has this width; None takes all that the targets have.
        artifacts: exactly these, by id, of any target in ``targets``.
        variant: only this one of each target.

    Raises:
        WidthError: the bundle has no such width. UsageError: no such target, variant or artifact; or several artifacts
            of a target have the width.
    """
    found: list[tuple[int, Cell]] = []
    for target in targets:
        named = labels(addressing.variants_of(bundle.manifest, target))
        chosen = addressing.variants_of(bundle.manifest, target, variant)
        for one, artifact in _wanted(bundle, target, chosen, widths, artifacts):
            identifier = artifact_id(one.id, artifact.net)
            for count in threads:
                cell = Cell(
                    artifact=identifier,
                    label=named[identifier],
                    width_permille=bundle.resolve(artifact.net).permille,
                    target=target,
                    threads=count,
                    precision=one.precision,
                    input_shape=one.inputs[0].shape,
                    file_sha256=artifact_sha256(artifact),
                    suffix=one.suffix,
                    backend=one.backend,
                )
                found.append((artifact.macs, cell))
    if artifacts is not None:
        _check_found(bundle, artifacts, {cell.artifact for _, cell in found}, targets)
    ordered = sorted(found, key=lambda item: (item[1].target, item[1].threads, item[0], item[1].artifact))
    return tuple(dict.fromkeys(cell for _, cell in ordered))


def _wanted(
    bundle: SlimBundle,
    target: str,
    variants: Sequence[Variant],
    widths: Sequence[Width] | None,
    artifacts: Sequence[str] | None,
) -> list[addressing.Addressed]:
    there = [(variant, artifact) for variant in variants for artifact in variant.artifacts]
    if artifacts is not None:
        return [(v, artifact) for v, artifact in there if artifact_id(v.id, artifact.net) in artifacts]
    if widths is None:
        return there
    only = variants[0].id if len(variants) == 1 else None
    return [addressing.one(bundle.manifest, target, width, only) for width in widths]


def _check_found(bundle: SlimBundle, asked: Sequence[str], found: set[str], targets: Sequence[str]) -> None:
    known = [artifact_id(v.id, a.net) for v in bundle.manifest.variants if v.target in targets for a in v.artifacts]
    for name in asked:
        if name not in found:
            raise UsageError(
                f"no artifact {name!r} to measure here; there are {', '.join(known) or 'none'}",
                hint=did_you_mean(name, known),
            )
