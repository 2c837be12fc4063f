"""What people call the artifacts of one target: as short as tells them apart.

one variant ─► ``0.75x``        several precisions ─► ``int8 0.75x``        several inputs ─► ``0.75x @192``
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgeslim.core.latency import label_of
from edgeslim.core.manifest import Variant, artifact_id


def labels(variants: Iterable[Variant]) -> Mapping[str, str]:
    """Label by artifact id; ids where labels would be the same."""
    chosen = tuple(variants)
    precisions = {variant.precision for variant in chosen}
    inputs = {input_name(variant) for variant in chosen}
    found = {
        artifact_id(variant.id, artifact.net): label_of(
            artifact.net,
            precision=variant.precision if len(precisions) > 1 else None,
            input=input_name(variant) if len(inputs) > 1 else None,
        )
        for variant in chosen
        for artifact in variant.artifacts
    }
    several = {label for label in found.values() if list(found.values()).count(label) > 1}
    return {identifier: identifier if label in several else label for identifier, label in found.items()}


def input_name(variant: Variant) -> str:
    """What tells the inputs of variants apart, for people: ``224``, ``320x240``, or the sizes of a tensor."""
    info = variant.inputs[0]
    sizes = {"NCHW": info.shape[2:], "NHWC": info.shape[1:3]}.get(info.layout, info.shape[1:])
    square = len(set(sizes)) == 1 and len(sizes) == 2
    return str(sizes[0]) if square else "x".join(map(str, reversed(sizes)))
