"""What the artifacts of a bundle are worth, for a latency table that was measured on it."""

from __future__ import annotations

from edgeslim.core.bundle import SlimBundle
from edgeslim.core.latency import ArtifactValue, Quality
from edgeslim.core.manifest import artifact_id
from edgeslim.core.worth import MACS


def quality(bundle: SlimBundle) -> Quality:
    """The accuracies in the bundle (of the commonest metric), else multiply-adds standing in for them."""
    artifacts = {
        artifact_id(variant.id, artifact.net): artifact
        for variant in bundle.manifest.variants
        for artifact in variant.artifacts
    }
    known = {identifier: a.quality for identifier, a in artifacts.items() if a.quality is not None}
    kinds = [(quality.metric, quality.larger_is_better) for quality in known.values()]
    if not kinds:
        return _quality(MACS, True, [(identifier, float(a.macs)) for identifier, a in artifacts.items()])
    kind = max(sorted(set(kinds)), key=kinds.count)
    found = [(i, float(q.value)) for i, q in known.items() if (q.metric, q.larger_is_better) == kind]
    return _quality(*kind, found)


def _quality(metric: str, larger_is_better: bool, values: list[tuple[str, float]]) -> Quality:
    return Quality(
        metric=metric,
        source="bundle",
        larger_is_better=larger_is_better,
        values=tuple(ArtifactValue(artifact=identifier, value=value) for identifier, value in values),
    )
