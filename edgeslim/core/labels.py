"""What people call the artifacts of one target: as short as tells them apart.

one variant ─► ``0.75x``        several precisions ─► ``int8 0.75x``        several inputs ─► ``0.75x @192``
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from edgeslim.core.latency import label_of
from edgeslim.core.manifest import Variant, artifact_id


def labels(variants: Iterable[Variant]) -> Mapping[str, str]:
    """Label by artifact id; ids where labels would be the same."""
    chosen = tuple(variants)
    precisions = {variant.precision for variant in chosen}
    inputs = {variant.input for variant in chosen}
    found = {
        artifact_id(variant.id, artifact.net): label_of(
            artifact.net,
            precision=variant.precision if len(precisions) > 1 else None,
            input=variant.input if len(inputs) > 1 else None,
        )
        for variant in chosen
        for artifact in variant.artifacts
    }
    times = Counter(found.values())
    return {identifier: identifier if times[label] > 1 else label for identifier, label in found.items()}
