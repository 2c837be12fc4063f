"""Which artifact is meant: by its id, or by target, width and variant where exactly one fits.

coreml-fp16-224/0500      variant/net, as ``edgeslim inspect`` lists them
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeslim.core.manifest import ArtifactEntry, Net, SlimManifest, Variant, artifact_id
from edgeslim.core.width import Width
from edgeslim.errors import UsageError, WidthError, did_you_mean

Addressed = tuple[Variant, ArtifactEntry]


def artifacts(
    manifest: SlimManifest, *, targets: Sequence[str] | None = None, nets: Sequence[Net] | None = None
) -> list[Addressed]:
    """Artifacts of some targets (or variants, by id) and nets, in the manifest's order; None takes all.

    Raises:
        UsageError: a target or variant that is not there.
    """
    known = sorted({name for variant in manifest.variants for name in (variant.target, variant.id)})
    for name in targets or ():
        if name not in known:
            raise UsageError(f"the bundle has nothing for {name!r}; it has {', '.join(known) or 'no artifacts'}")
    wanted = None if nets is None else {net.id for net in nets}
    return [
        (variant, artifact)
        for variant in manifest.variants
        if targets is None or variant.target in targets or variant.id in targets
        for artifact in variant.artifacts
        if wanted is None or artifact.net in wanted
    ]


def by_id(manifest: SlimManifest, identifier: str) -> Addressed:
    """The artifact called ``<variant>/<net>``.

    Raises:
        UsageError: there is none; names the nearest, or lists what is there.
    """
    name, _, net = identifier.partition("/")
    variant = manifest.variant(name)
    artifact = None if variant is None else variant.artifact(net)
    if variant is None or artifact is None:
        ids = _ids(artifacts(manifest))
        raise UsageError(
            f"no artifact {identifier!r} in the bundle; it has {_listed(ids)}", hint=did_you_mean(identifier, ids)
        )
    return variant, artifact


def resolve(manifest: SlimManifest, width: Width | int | str) -> Net:
    """The net that a width or a label names.

    Raises:
        WidthError: no such net; names the nearest widths.
    """
    if isinstance(width, str):
        net = manifest.net(width)
        if net is None:
            raise WidthError(
                f"no net {width!r} in the bundle; it has {', '.join(net.id for net in manifest.nets)}",
                hint=did_you_mean(width, [net.id for net in manifest.nets]),
            )
        return net
    permille = width.permille if isinstance(width, Width) else width
    net = manifest.net_of(permille)
    if net is None:
        raise _no_width(permille, _smallest_names(manifest.nets), "the bundle has")
    return net


def variants_of(manifest: SlimManifest, target: str, variant: str | None = None) -> list[Variant]:
    """The variants of ``target``, or the one called ``variant`` (``fp16-224`` or its whole id).

    Raises:
        UsageError: no such target or variant.
    """
    found = [v for v in manifest.variants if target in (v.target, v.id)]
    if not found:
        targets = sorted({v.target for v in manifest.variants})
        raise UsageError(f"the bundle has nothing for {target!r}; it has {', '.join(targets) or 'no target'}")
    if variant is None:
        return found
    named = [v for v in found if variant in (v.id, v.id.removeprefix(f"{v.target}-"))]
    if not named:
        raise UsageError(
            f"the bundle has no variant {variant!r} of {target}; it has {', '.join(v.id for v in found)}",
            hint=did_you_mean(variant, [name for v in found for name in (v.id, v.id.removeprefix(f"{v.target}-"))]),
        )
    return named


def only_variant(manifest: SlimManifest, target: str, variant: str | None = None) -> Variant:
    """The variant of ``target`` where there is one only, or the one called ``variant``.

    Raises:
        UsageError: as ``variants_of``; several and none named.
    """
    found = variants_of(manifest, target, variant)
    if len(found) > 1:
        names = ", ".join(v.id for v in found)
        raise UsageError(f"the bundle has these variants of {target}: {names}", hint="name one with --variant")
    return found[0]


def one(manifest: SlimManifest, target: str, width: Width | int | str, variant: str | None = None) -> Addressed:
    """The only artifact of a net for ``target``.

    Raises:
        WidthError, UsageError: as ``resolve`` and ``variants_of``; none or several artifacts fit.
    """
    chosen = variants_of(manifest, target, variant)
    net = resolve(manifest, width)
    found = [(v, artifact) for v in chosen if (artifact := v.artifact(net.id)) is not None]
    if not found:
        there = {a.net for v in chosen for a in v.artifacts}
        names = _smallest_names([n for n in manifest.nets if n.id in there])
        where = f"{', '.join(v.id for v in chosen)} {'has' if len(chosen) == 1 else 'have'}"
        if not net.widths:
            raise WidthError(f"no artifact of net {net.id}; {where} {', '.join(sorted(there))}")
        raise _no_width(net.widths[0], names, where)
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} artifacts fit: {_listed(_ids(found))}", hint="name one with --artifact, or --variant"
        )
    return found[0]


def nearest(manifest: SlimManifest, target: str, width: Width, variant: str | None = None) -> Width:
    """``width`` itself where ``target`` has it, else the next narrower one that it has.

    Raises:
        WidthError: all are wider.
    """
    there = {a.net for v in variants_of(manifest, target, variant) for a in v.artifacts}
    nets = [net for net in manifest.nets if net.id in there]
    fitting = [name for net in nets for name in net.widths if name <= width.permille]
    if not fitting:
        raise _no_width(width.permille, _smallest_names(nets), "the bundle has")
    best = max(fitting)
    return Width(next(net.widths[0] for net in nets if best in net.widths))


def _smallest_names(nets: Sequence[Net]) -> list[int]:
    return sorted(net.widths[0] for net in nets if net.widths)


def _ids(found: Sequence[Addressed]) -> list[str]:
    return [artifact_id(variant.id, artifact.net) for variant, artifact in found]


def _listed(ids: Sequence[str]) -> str:
    shown = ", ".join(ids[:12])
    return f"{shown} and {len(ids) - 12} more" if len(ids) > 12 else shown or "none"


def _no_width(permille: int, there: list[int], where: str) -> WidthError:
    below = max((p for p in there if p < permille), default=None)
    above = min((p for p in there if p > permille), default=None)
    near = " and ".join(str(Width(p)) for p in (below, above) if p is not None)
    listed = ", ".join(str(Width(p)) for p in there)
    return WidthError(
        f"no width {Width(permille)}" + (f": the nearest are {near}; {where} {listed}" if near else f"; {where} none"),
        hint="choose one of them" + (", or the next narrower with --nearest" if below is not None else ""),
    )
