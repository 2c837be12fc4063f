"""What the artifacts of a bundle are worth, for a latency table that was measured on it."""

from __future__ import annotations

from edgeslim.core.bundle import SlimBundle
from edgeslim.core.latency import ArtifactValue, Quality
from edgeslim.core.manifest import artifact_id
from edgeslim.core.worth import MACS


def quality(bundle: SlimBundle) -> Quality:
    """The accuracies in the bundle (of the metric that most nets have), else multiply-adds standing in for them."""
    manifest = bundle.manifest
    artifacts = {
        artifact_id(variant.id, artifact.permille): manifest.width(artifact.permille)
        for variant in manifest.variants
        for artifact in variant.artifacts
    }
    nets = {identifier: net for identifier, net in artifacts.items() if net is not None}
    metrics = [net.quality.metric for net in manifest.widths if net.quality is not None]
    if not metrics:
        values = [(identifier, float(net.macs)) for identifier, net in nets.items()]
        return _quality(MACS, values)
    metric = max(sorted(set(metrics)), key=metrics.count)
    found = [
        (identifier, float(net.quality.value))
        for identifier, net in nets.items()
        if net.quality is not None and net.quality.metric == metric
    ]
    return _quality(metric, found)


def _quality(metric: str, values: list[tuple[str, float]]) -> Quality:
    return Quality(
        metric=metric,
        source="bundle",
        larger_is_better=True,
        values=tuple(ArtifactValue(artifact=identifier, value=value) for identifier, value in values),
    )
