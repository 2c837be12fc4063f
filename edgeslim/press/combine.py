"""Bundles out of bundles: a part of one, or two in one, without unpacking anything.

subset(content, …)         ─► BundleContent
merge(content, content)    ─► BundleContent   same bytes as packing everything together
with_prior(content, table) ─► BundleContent   a table of some device, as a first guess for others
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from edgeslim.core import addressing
from edgeslim.core.bundle import template_reader
from edgeslim.core.deflate import Stored
from edgeslim.core.latency import PRIOR, LatencyTable
from edgeslim.core.manifest import (
    ArtifactEntry,
    InputInfo,
    Net,
    SlimManifest,
    Variant,
    artifact_id,
    artifact_sha256,
    expected_tensors,
)
from edgeslim.core.width import Width, net_id
from edgeslim.errors import InternalError, UsageError
from edgeslim.press.build import BundleContent, difference, stored_templates, with_bases

T = TypeVar("T")


def subset(
    content: BundleContent,
    *,
    targets: Sequence[str] | None = None,
    widths: Sequence[Width | str] | None = None,
    artifacts: Sequence[str] | None = None,
) -> BundleContent:
    """Only some targets (or variants, by id) and nets (by width or label), or some artifacts by id; None keeps all.

    Raises:
        UsageError, WidthError: nothing would be left, or a name that is not there.
    """
    manifest = content.manifest
    nets = None if widths is None else [addressing.resolve(manifest, width) for width in widths]
    chosen = {artifact_id(v.id, a.net) for v, a in addressing.artifacts(manifest, targets=targets, nets=nets)}
    if artifacts is not None:
        chosen &= {artifact_id(v.id, a.net) for v, a in (addressing.by_id(manifest, name) for name in artifacts)}
    if manifest.variants and not chosen:
        raise UsageError("no artifact would be left with these targets and widths")
    variants = []
    for variant in manifest.variants:
        left = tuple(a for a in variant.artifacts if artifact_id(variant.id, a.net) in chosen)
        if left:
            variants.append(replace(variant, artifacts=left))
    if artifacts is not None:
        kept = {a.net for variant in variants for a in variant.artifacts}
    else:
        kept = {net.id for net in (manifest.nets if nets is None else nets)}
    smaller = replace(
        manifest,
        variants=with_bases(variants),
        nets=tuple(net for net in manifest.nets if net.id in kept),
        inputs=_used_inputs(manifest.inputs, variants),
    )
    return BundleContent(manifest=smaller, stored=_kept(smaller, [content]))


def _used_inputs(inputs: Sequence[InputInfo], variants: Sequence[Variant]) -> tuple[InputInfo, ...]:
    used = {variant.input for variant in variants}
    return tuple(info for info in inputs if info.id in used or not used)


def _kept(manifest: SlimManifest, sources: Sequence[BundleContent]) -> dict[str, Stored]:
    """The stored tensors of ``manifest``; templates are deflated again where their base has become another."""
    stored: dict[str, Stored] = {}
    for source in reversed(sources):
        stored.update(source.stored)
    stored = {name: stored[name] for name in expected_tensors(manifest) if name != "manifest"}
    moved = [
        (variant, artifact)
        for variant in manifest.variants
        for artifact in variant.artifacts
        if _entry(sources, artifact_id(variant.id, artifact.net))[2].base != artifact.base
    ]
    needed = {artifact_id(variant.id, artifact.net) for variant, artifact in moved}
    needed |= {artifact.base for _, artifact in moved if artifact.base is not None}
    contents = {identifier: _template(sources, identifier) for identifier in needed}
    again = stored_templates([replace(v, artifacts=(a,)) for v, a in moved], contents)
    return {**stored, **again}


def _entry(sources: Sequence[BundleContent], identifier: str) -> tuple[BundleContent, Variant, ArtifactEntry]:
    """Where an artifact comes from: the first source that has it."""
    name, _, net = identifier.partition("/")
    for source in sources:
        variant = source.manifest.variant(name)
        artifact = None if variant is None else variant.artifact(net)
        if variant is not None and artifact is not None:
            return source, variant, artifact
    raise InternalError(f"no source has artifact {identifier}")


def _template(sources: Sequence[BundleContent], identifier: str) -> bytes:
    source, variant, artifact = _entry(sources, identifier)
    reader = template_reader(source.manifest, source.stored.__getitem__, variant, artifact)
    content = reader.read(artifact.template_bytes)
    reader.finish()
    return content


def with_prior(content: BundleContent, table: LatencyTable) -> BundleContent:
    """Let ``table``, measured on some device, travel in the bundle (``manifest.extra``), without its samples.

    A session on a device without a table of its own measures two rungs and scales this one by what it finds.

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


_JOINED = ("nets", "variants", "inputs", "extra")


def merge(first: BundleContent, second: BundleContent) -> BundleContent:
    """Both bundles in one: the bytes are those of packing everything together.

    Widths that both name differently but that are the same net become names of one, as in ``pack``.

    Raises:
        UsageError: they are not of the same network, or say different things about the same net or artifact.
    """
    a, b = first.manifest, second.manifest
    for name in a.__slots__:
        if name not in _JOINED and getattr(a, name) != getattr(b, name):
            raise UsageError(
                f"these bundles cannot be merged: their {name} differ",
                hint="pack both from the same checkpoint with the same options",
            )
    if disputed := sorted(key for key in a.extra.keys() & b.extra.keys() if a.extra[key] != b.extra[key]):
        raise UsageError(
            f"these bundles cannot be merged: their {', '.join(disputed)} differ",
            hint="merge the bundles as they were packed, then add a table with edgeslim subset --table",
        )
    left, right, nets = _joined_nets(first, second)
    variants = _merged(left.manifest.variants, right.manifest.variants, lambda v: v.id, _join_variants)
    manifest = replace(
        a,
        nets=nets,
        variants=with_bases(variants),
        inputs=_used_inputs(_merged(a.inputs, b.inputs, lambda i: i.id, _join_inputs), variants),
        extra={**a.extra, **b.extra},
    )
    return BundleContent(manifest=manifest, stored=_kept(manifest, [left, right]))


def _merged(
    first: Sequence[T], second: Sequence[T], key: Callable[[T], Any], join: Callable[[T, T], T]
) -> tuple[T, ...]:
    table = {key(item): item for item in first}
    for item in second:
        table[key(item)] = join(table[key(item)], item) if key(item) in table else item
    return tuple(table[name] for name in sorted(table))


def _joined_nets(first: BundleContent, second: BundleContent) -> tuple[BundleContent, BundleContent, tuple[Net, ...]]:
    """The nets of both, and both with their nets called as in the result: equal nets become one with all names."""
    same: dict[object, Net] = {}
    for net in (*first.manifest.nets, *second.manifest.nets):
        key = net.cut, net.fold_sha256, net.quant_sha256
        known = same.get(key)
        if known is None:
            same[key] = net
            continue
        other_label = not (known.widths and net.widths) and known.id != net.id  # only widths can be several names
        if known.params != net.params or other_label:
            raise UsageError(f"the bundles disagree about net {net.id}: {difference(known, net)}")
        widths = tuple(sorted({*known.widths, *net.widths}))
        same[key] = replace(known, id=net_id(widths[0]) if widths else known.id, widths=widths)
    nets = sorted(same.values(), key=lambda net: net.id)
    taken: set[int] = set()
    for before, after in itertools.pairwise(nets):
        if before.id == after.id:
            raise UsageError(f"the bundles disagree about net {before.id}: {difference(before, after)}")
    for net in nets:
        if twice := taken & set(net.widths):
            raise UsageError(f"the bundles disagree about width {Width(min(twice))}: it names two different nets")
        taken.update(net.widths)
    renames = [
        {n.id: same[n.cut, n.fold_sha256, n.quant_sha256].id for n in content.manifest.nets}
        for content in (first, second)
    ]
    return _renamed(first, renames[0]), _renamed(second, renames[1]), tuple(nets)


def _renamed(content: BundleContent, names: dict[str, str]) -> BundleContent:
    """The same bundle with its nets called by other ids."""
    if all(old == new for old, new in names.items()):
        return content
    variants = tuple(
        replace(
            variant,
            artifacts=tuple(
                sorted(
                    (replace(a, net=names[a.net], base=_renamed_base(a.base, names)) for a in variant.artifacts),
                    key=lambda a: a.net,
                )
            ),
        )
        for variant in content.manifest.variants
    )
    stored = {}
    for name, part in content.stored.items():
        kind, _, rest = name.partition("/")
        owner, slash, net = rest.rpartition("/")
        if kind in ("fold", "quant", "template", "recipe"):
            name = f"{kind}/{owner}{slash}{names[net]}"
        stored[name] = part
    return BundleContent(manifest=replace(content.manifest, variants=variants), stored=stored)


def _renamed_base(base: str | None, names: dict[str, str]) -> str | None:
    if base is None:
        return None
    variant, _, net = base.partition("/")
    return artifact_id(variant, names[net])


def _join_inputs(a: InputInfo, b: InputInfo) -> InputInfo:
    if a != b:
        raise UsageError(f"the bundles describe input {a.id} differently")
    return a


def _join_variants(a: Variant, b: Variant) -> Variant:
    first, second = replace(a, artifacts=()), replace(b, artifacts=())
    if first != second:
        raise UsageError(
            f"the bundles disagree about {a.id}: {difference(first, second)}",
            hint="pack both with the same versions and options",
        )
    return replace(a, artifacts=_merged(a.artifacts, b.artifacts, lambda x: x.net, _join_artifacts))


def _join_artifacts(a: ArtifactEntry, b: ArtifactEntry) -> ArtifactEntry:
    if replace(a, base=None) != replace(b, base=None):
        raise UsageError(
            f"the bundles hold different artifacts of net {a.net}: {difference(a, replace(b, base=a.base))}"
        )
    return a
