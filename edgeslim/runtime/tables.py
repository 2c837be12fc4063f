"""Which latencies a session reckons with, and the ladder it climbs.

table given ──────────────────────┐
stored for this device and bundle ┼─► rows of this bundle's files ─► ladder, without widths that crashed lately
measured now (measure.py) ────────┘
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

from edgeslim.core.ladder import DroppedArtifact, Ladder, ladder
from edgeslim.core.latency import PRIOR, LatencyTable
from edgeslim.core.quality import quality
from edgeslim.core.reasons import Reason
from edgeslim.core.strict_json import canonical, encode
from edgeslim.core.width import Width
from edgeslim.core.worth import MACS
from edgeslim.errors import OutputError, TableError
from edgeslim.host import machine
from edgeslim.runtime.deployment import Deployment

_KEPT = 32


class TableStore:
    """Tables that sessions measured here, one file per device, bundle, variant and thread count."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "tables"

    def load(self, deployment: Deployment, threads: int) -> LatencyTable | None:
        """None where there is none, or it cannot be read: then it is measured again."""
        try:
            return LatencyTable.read(self.path(deployment, threads))
        except TableError:
            return None

    def save(self, table: LatencyTable, deployment: Deployment, threads: int) -> None:
        """Raises ``OutputError``."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            old = sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
            for path in old[: max(len(old) - _KEPT + 1, 0)]:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot keep the table in {self._folder}: {error.strerror}") from error
        table.write(self.path(deployment, threads), overwrite=True)

    def path(self, deployment: Deployment, threads: int) -> Path:
        """Where the table is kept, once there is one."""
        document = {
            "device": encode(machine.device()),
            "os": encode(machine.operating_system()),
            "bundle": deployment.bundle.header.manifest_sha256,
            "variant": deployment.variant.id,
            "threads": threads,
        }
        return self._folder / f"{hashlib.sha256(canonical(document).encode()).hexdigest()[:32]}.json"


def prior_of(deployment: Deployment) -> LatencyTable | None:
    """Another device's table that travels in the bundle."""
    text = deployment.bundle.manifest.extra.get(PRIOR)
    if not isinstance(text, str):
        return None
    try:
        return LatencyTable.from_json(text)
    except TableError:
        return None  # a hint that cannot be read is no hint


def rungs(
    table: LatencyTable,
    deployment: Deployment,
    *,
    threads: int | None = None,
    without: Mapping[Width, str] | None = None,
) -> Ladder:
    """The ladder of ``table`` for this bundle.

    Args:
        threads: which rows, where the table holds several thread counts.
        without: widths that must not be used, and why.

    Raises:
        TableError: the table has no row for this bundle's files, or none is left.
    """
    without = without or {}
    variant = deployment.variant
    mine = [row for row in table.rows if row.target == variant.target and row.precision == variant.precision]
    keys = {deployment.artifact_of(width): plan.key for width, plan in deployment.plans.items()}
    bound = [row for row in mine if keys.get(row.artifact) == row.file_sha256]
    if not bound:
        measured = ", ".join(sorted({f"{row.target} {row.precision}" for row in table.rows})) or "nothing"
        wanted = f"{variant.target} {variant.precision}"
        raise TableError(
            f"the table holds {measured}, but no row of this bundle's files for {wanted}",
            hint=f"edgeslim bench {deployment.bundle.path} --target {variant.target} -o TABLE.json",
        )
    left_out = {deployment.artifact_of(width) for width in without}
    kept = tuple(row for row in bound if row.artifact not in left_out)
    if not kept:
        raise TableError(f"every measured width is left out: {'; '.join(sorted(set(without.values())))}")
    own = quality(deployment.bundle)
    better = own if table.quality is None or own.metric != MACS else table.quality
    counts = {row.runtime.threads for row in kept}  # what runtimes use, which may differ from what they were asked
    chosen = threads if len(counts) > 1 else None
    built = ladder(dataclasses.replace(table, rows=kept, quality=better), threads=chosen)
    out = [
        DroppedArtifact(
            artifact=deployment.artifact_of(width), label=f"{width}x", reason=Reason.of("not_loaded", why=reason)
        )
        for width, reason in without.items()
    ]
    return dataclasses.replace(built, dropped=tuple(sorted((*built.dropped, *out), key=lambda item: item.artifact)))
