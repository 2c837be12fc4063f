"""Which latencies a session reckons with, and the ladder it climbs.

table given ──────────────────────┐
stored for this device and bundle ┼─► rows of this bundle's files ─► ladder, without what crashed lately
measured now (measure.py) ────────┘
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from edgeslim.core.ladder import DroppedArtifact, Ladder, ladder
from edgeslim.core.latency import PRIOR, LatencyTable
from edgeslim.core.quality import quality
from edgeslim.core.reasons import Reason
from edgeslim.core.strict_json import canonical, encode
from edgeslim.core.worth import MACS
from edgeslim.errors import OutputError, TableError
from edgeslim.host import machine
from edgeslim.runtime.deployment import Deployment
from edgeslim.runtime.own_folder import OwnFolder

_KEPT = 32
_NAME = re.compile(r"[0-9a-f]{32}\.json")


class TableStore:
    """Tables that sessions measured here, one file per device, bundle, variant and thread count."""

    def __init__(self, own: OwnFolder) -> None:
        self._own = own

    @property
    def _folder(self) -> Path:
        return self._own.path / "tables"

    def load(self, deployment: Deployment, threads: int) -> LatencyTable | None:
        """None where there is none, or it cannot be read: then it is measured again."""
        try:
            return LatencyTable.read(self.path(deployment, threads)) if self._own.usable() else None
        except TableError:
            return None

    def save(self, table: LatencyTable, deployment: Deployment, threads: int) -> None:
        """Raises ``OutputError``."""
        try:
            self._own.make()
            self._folder.mkdir(exist_ok=True)
            ours = [path for path in self._folder.iterdir() if _NAME.fullmatch(path.name)]
            old = sorted(ours, key=lambda path: path.lstat().st_mtime_ns)
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
            "variants": [variant.id for variant in deployment.variants],
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
    without: Mapping[str, str] | None = None,
) -> Ladder:
    """The ladder of ``table`` for this bundle.

    Args:
        threads: which rows, where the table holds several thread counts.
        without: artifacts that must not be used, and why.

    Raises:
        TableError: the table has no row for this bundle's files, or none is left.
    """
    without = without or {}
    plans = deployment.plans
    bound = [row for row in table.rows if row.artifact in plans and row.file_sha256 == plans[row.artifact].key]
    if not bound:
        measured = ", ".join(sorted({f"{row.target} {row.precision}" for row in table.rows})) or "nothing"
        raise TableError(
            f"the table holds {measured}, but no row of this bundle's files for {deployment.target}",
            hint=f"edgeslim bench {deployment.bundle.path} --target {deployment.target} -o TABLE.json",
        )
    # a table may have been taken with other variants beside these, so that it calls them otherwise
    named = [dataclasses.replace(row, label=plans[row.artifact].label) for row in bound]
    kept = tuple(row for row in named if row.artifact not in without)
    if not kept:
        raise TableError(f"everything that was measured is left out: {'; '.join(sorted(set(without.values())))}")
    own = quality(deployment.bundle)
    better = own if table.quality is None or own.metric != MACS else table.quality
    several = len({row.runtime.threads for row in kept}) > 1
    built = ladder(dataclasses.replace(table, rows=kept, quality=better), threads=threads if several else None)
    out = [
        DroppedArtifact(artifact=name, label=plans[name].label, reason=Reason.of("not_loaded", why=reason))
        for name, reason in without.items()
    ]
    return dataclasses.replace(built, dropped=tuple(sorted((*built.dropped, *out), key=lambda item: item.artifact)))
