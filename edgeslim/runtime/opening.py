"""From what an app says to a session that can run: bundle, target, cache, table, ladder.

bundle, target ─► Deployment ─► WidthPool ◄─ caches, journal
                                    │
table given / stored / measured ────┴─► Ladder without widths that crashed lately
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import platformdirs

from edgeslim import targets
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.ladder import Ladder, scale_prior
from edgeslim.core.latency import LatencyTable
from edgeslim.core.policy import Policy, preset
from edgeslim.core.width import Width
from edgeslim.errors import EdgeslimError, HostError, MissingExtraError, OutputError, TableError, UsageError
from edgeslim.host import machine
from edgeslim.runtime.cache import DEFAULT_BYTES, ArtifactCache
from edgeslim.runtime.deployment import Deployment
from edgeslim.runtime.events import EventLog
from edgeslim.runtime.journal import LoadJournal
from edgeslim.runtime.loading import FrameGate
from edgeslim.runtime.measure import GapMeasurement, Measurement, candidates, measure_now
from edgeslim.runtime.own_folder import OwnFolder, SpareFolder
from edgeslim.runtime.pool import WidthPool
from edgeslim.runtime.signals import Listener, Readings, listen
from edgeslim.runtime.tables import TableStore, prior_of, rungs
from edgeslim.targets import runtimes
from edgeslim.targets.base import Target

FirstUse = Literal["now", "gaps"]
_PREFERRED = ("litert", "executorch", "coreml")
_MAX_THREADS = 4


@dataclass(slots=True, kw_only=True, eq=False)
class Opened:
    """What a session stands on. ``refined`` is a better ladder, once the gaps have brought it."""

    deployment: Deployment
    pool: WidthPool
    policy: Policy
    table: LatencyTable
    ladder: Ladder
    table_path: Path | None
    signals: Listener
    owns_bundle: bool
    gaps: GapMeasurement | None = None
    refined: Ladder | None = None

    def close(self) -> None:
        self.signals.close()
        self.pool.close()
        self.deployment.close()
        if self.owns_bundle:
            self.deployment.bundle.close()


def open_session(
    bundle: SlimBundle | str | Path,
    target: str | Target | None,
    table: LatencyTable | str | Path | None,
    policy: Policy | str | None,
    cache_dir: str | Path | None,
    *,
    max_loaded: int,
    threads: int | None,
    variant: str | None,
    first_use: FirstUse,
    cache_bytes: int | None,
    readings: Readings,
    gate: FrameGate,
    events: EventLog,
) -> Opened:
    """Everything ``SlimSession`` needs; its docstring says what is raised."""
    owns_bundle = not isinstance(bundle, SlimBundle)
    opened = bundle if isinstance(bundle, SlimBundle) else SlimBundle.open(bundle)
    pool: WidthPool | None = None
    deployment: Deployment | None = None
    try:
        runtime = _runtime(opened, target)
        deployment = Deployment.of(opened, runtime.name, variant)
        path = Path(table) if isinstance(table, str | Path) else None
        table = LatencyTable.read(path) if path is not None else cast(LatencyTable | None, table)
        threads = threads or _threads(table)
        own = OwnFolder(Path(cache_dir) if cache_dir is not None else default_cache_dir())
        journal = LoadJournal(own)
        folders = (own, SpareFolder())
        pool = WidthPool(
            deployment,
            runtime,
            caches=tuple(ArtifactCache(folder, max_bytes=cache_bytes or DEFAULT_BYTES) for folder in folders),
            journal=journal,
            threads=threads,
            max_loaded=max_loaded,
            gate=gate,
            events=events,
        )
        opening = _Opening(
            deployment=deployment,
            pool=pool,
            gate=gate,
            events=events,
            store=TableStore(own),
            threads=threads,
            without=left_out(deployment, journal, events),
        )
        found, gaps = opening.table(table, first_use if max_loaded > 1 else "now")
        result = Opened(
            deployment=deployment,
            pool=pool,
            policy=_policy(policy, opened),
            table=found,
            table_path=path if table is not None else opening.store.path(deployment, threads),
            ladder=rungs(found, deployment, threads=threads, without=opening.without),
            signals=listen(readings, gate),
            owns_bundle=owns_bundle,
        )
        if gaps is not None:
            result.gaps = opening.gap_measurement(gaps, result)
        return result
    except BaseException:
        if pool is not None:
            pool.close()
        if deployment is not None:
            deployment.close()
        if owns_bundle:
            opened.close()
        raise


def default_cache_dir() -> Path:
    return Path(platformdirs.user_cache_dir("edgeslim"))


def _runtime(bundle: SlimBundle, target: str | Target | None) -> Target:
    """The target, its runtime imported already: that takes seconds and is no part of a load.

    Raises:
        UsageError: no such target. MissingExtraError: it is not installed.
    """
    if isinstance(target, str):
        return cast(Target, runtimes.imported(targets.get(target).name))
    if target is not None:
        target.ensure_available(exporting=False)
        return target
    there = {variant.target for variant in bundle.manifest.variants}
    refusal: EdgeslimError = UsageError(f"{bundle.path} holds nothing that runs here: {', '.join(sorted(there))}")
    for name in _PREFERRED:
        if name in there:
            try:
                return cast(Target, runtimes.imported(name))
            except MissingExtraError as error:
                refusal = error
    raise refusal


def _threads(table: LatencyTable | None) -> int:
    """Those of the table where it has one count only; else up to four of the machine's cores."""
    counts = {row.runtime.threads for row in table.rows} if table is not None else set()
    return counts.pop() if len(counts) == 1 else min(os.cpu_count() or 1, _MAX_THREADS)


def _policy(policy: Policy | str | None, bundle: SlimBundle) -> Policy:
    if isinstance(policy, Policy):
        return policy
    if policy is None and bundle.manifest.policy is not None:
        return Policy.from_document(bundle.manifest.policy)
    return preset(policy or "balanced")


def left_out(deployment: Deployment, journal: LoadJournal, events: EventLog) -> Mapping[Width, str]:
    """Widths that have crashed a process while loading, by the journal's rule; the narrowest is never among them."""
    crashed = journal.left_out()
    narrowest = min(deployment.plans)
    reasons = {
        width: f"loading it has crashed a process {crashed[plan.key].count} times lately"
        for width, plan in deployment.plans.items()
        if plan.key in crashed and width != narrowest
    }
    for width, reason in reasons.items():
        events.add("left-out", reason, width)
    return reasons


@dataclass(slots=True, kw_only=True)
class _Opening:
    """Where the table comes from."""

    deployment: Deployment
    pool: WidthPool
    gate: FrameGate
    events: EventLog
    store: TableStore
    threads: int
    without: Mapping[Width, str]

    def table(self, given: LatencyTable | None, first_use: FirstUse) -> tuple[LatencyTable, Measurement | None]:
        """The table to begin with, and what has been measured if the rest is to be measured in the gaps."""
        if given is not None:
            return given, None
        stored = self.store.load(self.deployment, self.threads)
        if stored is not None and self._usable(stored):
            self.events.add("table", "the table measured here before")
            return stored, None
        widths = [width for width in candidates(self.deployment) if width not in self.without]
        if first_use == "now":
            found = self._measure(widths)
            table = found.table()
            self._save(table)
            return table, None
        found = self._measure([widths[0], *widths[1:][-1:]])
        prior = prior_of(self.deployment)
        table = found.table() if prior is None else self._scaled(prior, found) or found.table()
        return table, found

    def gap_measurement(self, found: Measurement, opened: Opened) -> GapMeasurement | None:
        missing = [w for w in candidates(self.deployment) if w not in found.samples and w not in self.without]

        def done(measured: Measurement) -> None:
            opened.table = measured.table()
            self._save(opened.table)
            opened.refined = rungs(opened.table, self.deployment, threads=self.threads, without=self.without)

        return GapMeasurement(found, self.pool, self.gate, missing, done=done) if missing else None

    def _usable(self, table: LatencyTable) -> bool:
        try:
            rungs(table, self.deployment, threads=self.threads, without=self.without)
        except TableError:
            return False
        return True

    def _measure(self, widths: list[Width]) -> Measurement:
        self.events.add("table", f"measuring {len(widths)} widths on this device")
        found = measure_now(self.pool, self.deployment, widths)
        if not found.samples:
            if self.pool.refusal is not None:
                raise self.pool.refusal
            reasons = "; ".join(f"{width}: {reason}" for width, reason in self.pool.take_failures())
            raise HostError(f"no width of {self.deployment.bundle.path} can be loaded here ({reasons})")
        return found

    def _save(self, table: LatencyTable) -> None:
        try:
            self.store.save(table, self.deployment, self.threads)
        except OutputError as error:
            self.events.add("cache", f"{error.message}; it will be measured again next time")

    def _scaled(self, prior: LatencyTable, found: Measurement) -> LatencyTable | None:
        """Another device's table at this one's speed; None where it does not fit this bundle."""
        variant = self.deployment.variant
        row = found.table().rows[0]
        here_ms = found.here_ms()
        there = {row.width for row in prior.select(target=variant.target, precision=variant.precision)}
        try:
            scaled = scale_prior(
                prior,
                {width: ms for width, ms in here_ms.items() if width in there},
                device=machine.device(),
                os=machine.operating_system(),
                runtime=row.runtime,
                created_at=row.started_at,
                target=variant.target,
                precision=variant.precision,
            )
            rungs(scaled, self.deployment, threads=self.threads, without=self.without)
        except TableError:
            return None
        return scaled
