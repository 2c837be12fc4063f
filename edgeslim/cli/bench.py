"""``edgeslim bench``: latency tables from real devices, and what can be read from them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from edgeslim.benchmark.table import report
from edgeslim.benchmark.table.compare import Comparison, compare
from edgeslim.benchmark.table.csv_import import read_csv
from edgeslim.benchmark.table.csv_view import to_csv
from edgeslim.benchmark.table.plots import PICTURES, write_plots
from edgeslim.cli.console import WIDTHS, Console, common_options
from edgeslim.cli.next_step import fresh, one_line_of, step
from edgeslim.cli.option_types import PATH, SEED, Number, Whole, Wholes
from edgeslim.core.events import Event, Note, Progress, RowDone, Sink
from edgeslim.core.job import BURST_LIMIT_S, SUSTAINED_RUNS, SUSTAINED_SECONDS, Job
from edgeslim.core.ladder import Ladder, ladder
from edgeslim.core.latency import LatencyTable
from edgeslim.core.strict_json import BESIDE
from edgeslim.errors import TableError, UsageError
from edgeslim.files import check_folder, check_free, write_atomically
from edgeslim.verbs.bench import BURST_RUNS, BURST_SECONDS, SUSTAINED_LIMIT_S, BenchOptions, measured, table_paths

_TIME = Number(0, 86_400)


@click.command()
@click.argument("bundle", type=PATH, required=False)
@click.option("--target", "targets", help="targets to measure, a,b; default: all in the bundle that the device can run")
@click.option("--widths", type=WIDTHS, help="only artifacts of these widths; default: every artifact")
@click.option("--artifact", "artifacts", multiple=True, help="measure exactly this one, by id; may be repeated")
@click.option("--variant", help="only this precision and input of each target (fp16-224)")
@click.option(
    "--device", "names", multiple=True, help="host (default), ssh://user@board[:port], adb[:serial], ios[:udid]"
)
@click.option("--board-python", default="python3", show_default=True, help="ssh: the Python there that has the runtime")
@click.option("--kind", type=click.Choice(["burst", "sustained"]), default="burst", show_default=True)
@click.option("--threads", type=Wholes(1, 1024), default="1", show_default=True, help="thread counts, 1,2")
@click.option(
    "--runs",
    type=Whole(1, 10_000_000),
    help=f"least samples per row; default {BURST_RUNS}, sustained {SUSTAINED_RUNS}",
)
@click.option(
    "--seconds",
    type=_TIME,
    help=f"least seconds per row; default {BURST_SECONDS:g}, sustained {SUSTAINED_SECONDS:g}",
)
@click.option(
    "--limit",
    type=_TIME,
    help=f"most seconds per row; default {BURST_LIMIT_S:g}, sustained {SUSTAINED_LIMIT_S:g}",
)
@click.option(
    "--seed",
    type=SEED,
    default=0,
    show_default=True,
    help="of the order in which they take turns",
)
@click.option(
    "--retries",
    type=Whole(0, 100),
    default=1,
    show_default=True,
    help="how often a disturbed row is measured again",
)
@click.option("--rerun", is_flag=True, help="measure everything twice; rows that do not repeat within 5 % do not count")
@click.option("--cool-wait", type=_TIME, default=300.0, show_default=True, help="seconds to wait for a hot device")
@click.option(
    "--hang-after",
    type=Number(1, 86_400),
    default=60.0,
    show_default=True,
    help="seconds of silence after which a runtime counts as hung",
)
@click.option("--prior", type=PATH, help="another device's table: time two artifacts here and scale it")
@click.option("-o", "--out", type=PATH, help="the table, written after every row")
@click.option("--resume", is_flag=True, help="go on with the table at --out: measure only what it lacks")
@click.option("--overwrite", is_flag=True, help="replace files that are there")
@click.option("--csv", "csv_path", type=PATH, help="write the rows as CSV too")
@click.option("--plots", type=PATH, help="write pictures (PNG) into this folder")
@click.option("--show", type=PATH, help="show a table that was measured before")
@click.option(
    "--import", "foreign", type=PATH, help="a CSV of other people's measurements, as a table: width,latency_ms,top1"
)
@click.option("--compare", "pair", type=(PATH, PATH), help="compare two tables")
@click.option("--anyway", is_flag=True, help="with --compare: also other files, other kinds")
@common_options
def command(
    *,
    console: Console,
    bundle: Path | None,
    show: Path | None,
    foreign: Path | None,
    pair: tuple[Path, Path] | None,
    anyway: bool,
    csv_path: Path | None,
    plots: Path | None,
    overwrite: bool,
    **options: Any,
) -> None:
    """Measure every artifact of BUNDLE on a device, or --show, --compare or --import tables."""
    if sum(given is not None for given in (bundle, show, pair, foreign)) != 1:
        raise UsageError(
            "give a bundle, or --show TABLE, or --compare A B, or --import CSV",
            hint="edgeslim bench us_mbv2.slim -o table.json",
        )
    if csv_path is not None:
        check_free(csv_path, overwrite=overwrite or options["resume"])
    if plots is not None:
        check_folder(plots)
        for name in PICTURES:
            check_free(plots / name, overwrite=overwrite or options["resume"])
    if pair is not None:
        _compare(console, pair, anyway)
        return
    out: Path | None = options["out"]
    written: list[Path] = []
    if foreign is not None:
        written = [] if out is None else [out]
        table, trouble = _imported(foreign, out, overwrite=overwrite), None
    elif bundle is None:
        assert show is not None
        table, trouble = LatencyTable.read(show), None
    else:
        targets, names = options.pop("targets"), options.pop("names")
        asked = BenchOptions(
            targets=None if targets is None else tuple(targets.split(",")),
            devices=names or ("host",),
            overwrite=overwrite,
            **options,
        )
        written = table_paths(asked)
        table, trouble = measured(bundle, asked, words=console, watching=functools.partial(_watching, console))
    if trouble is not None and console.as_json:
        raise trouble  # one document only; what was measured is in the table
    _present(console, table, csv_path, plots, overwrite=overwrite or options["resume"])
    if trouble is not None:
        raise trouble
    console.next_commands(*(line for path in written for line in _next(path)))


def _next(path: Path) -> Iterator[str]:
    yield step("bench", "--show", path, "--plots", fresh("plots"))
    chosen = one_line_of(LatencyTable.read(path))
    if chosen is not None:
        yield step("simulate", path, chosen)


def _imported(path: Path, out: Path | None, *, overwrite: bool) -> LatencyTable:
    if out is not None:
        check_free(out, overwrite=overwrite)
    table = read_csv(path)
    if out is not None:
        table.write(out, overwrite=overwrite)
    return table


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
