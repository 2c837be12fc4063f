"""From what an app says to a session that can run: bundle, target, cache, table, ladder.

bundle, target ─► Deployment ─► ArtifactPool ◄─ caches, journal
                                    │
table given / stored / measured ────┴─► Ladder without what crashed lately
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import platformdirs

from edgeslim import targets
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.ladder import Ladder
from edgeslim.core.latency import LatencyTable
from edgeslim.core.policy import Policy, preset
from edgeslim.core.prior import scale_prior
from edgeslim.errors import EdgeslimError, HostError, MissingExtraError, OutputError, TableError, UsageError
from edgeslim.host import machine
from edgeslim.runtime.cache import DEFAULT_BYTES, ArtifactCache
from edgeslim.runtime.deployment import Deployment
from edgeslim.runtime.events import EventLog
from edgeslim.runtime.journal import LoadJournal
from edgeslim.runtime.loading import FrameGate
from edgeslim.runtime.measure import GapMeasurement, Measurement, candidates, measure_now
from edgeslim.runtime.own_folder import OwnFolder, SpareFolder
from edgeslim.runtime.pool import ArtifactPool
from edgeslim.runtime.signals import Listener, Readings, listen
from edgeslim.runtime.tables import TableStore, prior_of, rungs
from edgeslim.targets import runtimes
from edgeslim.targets.base import Target
from edgeslim.targets.info import TargetInfo

FirstUse = Literal["now", "gaps"]
_MAX_THREADS = 4


@dataclass(slots=True, kw_only=True, eq=False)
class Opened:
    """What a session stands on. ``refined`` is a better ladder, once the gaps have brought it."""

    deployment: Deployment
    pool: ArtifactPool
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
    variants: Sequence[str] | None,
    first_use: FirstUse,
    cache_bytes: int | None,
    readings: Readings,
    gate: FrameGate,
    events: EventLog,
) -> Opened:
    """Everything ``SlimSession`` needs; its docstring says what is raised."""
    owns_bundle = not isinstance(bundle, SlimBundle)
    opened = bundle if isinstance(bundle, SlimBundle) else SlimBundle.open(bundle)
    pool: ArtifactPool | None = None
    deployment: Deployment | None = None
    try:
        runtime = _runtime(opened, target)
        deployment = Deployment.of(opened, runtime.info.name, variants)
        path = Path(table) if isinstance(table, str | Path) else None
        table = LatencyTable.read(path) if path is not None else cast(LatencyTable | None, table)
        threads = threads or _threads(table)
        own = OwnFolder(Path(cache_dir) if cache_dir is not None else default_cache_dir())
        journal = LoadJournal(own)
        folders = (own, SpareFolder())
        pool = ArtifactPool(
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
        return runtimes.imported(target)
    if target is not None:
        target.info.ensure_available(exporting=False)
        return target
    there = {variant.target for variant in bundle.manifest.variants}
    refusal: EdgeslimError = UsageError(f"{bundle.path} holds nothing that runs here: {', '.join(sorted(there))}")
    known: list[TargetInfo] = []
    for name in sorted(there):
        with contextlib.suppress(UsageError):  # a target of a package that is not installed here
            known.append(targets.get(name).info)
    for info in sorted(known, key=lambda info: (info.runs_here, info.preference), reverse=True):
        try:
            return runtimes.imported(info.name)
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


def left_out(deployment: Deployment, journal: LoadJournal, events: EventLog) -> Mapping[str, str]:
    """Artifacts that have crashed processes while loading, by the journal's rule; the narrowest is never among them."""
    crashed = journal.left_out()
    narrowest = next(iter(deployment.plans))
    reasons = {
        artifact: f"loading it has crashed a process {crashed[plan.key].count} times lately"
        for artifact, plan in deployment.plans.items()
        if plan.key in crashed and artifact != narrowest
    }
    for artifact, reason in reasons.items():
        events.add("left-out", reason, deployment.plans[artifact])
    return reasons


@dataclass(slots=True, kw_only=True)
class _Opening:
    """Where the table comes from."""

    deployment: Deployment
    pool: ArtifactPool
    gate: FrameGate
    events: EventLog
    store: TableStore
    threads: int
    without: Mapping[str, str]

    def table(self, given: LatencyTable | None, first_use: FirstUse) -> tuple[LatencyTable, Measurement | None]:
        """The table to begin with, and what has been measured if the rest is to be measured in the gaps."""
        if given is not None:
            return given, None
        stored = self.store.load(self.deployment, self.threads)
        if stored is not None and self._usable(stored):
            self.events.add("table", "the table measured here before")
            return stored, None
        wanted = [artifact for artifact in candidates(self.deployment) if artifact not in self.without]
        if first_use == "now":
            found = self._measure(wanted)
            table = found.table()
            self._save(table)
            return table, None
        found = self._measure([wanted[0], *wanted[1:][-1:]])
        prior = prior_of(self.deployment)
        table = found.table() if prior is None else self._scaled(prior, found) or found.table()
        return table, found

    def gap_measurement(self, found: Measurement, opened: Opened) -> GapMeasurement | None:
        missing = [
            artifact
            for artifact in candidates(self.deployment)
            if artifact not in found.samples and artifact not in self.without
        ]

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

    def _measure(self, artifacts: list[str]) -> Measurement:
        self.events.add("table", f"measuring {len(artifacts)} artifacts on this device")
        found = measure_now(self.pool, self.deployment, artifacts, threads=self.threads)
        if not found.samples:
            if self.pool.refusal is not None:
                raise self.pool.refusal
            plans, failures = self.deployment.plans, self.pool.take_failures()
            reasons = "; ".join(f"{plans[artifact].label}: {reason}" for artifact, reason in failures)
            raise HostError(f"no artifact of {self.deployment.bundle.path} can be loaded here ({reasons})")
        return found

    def _save(self, table: LatencyTable) -> None:
        try:
            self.store.save(table, self.deployment, self.threads)
        except OutputError as error:
            self.events.add("cache", f"{error.message}; it will be measured again next time")

    def _scaled(self, prior: LatencyTable, found: Measurement) -> LatencyTable | None:
        """Another device's table at this one's speed; None where it does not fit this bundle."""
        target = self.deployment.target
        row = found.table().rows[0]
        there = {row.artifact for row in prior.select(target=target)}
        try:
            scaled = scale_prior(
                prior,
                {artifact: ms for artifact, ms in found.here_ms().items() if artifact in there},
                device=machine.device(),
                os=machine.operating_system(),
                runtime=row.runtime,
                created_at=row.started_at,
                target=target,
            )
            rungs(scaled, self.deployment, threads=self.threads, without=self.without)
        except TableError:
            return None
        return scaled
