"""``edgeslim simulate``: which rung a policy would choose, minute by minute, and what that is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.table import Table

from edgeslim import targets
from edgeslim.cli.console import Console, common_options
from edgeslim.cli.option_types import PATH, SEED, THREADS, Number, Whole
from edgeslim.core.ladder import Ladder
from edgeslim.errors import UsageError
from edgeslim.simulation import policies
from edgeslim.simulation.scenario import SCENARIOS
from edgeslim.simulation.simulation import Row
from edgeslim.verbs.simulate import SimulateOptions, rungs_of, simulate, title_of


@click.command()
@click.argument("table", type=PATH, required=False)
@click.option("--table", "named", help="'builtin' (the default), or the path of a table from bench")
@click.option("--target", help=f"which rows of the table: {targets.words()}")
@click.option("--precision", help="which rows of the table: fp32, fp16")
@click.option("--threads", type=THREADS, help="which rows of the table")
@click.option("--device", help="which rows of the table: a device's model")
@click.option("--context", help="which rows of the table: app, shell, process")
@click.option("--anyway", "doubtful", is_flag=True, help="use rows of the table that do not count, too")
@click.option("--scenario", "where", default="room", show_default=True, help=", ".join(SCENARIOS))
@click.option("--replay", "log", type=PATH, help="recorded frames (run --log) instead of a scenario")
@click.option(
    "--policy", default="all", show_default=True, help="all, or names a,b: see --list; or a policy's JSON file"
)
@click.option("--list", "only_list", is_flag=True, help="print scenarios and policies, and stop")
@click.option("--minutes", type=Number(0.05, 24 * 60), default=30.0, show_default=True)
@click.option("--seed", type=SEED, default=0, show_default=True, help="of the noise")
@click.option("--fps", type=Whole(1, 1000), help="frames per second; default: the scenario's")
@click.option("--load-ms", type=Number(0, 60_000), default=0.0, show_default=True, help="time to load an artifact")
@click.option(
    "--widest-ms",
    type=Number(0.1, 10_000),
    help="reckon with a device on which the widest takes so long; default: the table's own, or 0.9 of a frame if that "
    "always fits",
)
@click.option("--plot", type=PATH, help="a folder for one picture per policy")
@click.option("--overwrite", is_flag=True, help="replace pictures that are there")
@common_options
def command(
    *,
    table: Path | None,
    named: str | None,
    target: str | None,
    precision: str | None,
    threads: int | None,
    device: str | None,
    context: str | None,
    doubtful: bool,
    where: str,
    log: Path | None,
    policy: str,
    only_list: bool,
    minutes: float,
    seed: int,
    fps: int | None,
    load_ms: float,
    widest_ms: float | None,
    plot: Path | None,
    overwrite: bool,
    console: Console,
) -> None:
    """Replay controller policies on a model of a phone, or on a recorded log.

    TABLE is a latency table from `edgeslim bench`; without one, a built-in table stands in.
    """
    if table is not None and named is not None:
        raise UsageError("two tables are given", hint="use either TABLE.json or --table")
    options = SimulateOptions(
        target=target,
        precision=precision,
        threads=threads,
        device=device,
        context=context,
        doubtful=doubtful,
        scenario=where,
        replay=log,
        policy=policy,
        minutes=minutes,
        seed=seed,
        fps=fps,
        load_ms=load_ms,
        widest_ms=widest_ms,
        plot=plot,
        overwrite=overwrite,
    )
    source = named if table is None else table
    if only_list:
        _list(rungs_of(source, options, console), console)
        return
    with console.progress() as bar:
        task = bar.add_task("policies", total=None)
        result = simulate(
            source, options, words=console, on_policy=lambda done, of: bar.update(task, completed=done, total=of)
        )
    console.result(result, _table(result.rows, title_of(options)))
    _next(result.rows, table, log, result.scenario, console)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListReport:
    """What ``simulate --list`` names."""

    scenarios: Mapping[str, str]
    """What each is about, by name."""
    policies: tuple[str, ...]
    """Names that ``--policy`` takes."""


def _list(rungs: Ladder, console: Console) -> None:
    names = [*policies.names(rungs), "fixed"]
    table = Table("scenario", "about", box=None)
    for place in SCENARIOS.values():
        table.add_row(place.name, place.about)
    scenarios = {place.name: place.about for place in SCENARIOS.values()}
    console.result(ListReport(scenarios=scenarios, policies=tuple(names)), table)
    console.say(f"policies: {', '.join(names)}, or a policy's JSON file")


_COLUMNS: dict[str, Callable[[Row], str]] = {
    "accuracy": lambda row: f"{row.delivered_accuracy:.2f}",
    "late %": lambda row: f"{100 * row.miss_rate:.2f}",
    "p95": lambda row: f"{row.p95_ms:.1f}",
    "p99 ms": lambda row: f"{row.p99_ms:.1f}",
    "mJ": lambda row: f"{row.energy_mj:.1f}",
    "sw/min": lambda row: f"{row.switches_per_min:.1f}",
    "≥43": lambda row: _percent(row.share_43c),
    "≥45 °C": lambda row: _percent(row.share_45c),
    "regret": lambda row: "" if row.regret is None else f"{row.regret:.2f}",
    "score": lambda row: f"{row.score:.2f}",
}


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f}%"


def _table(rows: Sequence[Row], title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("policy", no_wrap=True, min_width=13)
    for column in _COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for row in sorted(rows, key=lambda row: -row.score):
        table.add_row(row.policy, *(text(row) for text in _COLUMNS.values()))
    return table


def _next(rows: Sequence[Row], table: Path | None, log: Path | None, place: str, console: Console) -> None:
    source = f"--replay {log}" if log else f"--scenario {place}"
    begin = f"edgeslim simulate{f' {table}' if table else ''} {source}"
    if any(row.regret is not None for row in rows):
        console.next_commands(f"{begin} --policy balanced --plot plots")
    else:
        console.next_commands(f"{begin} --policy all        # with the oracle, for the regret")
