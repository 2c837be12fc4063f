"""What the widths of a bundle are worth, for a latency table that was measured on it."""

from __future__ import annotations

from edgeslim.core.bundle import SlimBundle
from edgeslim.core.latency import Quality, WidthValue


def quality(bundle: SlimBundle) -> Quality:
    """The accuracies in the bundle (of the metric that most widths have), else multiply-adds standing in for them."""
    measured = [(entry.permille, entry.quality) for entry in bundle.manifest.widths if entry.quality is not None]
    if not measured:
        values = tuple(WidthValue(permille=w.permille, value=float(w.macs)) for w in bundle.manifest.widths)
        return Quality(metric="macs", source="bundle", values=values)
    metrics = [found.metric for _, found in measured]
    metric = max(sorted(set(metrics)), key=metrics.count)
    values = tuple(WidthValue(permille=p, value=float(q.value)) for p, q in measured if q.metric == metric)
    return Quality(metric=metric, source="bundle", values=values)
