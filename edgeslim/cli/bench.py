"""``edgeslim bench``: latency tables from real devices, and what can be read from them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import click

from edgeslim.bench.desk import collect, devices
from edgeslim.bench.desk.cells import cells as cells_of
from edgeslim.bench.desk.devices.base import Device
from edgeslim.bench.table import report
from edgeslim.bench.table.compare import Comparison, compare
from edgeslim.bench.table.csv_view import to_csv
from edgeslim.bench.table.table_file import TableFile
from edgeslim.cli.console import WIDTHS, Console, common_options, resolve_widths
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.events import Event, Note, Progress, RowDone, Sink
from edgeslim.core.job import BURST_LIMIT_S, SUSTAINED_RUNS, SUSTAINED_SECONDS, Cell, Job
from edgeslim.core.ladder import Ladder, ladder
from edgeslim.core.latency import LatencyTable
from edgeslim.core.quality import quality
from edgeslim.core.strict_json import BESIDE
from edgeslim.core.width import Width
from edgeslim.errors import EdgeslimError, HostError, TableError, UsageError
from edgeslim.files import check_free, sha256_file, write_atomically

_BURST_RUNS, _BURST_SECONDS = 50, 3.0
_SUSTAINED_LIMIT_S = 600.0


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option("--target", "targets", help="targets to measure, a,b; default: all in the bundle that the device can run")
@click.option("--widths", type=WIDTHS, help="only artifacts of these widths; default: every artifact")
@click.option("--artifact", "artifacts", multiple=True, help="measure exactly this one, by id; may be repeated")
@click.option("--variant", help="only this precision and input of each target (fp16-224)")
@click.option(
    "--device", "names", multiple=True, help="host (default), ssh://user@board[:port], adb[:serial], ios[:udid]"
)
@click.option("--board-python", default="python3", show_default=True, help="ssh: the Python there that has the runtime")
@click.option("--kind", type=click.Choice(["burst", "sustained"]), default="burst", show_default=True)
@click.option("--threads", default="1", show_default=True, help="thread counts, 1,2")
@click.option("--runs", type=int, help=f"least samples per row; default {_BURST_RUNS}, sustained {SUSTAINED_RUNS}")
@click.option(
    "--seconds", type=float, help=f"least seconds per row; default {_BURST_SECONDS:g}, sustained {SUSTAINED_SECONDS:g}"
)
@click.option(
    "--limit", type=float, help=f"most seconds per row; default {BURST_LIMIT_S:g}, sustained {_SUSTAINED_LIMIT_S:g}"
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="of the order in which they take turns",
)
@click.option(
    "--retries",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="how often a disturbed row is measured again",
)
@click.option("--rerun", is_flag=True, help="measure everything twice; rows that do not repeat within 5 % do not count")
@click.option("--cool-wait", type=float, default=300.0, show_default=True, help="seconds to wait for a hot device")
@click.option(
    "--hang-after",
    type=float,
    default=60.0,
    show_default=True,
    help="seconds of silence after which a runtime counts as hung",
)
@click.option(
    "--prior", type=click.Path(path_type=Path), help="another device's table: time two artifacts here and scale it"
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="the table, written after every row")
@click.option("--resume", is_flag=True, help="go on with the table at --out: measure only what it lacks")
@click.option("--overwrite", is_flag=True, help="replace files that are there")
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="write the rows as CSV too")
@click.option("--plots", type=click.Path(path_type=Path), help="write pictures (PNG) into this folder")
@click.option("--show", type=click.Path(path_type=Path), help="show a table that was measured before")
@click.option(
    "--compare", "pair", type=(click.Path(path_type=Path), click.Path(path_type=Path)), help="compare two tables"
)
@click.option("--anyway", is_flag=True, help="with --compare: also other files, other kinds")
@common_options
def command(
    *,
    console: Console,
    bundle: Path | None,
    show: Path | None,
    pair: tuple[Path, Path] | None,
    anyway: bool,
    csv_path: Path | None,
    plots: Path | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Measure every artifact of BUNDLE on a device, or --show or --compare tables."""
    if (bundle is not None) + (show is not None) + (pair is not None) != 1:
        raise UsageError(
            "give a bundle, or --show TABLE, or --compare A B", hint="edgeslim bench us_mbv2.slim -o table.json"
        )
    if csv_path is not None:
        check_free(csv_path, overwrite=overwrite or options["resume"])
    if pair is not None:
        _compare(console, pair, anyway)
        return
    if bundle is None:
        assert show is not None
        table, trouble = LatencyTable.read(show), None
    else:
        table, trouble = _measure(console, bundle, overwrite=overwrite, **options)
    if trouble is not None and console.as_json:
        raise trouble  # one document only; what was measured is in the table
    _present(console, table, csv_path, plots, overwrite=overwrite or options["resume"])
    if trouble is not None:
        raise trouble
    if bundle is not None and options["out"] is not None:
        console.next_commands(
            f"edgeslim bench --show {options['out']} --plots plots", f"edgeslim simulate {options['out']}"
        )


# showing


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareReport:
    """What ``bench --compare A B`` found."""

    a: Path
    """The first table."""
    b: Path
    """The second."""
    found: Comparison = field(metadata=BESIDE)
    """Rows of both, and what only one has."""


def _compare(console: Console, pair: tuple[Path, Path], anyway: bool) -> None:
    found = compare(LatencyTable.read(pair[0]), LatencyTable.read(pair[1]), anyway=anyway)
    for name, rows in ((pair[0], found.only_a), (pair[1], found.only_b)):
        if rows:
            console.say(f"only in {name}: {', '.join(rows)}")
    compared = CompareReport(a=pair[0], b=pair[1], found=found)
    console.result(compared, report.comparison_view(found, pair[0].stem, pair[1].stem))


def _present(
    console: Console, table: LatencyTable, csv_path: Path | None, plots: Path | None, *, overwrite: bool
) -> None:
    ladders = _ladders(console, table)
    if csv_path is not None:
        with write_atomically(csv_path, overwrite=overwrite) as file:
            file.write(to_csv(table).encode())
        console.say(f"wrote {csv_path}")
    if plots is not None:
        from edgeslim.bench.table.plots import write_plots

        for path in write_plots(table, ladders, plots, overwrite=overwrite):
            console.say(f"wrote {path}")
    console.result(table, report.table_view(table, ladders))


def _ladders(console: Console, table: LatencyTable) -> dict[str, Ladder]:
    """By line: the ladder of its target and thread count, over all precisions and inputs, if there are burst rows."""
    found: dict[str, Ladder] = {}
    for row in table.rows:
        name = report.line_name(row)
        if name in found or row.kind == "sustained":
            continue
        try:
            found[name] = ladder(
                table, target=row.target, threads=row.runtime.threads, device=row.device.model, context=row.context
            )
        except TableError as error:
            console.detail(f"no ladder for {name}: {error}")
    return found


# measuring


def _measure(
    console: Console,
    path: Path,
    *,
    targets: str | None,
    widths: str | None,
    artifacts: Sequence[str],
    variant: str | None,
    names: Sequence[str],
    board_python: str,
    threads: str,
    rerun: bool,
    prior: Path | None,
    out: Path | None,
    resume: bool,
    overwrite: bool,
    **settings: Any,
) -> tuple[LatencyTable, EdgeslimError | None]:
    """All devices one after the other; the first error comes back with what was measured."""
    if widths is not None and artifacts:
        raise UsageError("--widths and --artifact exclude each other", hint="an id names its width already")
    if resume and out is None:
        raise UsageError("--resume needs the table to go on with", hint="name it with -o TABLE.json")
    options = devices.DeviceOptions(board_python=board_python)
    chosen = [devices.get(name, options) for name in names or ("host",)]
    counts = _threads(threads)
    with SlimBundle.open(path) as bundle:
        bundle.check()
        asked: dict[str, Any] = {
            "targets": targets, "widths": widths, "artifacts": artifacts, "threads": counts, "variant": variant,
        }  # fmt: skip
        plans = [(device, _cells(console, bundle, device, **asked)) for device in chosen]
        worth = quality(bundle)
    digest = sha256_file(path)
    known = None if prior is None else LatencyTable.read(prior)
    files = [
        TableFile(_own_path(out, device, len(chosen)), quality=worth, overwrite=overwrite, resume=resume)
        for device in chosen
    ]
    trouble: EdgeslimError | None = None
    for (device, cells), file in zip(plans, files, strict=True):
        job = _job(cells, digest, **settings)
        try:
            with _watching(console, job) as watch:
                if known is None:
                    collect.measure(device, job, path, file, rerun=rerun, watch=watch)
                else:
                    console.say(collect.measure_prior(device, job, path, known, file, watch))
        except KeyboardInterrupt:
            if out is not None and file.table.rows:
                console.warn(f"stopped; {len(file.table.rows)} finished rows are in the table, --resume goes on")
            raise
        except EdgeslimError as error:
            if not file.table.rows and len(chosen) == 1:
                raise
            if trouble is not None:
                console.warn(f"{device.name}: {error}")
            trouble = trouble or error
    tables = [file.table for file in files]
    return _joined(tables), trouble


def _cells(
    console: Console,
    bundle: SlimBundle,
    device: Device,
    *,
    targets: str | None,
    widths: str | None,
    artifacts: Sequence[str],
    threads: Sequence[int],
    variant: str | None,
) -> tuple[Cell, ...]:
    there = sorted({found.target for found in bundle.manifest.variants})
    asked = there if targets is None else [_target(name) for name in targets.split(",")]
    runnable = device.runnable(asked)
    left = [name for name in asked if name not in runnable]
    if left and targets is not None:
        raise HostError(f"{', '.join(left)} cannot be measured on {device.name}: its runtime is not there")
    if left:
        console.say(f"left out on {device.name}: {', '.join(left)} (its runtime is not there)")
    range_ = Width(bundle.manifest.low), Width(bundle.manifest.high)
    wanted = None if widths is None else resolve_widths(widths, range_)
    return cells_of(
        bundle, runnable, widths=wanted, artifacts=tuple(artifacts) or None, threads=threads, variant=variant
    )


def _target(name: str) -> str:
    from edgeslim import targets

    return targets.get(name.strip()).info.name


def _threads(text: str) -> tuple[int, ...]:
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise UsageError(f"cannot read threads {text!r}", hint="write counts like 1,2") from None
    if counts[0] < 1:
        raise UsageError(f"cannot use {counts[0]} threads: at least 1")
    return tuple(counts)


def _own_path(out: Path | None, device: Device, devices_asked: int) -> Path | None:
    """``table.json``, or with several devices ``table-<device>.json``."""
    if out is None or devices_asked == 1:
        return out
    name = "".join(char if char.isalnum() else "-" for char in device.name)
    return out.with_name(f"{out.stem}-{name}{out.suffix}")


def _job(
    cells: tuple[Cell, ...],
    digest: str,
    *,
    kind: Literal["burst", "sustained"],
    runs: int | None,
    seconds: float | None,
    limit: float | None,
    seed: int,
    retries: int,
    cool_wait: float,
    hang_after: float,
) -> Job:
    burst = kind == "burst"
    default_runs, default_seconds = (_BURST_RUNS, _BURST_SECONDS) if burst else (SUSTAINED_RUNS, SUSTAINED_SECONDS)
    default_limit = BURST_LIMIT_S if burst else max(_SUSTAINED_LIMIT_S, 2 * (seconds or 0.0))
    seconds = default_seconds if seconds is None else seconds
    limit = default_limit if limit is None else limit
    if burst and max(seconds, limit) > BURST_LIMIT_S:
        raise UsageError(f"a burst is at most {BURST_LIMIT_S:g} s per artifact", hint="--kind sustained")
    return Job(
        kind=kind,
        cells=cells,
        bundle_sha256=digest,
        runs=default_runs if runs is None else runs,
        seconds=seconds,
        limit_s=limit,
        seed=seed,
        retries=retries,
        cool_wait_s=cool_wait,
        hang_s=hang_after,
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


@contextlib.contextmanager
def _watching(console: Console, job: Job) -> Iterator[Sink]:
    """Shows events; drawn only when one comes, because a thread that redraws would disturb the measuring."""
    bar = console.progress("left")
    bar.live.auto_refresh = False
    with bar:
        task = bar.add_task("starting", total=len(job.cells), left="")

        def watch(event: Event) -> None:
            match event:
                case Progress():
                    left = f"{event.left_s:.0f} s left"
                    bar.update(task, description=event.doing, completed=event.done, total=event.of, left=left)
                    bar.refresh()
                case RowDone():
                    console.say(report.row_line(event.row))
                case Note():
                    console.say(event.text)

        yield watch
