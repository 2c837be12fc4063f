"""Bundles out of bundles: a part of one, or two in one, without unpacking anything.

subset(content, targets, widths) ─► BundleContent
merge(content, content)          ─► BundleContent   same bytes as packing everything together
with_prior(content, table)       ─► BundleContent   a table of some device, as a first guess for others
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from edgeslim.core.bundle import template_reader
from edgeslim.core.deflate import Stored
from edgeslim.core.latency import PRIOR, LatencyTable
from edgeslim.core.manifest import (
    ArtifactEntry,
    SlimManifest,
    Variant,
    WidthEntry,
    artifact_sha256,
    expected_tensors,
)
from edgeslim.core.width import Width
from edgeslim.errors import InternalError, UsageError
from edgeslim.press.build import BundleContent, difference, stored_templates

T = TypeVar("T")


def subset(
    content: BundleContent, *, targets: Sequence[str] | None = None, widths: Sequence[Width] | None = None
) -> BundleContent:
    """Only some targets (or variants, by id) and widths; None keeps all.

    Raises:
        UsageError: nothing would be left, or a name that is not there.
    """
    manifest = content.manifest
    known = {name for variant in manifest.variants for name in (variant.id, variant.target)}
    for target in targets or ():
        if target not in known:
            raise UsageError(f"no target {target!r} in the bundle; it has {', '.join(sorted(known))}")
    chosen = {w.permille for w in manifest.widths}
    if widths is not None:
        found = [manifest.width(width.permille) for width in widths]
        missing = [str(width) for width, entry in zip(widths, found, strict=True) if entry is None]
        if missing:
            have = ", ".join(str(Width(w.permille)) for w in manifest.widths)
            raise UsageError(f"no width {', '.join(missing)} in the bundle; it has {have}")
        chosen = {entry.permille for entry in found if entry is not None}
    variants = []
    for variant in manifest.variants:
        artifacts = tuple(a for a in variant.artifacts if a.permille in chosen)
        if artifacts and (targets is None or variant.id in targets or variant.target in targets):
            variants.append(replace(variant, artifacts=artifacts))
    if manifest.variants and not variants:
        raise UsageError("no artifact would be left with these targets and widths")
    smaller = replace(
        manifest, variants=tuple(variants), widths=tuple(w for w in manifest.widths if w.permille in chosen)
    )
    return BundleContent(manifest=smaller, stored=_kept(smaller, [content]))


def _kept(manifest: SlimManifest, sources: Sequence[BundleContent]) -> dict[str, Stored]:
    """The stored tensors of ``manifest``; templates are deflated again where the widest net has become another."""
    stored: dict[str, Stored] = {}
    for source in reversed(sources):
        stored.update(source.stored)
    stored = {name: stored[name] for name in expected_tensors(manifest) if name != "manifest"}
    for variant in manifest.variants:
        before = [v for source in sources for v in source.manifest.variants if v.id == variant.id]
        if any(v.artifacts[-1].permille != variant.artifacts[-1].permille for v in before):
            templates = {a.permille: _template(variant.id, a, sources) for a in variant.artifacts}
            stored.update(stored_templates(variant.id, templates))
    return stored


def _template(identifier: str, artifact: ArtifactEntry, sources: Sequence[BundleContent]) -> bytes:
    for source in sources:
        variant = source.manifest.variant(identifier)
        if variant is not None and variant.artifact(artifact.permille) is not None:
            reader = template_reader(source.stored.__getitem__, variant, artifact)
            content = reader.read(artifact.template_bytes)
            reader.finish()
            return content
    raise InternalError(f"no source has artifact {identifier} of {artifact.permille}")


def with_prior(content: BundleContent, table: LatencyTable) -> BundleContent:
    """Let ``table``, measured on some device, travel in the bundle (``manifest.extra``), without its samples.

    A session on a device without a table of its own measures two widths and scales this one by what it finds.

    Raises:
        UsageError: no row of ``table`` was measured with one of the bundle's files.
    """
    files = {artifact_sha256(artifact) for variant in content.manifest.variants for artifact in variant.artifacts}
    rows = tuple(replace(row, samples_ms=None, samples_file=None) for row in table.rows if row.file_sha256 in files)
    if not rows:
        raise UsageError(
            "the table has no row of this bundle's files", hint="edgeslim bench BUNDLE --target TARGET -o TABLE.json"
        )
    extra = {**content.manifest.extra, PRIOR: replace(table, rows=rows).to_json()}
    return BundleContent(manifest=replace(content.manifest, extra=extra), stored=content.stored)


def merge(first: BundleContent, second: BundleContent) -> BundleContent:
    """Both bundles in one: the bytes are those of packing everything together.

    Widths that both name differently but that are the same net keep the smaller name, as in ``pack``.

    Raises:
        UsageError: they are not of the same net, or say different things about the same width or artifact.
    """
    a, b = first.manifest, second.manifest
    for name in a.__slots__:
        if name not in ("widths", "variants", "extra") and getattr(a, name) != getattr(b, name):
            raise UsageError(
                f"these bundles cannot be merged: their {name} differ",
                hint="pack both from the same checkpoint with the same options",
            )
    if disputed := sorted(key for key in a.extra.keys() & b.extra.keys() if a.extra[key] != b.extra[key]):
        raise UsageError(
            f"these bundles cannot be merged: their {', '.join(disputed)} differ",
            hint="merge the bundles as they were packed, then add a table with edgeslim subset --table",
        )
    widths = _merged(a.widths, b.widths, lambda w: w.permille, _join_widths)
    variants = _merged(a.variants, b.variants, lambda v: v.id, _join_variants)
    manifest = _without_twins(replace(a, widths=widths, variants=variants, extra={**a.extra, **b.extra}))
    return BundleContent(manifest=manifest, stored=_kept(manifest, [first, second]))


def _merged(
    first: Sequence[T], second: Sequence[T], key: Callable[[T], Any], join: Callable[[T, T], T]
) -> tuple[T, ...]:
    table = {key(item): item for item in first}
    for item in second:
        table[key(item)] = join(table[key(item)], item) if key(item) in table else item
    return tuple(table[name] for name in sorted(table))


def _join_widths(a: WidthEntry, b: WidthEntry) -> WidthEntry:
    aliases = tuple(sorted({*a.aliases, *b.aliases}))
    if replace(a, aliases=aliases) != replace(b, aliases=aliases):
        raise UsageError(f"the bundles disagree about width {Width(a.permille)}: {difference(a, b)}")
    return replace(a, aliases=aliases)


def _join_variants(a: Variant, b: Variant) -> Variant:
    first, second = replace(a, artifacts=()), replace(b, artifacts=())
    if first != second:
        raise UsageError(
            f"the bundles disagree about {a.id}: {difference(first, second)}",
            hint="pack both with the same versions and options",
        )
    return replace(a, artifacts=_merged(a.artifacts, b.artifacts, lambda x: x.permille, _join_artifacts))


def _join_artifacts(a: ArtifactEntry, b: ArtifactEntry) -> ArtifactEntry:
    if a != b:
        raise UsageError(f"the bundles hold different artifacts of width {Width(a.permille)}: {difference(a, b)}")
    return a


def _without_twins(manifest: SlimManifest) -> SlimManifest:
    """Give widths with the same channels one name, the smallest; their artifacts must all be there under it."""
    owners: dict[tuple[tuple[int, ...], ...], WidthEntry] = {}
    renamed: dict[int, int] = {}
    for width in manifest.widths:  # ascending
        owner = owners.setdefault(width.channels, width)
        if owner is not width:
            renamed[width.permille] = owner.permille
            aliases = tuple(sorted({*owner.aliases, width.permille, *width.aliases}))
            owners[width.channels] = replace(owner, aliases=aliases)
    for variant in manifest.variants:
        there = {artifact.permille for artifact in variant.artifacts}
        for gone, kept in renamed.items():
            if gone in there and kept not in there:
                raise UsageError(
                    f"width {Width(gone)} is the same net as {Width(kept)}, which has no artifact of {variant.id}",
                    hint=f"pack {variant.id} at {Width(kept)}",
                )
    variants = tuple(
        replace(v, artifacts=tuple(a for a in v.artifacts if a.permille not in renamed)) for v in manifest.variants
    )
    widths = tuple(owners[w.channels] for w in manifest.widths if w.permille not in renamed)
    return replace(manifest, widths=widths, variants=variants)
