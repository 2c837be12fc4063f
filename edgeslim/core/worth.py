"""What the widths of a bundle are worth, for a latency table that was measured on it."""

from __future__ import annotations

from edgeslim.core.bundle import SlimBundle
from edgeslim.core.latency import Quality, WidthValue


def quality(bundle: SlimBundle) -> Quality:
    """The accuracies in the bundle (of the metric that most widths have), else multiply-adds standing in for them."""
    artifacts = [
        (net.widths[0], artifact)
        for net in bundle.manifest.nets
        if net.widths
        for variant in bundle.manifest.variants
        if (artifact := variant.artifact(net.id)) is not None
    ]
    measured = list({p: (p, a.quality) for p, a in artifacts if a.quality is not None}.values())
    if not measured:
        macs = {permille: float(artifact.macs) for permille, artifact in artifacts}
        values = tuple(WidthValue(permille=permille, value=value) for permille, value in sorted(macs.items()))
        return Quality(metric="macs", source="bundle", values=values)
    metrics = [found.metric for _, found in measured]
    metric = max(sorted(set(metrics)), key=metrics.count)
    values = tuple(WidthValue(permille=p, value=float(q.value)) for p, q in measured if q.metric == metric)
    return Quality(metric=metric, source="bundle", values=values)
