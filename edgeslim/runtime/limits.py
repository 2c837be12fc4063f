"""The app's own bounds as rungs: ``Reading.user_min`` and ``user_cap``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeslim.core.signals import UNKNOWN
from edgeslim.runtime.deployment import ArtifactPlan


def user_min(narrowest: ArtifactPlan | None, rungs: Sequence[str], plans: Mapping[str, ArtifactPlan]) -> int:
    """The narrowest rung wanted; an artifact that is no rung bounds by its multiply-adds."""
    if narrowest is None:
        return 0
    if narrowest.artifact in rungs:
        return rungs.index(narrowest.artifact)
    return sum(plans[rung].macs < narrowest.macs for rung in rungs)


def user_cap(widest: ArtifactPlan | None, rungs: Sequence[str], plans: Mapping[str, ArtifactPlan]) -> int:
    """The widest rung allowed, at least the first; -1 where all are."""
    if widest is None:
        return UNKNOWN
    if widest.artifact in rungs:
        return rungs.index(widest.artifact)
    return max(sum(plans[rung].macs <= widest.macs for rung in rungs) - 1, 0)
