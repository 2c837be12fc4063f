"""Which latencies a session reckons with, and the ladder it climbs.

table given ──────────────────────┐
stored for this device and bundle ┼─► rows of this bundle's files ─► ladder, without widths that crashed lately
measured now (measure.py) ────────┘
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from edgeslim.core.ladder import DroppedWidth, Ladder, ladder
from edgeslim.core.latency import PRIOR, LatencyTable
from edgeslim.core.strict_json import canonical, encode
from edgeslim.core.width import Width
from edgeslim.core.worth import quality
from edgeslim.errors import OutputError, TableError
from edgeslim.host import machine
from edgeslim.runtime.deployment import Deployment
from edgeslim.runtime.own_folder import OwnFolder

MACS = "macs"
"""The metric of a quality that multiply-adds stand in for."""
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
    rows = [row for row in mine if row.width in deployment.plans]
    bound = [row for row in rows if row.file_sha256 == deployment.plans[row.width].key]
    if not bound:
        measured = ", ".join(sorted({f"{row.target} {row.precision}" for row in table.rows})) or "nothing"
        wanted = f"{variant.target} {variant.precision}"
        raise TableError(
            f"the table holds {measured}, but no row of this bundle's files for {wanted}",
            hint=f"edgeslim bench {deployment.bundle.path} --target {variant.target} -o TABLE.json",
        )
    kept = tuple(row for row in bound if row.width not in without)
    if not kept:
        raise TableError(f"every measured width is left out: {'; '.join(sorted(set(without.values())))}")
    own = quality(deployment.bundle)
    better = own if table.quality is None or own.metric != MACS else table.quality
    counts = {row.runtime.threads for row in kept}  # what runtimes use, which may differ from what they were asked
    chosen = threads if len(counts) > 1 else None
    built = ladder(dataclasses.replace(table, rows=kept, quality=better), threads=chosen)
    out = [DroppedWidth(width=width, reason=reason) for width, reason in without.items()]
    return dataclasses.replace(built, dropped=tuple(sorted((*built.dropped, *out), key=lambda item: item.width)))
