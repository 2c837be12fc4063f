"""``edgeslim.benchmark``: latency tables from real devices."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeslim.benchmark.desk import collect, devices
from edgeslim.benchmark.desk.cells import cells as cells_of
from edgeslim.benchmark.desk.devices.base import Device
from edgeslim.benchmark.table.table_file import TableFile
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.events import Event, Sink
from edgeslim.core.job import BURST_LIMIT_S, SUSTAINED_RUNS, SUSTAINED_SECONDS, Cell, Job
from edgeslim.core.latency import LatencyTable
from edgeslim.core.quality import quality
from edgeslim.core.width import Width, parse_widths
from edgeslim.errors import EdgeslimError, HostError, UsageError
from edgeslim.files import sha256_file
from edgeslim.verbs.words import LOGGED, Words

BURST_RUNS, BURST_SECONDS = 50, 3.0
SUSTAINED_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """``targets`` (None: all in the bundle that the device can run), ``widths`` as text, ``artifacts`` by id,
    ``variant``: what to measure; ``devices``: ``host``, ``ssh://user@board``, ``adb``, ``ios``; ``threads``: a row for
    each; ``runs``, ``seconds``: least per row, ``limit``: most seconds per row (None: those of the kind); ``rerun``:
    all of it twice; ``cool_wait``, ``hang_after``: seconds; ``prior``: another device's table, to be scaled; ``out``:
    the table, written after every row; ``resume``: measure only what it lacks."""

    targets: tuple[str, ...] | None = None
    widths: str | None = None
    artifacts: tuple[str, ...] = ()
    variant: str | None = None
    devices: tuple[str, ...] = ("host",)
    board_python: str = "python3"
    kind: Literal["burst", "sustained"] = "burst"
    threads: tuple[int, ...] = (1,)
    runs: int | None = None
    seconds: float | None = None
    limit: float | None = None
    seed: int = 0
    retries: int = 1
    rerun: bool = False
    cool_wait: float = 300.0
    hang_after: float = 60.0
    prior: Path | None = None
    out: Path | None = None
    resume: bool = False
    overwrite: bool = False


Watching = Callable[[Job], AbstractContextManager[Sink]]


def _silent(job: Job) -> AbstractContextManager[Sink]:
    def watch(event: Event) -> None:
        """Nobody looks."""

    return contextlib.nullcontext(watch)


def bench(
    bundle: str | Path,
    options: BenchOptions = BenchOptions(),
    *,
    words: Words = LOGGED,
    watching: Watching = _silent,
) -> LatencyTable:
    """Measure every artifact of ``bundle`` on a device, or on several, one after the other.

    Raises:
        FormatError: it is no bundle.
        DeviceError, HostError: no such device, it went away, or it cannot run a target that was asked for; what was
            measured before is in ``out``.
        UsageError: options that do not go together.
    """
    table, trouble = measured(Path(bundle), options, words=words, watching=watching)
    if trouble is not None:
        raise trouble
    return table


def measured(
    path: Path, options: BenchOptions, *, words: Words, watching: Watching
) -> tuple[LatencyTable, EdgeslimError | None]:
    """All devices one after the other; the first error comes back with what was measured."""
    o = options
    if o.widths is not None and o.artifacts:
        raise UsageError("--widths and --artifact exclude each other", hint="an id names its width already")
    if o.resume and o.out is None:
        raise UsageError("--resume needs the table to go on with", hint="name it with -o TABLE.json")
    chosen = [devices.get(name, devices.DeviceOptions(board_python=o.board_python)) for name in o.devices]
    with SlimBundle.open(path) as bundle:
        bundle.check()
        plans = [(device, _cells(bundle, device, o, words)) for device in chosen]
        worth = quality(bundle)
    digest = sha256_file(path)
    known = None if o.prior is None else LatencyTable.read(o.prior)
    files = [
        TableFile(_own_path(o.out, device, len(chosen)), quality=worth, overwrite=o.overwrite, resume=o.resume)
        for device in chosen
    ]
    trouble: EdgeslimError | None = None
    for (device, cells), file in zip(plans, files, strict=True):
        job = _job(cells, digest, o)
        try:
            with watching(job) as watch:
                if known is None:
                    collect.measure(device, job, path, file, rerun=o.rerun, watch=watch)
                else:
                    words.say(collect.measure_prior(device, job, path, known, file, watch))
        except KeyboardInterrupt:
            if o.out is not None and file.table.rows:
                words.warn(f"stopped; {len(file.table.rows)} finished rows are in the table, --resume goes on")
            raise
        except EdgeslimError as error:
            if not file.table.rows and len(chosen) == 1:
                raise
            if trouble is not None:
                words.warn(f"{device.name}: {error}")
            trouble = trouble or error
    return _joined([file.table for file in files]), trouble


def _cells(bundle: SlimBundle, device: Device, o: BenchOptions, words: Words) -> tuple[Cell, ...]:
    there = sorted({found.target for found in bundle.manifest.variants})
    asked = there if o.targets is None else [_target(name) for name in o.targets]
    runnable = device.runnable(asked)
    left = [name for name in asked if name not in runnable]
    if left and o.targets is not None:
        raise HostError(f"{', '.join(left)} cannot be measured on {device.name}: its runtime is not there")
    if left:
        words.say(f"left out on {device.name}: {', '.join(left)} (its runtime is not there)")
    range_ = Width(bundle.manifest.low), Width(bundle.manifest.high)
    wanted = None if o.widths is None else parse_widths(o.widths, trained=range_)
    return cells_of(
        bundle, runnable, widths=wanted, artifacts=o.artifacts or None, threads=o.threads, variant=o.variant
    )


def _target(name: str) -> str:
    from edgeslim import targets

    return targets.get(name.strip()).info.name


def _own_path(out: Path | None, device: Device, devices_asked: int) -> Path | None:
    """``table.json``, or with several devices ``table-<device>.json``."""
    if out is None or devices_asked == 1:
        return out
    name = "".join(char if char.isalnum() else "-" for char in device.name)
    return out.with_name(f"{out.stem}-{name}{out.suffix}")


def _job(cells: tuple[Cell, ...], digest: str, o: BenchOptions) -> Job:
    burst = o.kind == "burst"
    default_runs, default_seconds = (BURST_RUNS, BURST_SECONDS) if burst else (SUSTAINED_RUNS, SUSTAINED_SECONDS)
    default_limit = BURST_LIMIT_S if burst else max(SUSTAINED_LIMIT_S, 2 * (o.seconds or 0.0))
    seconds = default_seconds if o.seconds is None else o.seconds
    limit = default_limit if o.limit is None else o.limit
    if burst and max(seconds, limit) > BURST_LIMIT_S:
        raise UsageError(f"a burst is at most {BURST_LIMIT_S:g} s per artifact", hint="--kind sustained")
    return Job(
        kind=o.kind,
        cells=cells,
        bundle_sha256=digest,
        runs=default_runs if o.runs is None else o.runs,
        seconds=seconds,
        limit_s=limit,
        seed=o.seed,
        retries=o.retries,
        cool_wait_s=o.cool_wait,
        hang_s=o.hang_after,
    )


def _joined(tables: Sequence[LatencyTable]) -> LatencyTable:
    first = tables[0]
    rows = tuple(row for table in tables for row in table.rows)
    return LatencyTable(
        edgeslim_version=first.edgeslim_version,
        created_at=first.created_at,
        quality=first.quality,
        prior=first.prior,
        rows=rows,
    )
