"""``edgeslim simulate``: which rung a policy would choose, minute by minute, and what that is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from edgeslim import targets
from edgeslim.cli.console import Console, common_options
from edgeslim.core.ladder import Ladder, ladder
from edgeslim.core.latency import LatencyTable
from edgeslim.core.policy import PRESETS, Policy
from edgeslim.core.reasons import sentence
from edgeslim.core.worth import STAND_INS
from edgeslim.errors import UsageError
from edgeslim.files import check_free
from edgeslim.simulate import policies
from edgeslim.simulate.engine import Setting, simulate
from edgeslim.simulate.oracle import best_oracle
from edgeslim.simulate.plots import write_plot
from edgeslim.simulate.replay import LoggedFrame, read_log, repeats, replay
from edgeslim.simulate.scenario import SCENARIOS, scenario
from edgeslim.simulate.simulation import Row, Run, SimulationResult, ladder_used, summarise
from edgeslim.simulate.tables import BUILTIN, at_speed

_ALWAYS_FITS = 4  # the hottest clock (1/2.2) and contention (1.8) together
_TIGHT = 0.9
_MOST_FRAMES = 3_000_000  # 28 hours at 30 frames per second; a run keeps about 250 bytes per frame


@click.command()
@click.argument("table", type=click.Path(path_type=Path), required=False)
@click.option("--table", "named", help="'builtin' (the default), or the path of a table from bench")
@click.option("--target", help=f"which rows of the table: {targets.words()}")
@click.option("--precision", help="which rows of the table: fp32, fp16")
@click.option("--threads", type=click.IntRange(min=1), help="which rows of the table")
@click.option("--device", help="which rows of the table: a device's model")
@click.option("--context", help="which rows of the table: app, shell, process")
@click.option("--anyway", "doubtful", is_flag=True, help="use rows of the table that do not count, too")
@click.option("--scenario", "where", default="room", show_default=True, help=", ".join(SCENARIOS))
@click.option(
    "--replay", "log", type=click.Path(path_type=Path), help="recorded frames (run --log) instead of a scenario"
)
@click.option(
    "--policy", default="all", show_default=True, help="all, or names a,b: see --list; or a policy's JSON file"
)
@click.option("--list", "only_list", is_flag=True, help="print scenarios and policies, and stop")
@click.option("--minutes", type=click.FloatRange(0.05, 24 * 60), default=30.0, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="of the noise")
@click.option("--fps", type=click.IntRange(1, 1000), help="frames per second; default: the scenario's")
@click.option(
    "--load-ms", type=click.FloatRange(0, 60_000), default=0.0, show_default=True, help="time to load an artifact"
)
@click.option(
    "--widest-ms",
    type=click.FloatRange(0.1, 10_000),
    help="reckon with a device on which the widest takes so long; default: the table's own, or 0.9 of a frame if that "
    "always fits",
)
@click.option("--plot", type=click.Path(path_type=Path, file_okay=False), help="a folder for one picture per policy")
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
    rungs = _ladder(
        table,
        named,
        target=target,
        precision=precision,
        threads=threads,
        device=device,
        context=context,
        doubtful=doubtful,
        console=console,
    )
    if only_list:
        _list(rungs, console)
        return
    if widest_ms is not None:
        if log:
            raise UsageError("recorded frames have their own speed", hint="leave out --widest-ms with --replay")
        rungs = at_speed(rungs, widest_ms)
    names = _policies(policy, rungs)
    frames = read_log(log) if log else None
    place = SCENARIOS.get(where) or scenario(where)
    setting = Setting(scenario=place.at(fps=fps), minutes=minutes, seed=seed, load_ms=load_ms)
    if widest_ms is None and not log:
        rungs = _as_tight_as_a_phone(rungs, setting.scenario.deadline_us, console)
    if minutes * 60 * setting.scenario.fps > _MOST_FRAMES:
        raise UsageError(
            f"{minutes:g} minutes at {setting.scenario.fps} frames per second are more than {_MOST_FRAMES} frames"
        )
    if plot:
        plot.mkdir(parents=True, exist_ok=True)
        for name in names:
            check_free(_picture(plot, name), overwrite=overwrite)
    runs = _run(names, rungs, setting, frames, console)
    oracle = next((run for run in runs if run.policy == policies.ORACLE), None)
    rows = [summarise(run, oracle=oracle) for run in runs]
    title = f"replay of {log.name}" if log else f"{place.name}: {place.about}"
    if plot:
        for run in runs:
            write_plot(run, _picture(plot, run.policy), title=f"{run.policy}, {title}", overwrite=overwrite)
        console.say(f"{len(runs)} pictures in {plot}")
    if frames:
        _say_repeats(names, rungs, frames, console)
    result = SimulationResult(
        scenario=log.name if log else place.name,
        seed=seed,
        minutes=runs[0].minutes,
        fps=None if log else setting.scenario.fps,
        load_ms=load_ms,
        metric=rungs.metric,
        ladder=ladder_used(rungs),
        rows=tuple(rows),
    )
    console.result(result, _table(rows, title))
    _next(rows, table, log, place.name, console)


def _ladder(table: Path | None, named: str | None, *, console: Console, **choice: Any) -> Ladder:
    """The rungs to simulate on, with what the user should know about them."""
    if table is not None and named is not None:
        raise UsageError("two tables are given", hint="use either TABLE.json or --table")
    path = table if table is not None else None if named in (None, "builtin") else Path(str(named))
    if path is None:
        return BUILTIN
    rungs = ladder(LatencyTable.read(path), **choice)
    for item in rungs.dropped:
        console.detail(f"{item.label} is not used: {sentence(item.reason)}")
    for note in rungs.notes:
        console.say(sentence(note))
    if rungs.metric in STAND_INS:
        console.say("accuracies count as a share of the widest's, in percent")
    if len(rungs.rungs) < 2:
        console.warn(f"only {rungs.labels[0]} of {path} is a rung (--verbose says why): every policy is the same")
    return rungs


def _as_tight_as_a_phone(rungs: Ladder, deadline_us: int, console: Console) -> Ladder:
    """On a fast machine everything always fits and every policy is the same: then the widest is reckoned to fit its
    frame only while the device is cool."""
    took_us = rungs.rungs[-1].t_us
    if _ALWAYS_FITS * took_us > deadline_us or len(rungs.rungs) < 2:
        return rungs
    widest_ms = round(_TIGHT * deadline_us / 1000, 1)
    console.say(
        f"this device is fast: {rungs.labels[-1]} takes {took_us / 1000:.3g} ms. Reckoned with one on which it takes "
        f"{widest_ms:g} ms and fits only while cool; --widest-ms {max(took_us / 1000, 0.1):.3g} for this one"
    )
    return at_speed(rungs, widest_ms)


def _policies(text: str, rungs: Ladder) -> list[str]:
    if text == "all":
        return list(policies.names(rungs))
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("no policy is given", hint="--policy all, or names from --list")
    for name in names:
        if name != policies.ORACLE:
            policies.chooser(name, rungs)
    return list(dict.fromkeys(names))


def _run(
    names: list[str], rungs: Ladder, setting: Setting, frames: tuple[LoggedFrame, ...] | None, console: Console
) -> list[Run]:
    runs = []
    with console.progress() as progress:
        for name in progress.track(names, description="policies"):
            if name == policies.ORACLE:
                runs.append(best_oracle(rungs, setting, frames))
            elif frames:
                runs.append(replay(policies.chooser(name, rungs), rungs, frames))
            else:
                runs.append(simulate(policies.chooser(name, rungs), rungs, setting))
    return runs


def _say_repeats(names: list[str], rungs: Ladder, frames: tuple[LoggedFrame, ...], console: Console) -> None:
    for name in names:
        if name in PRESETS or name.endswith(".json"):
            found = PRESETS.get(name) or Policy.from_json(Path(name).read_bytes())
            same = repeats(found, rungs, frames)
            console.say(f"{name} repeats {same} of {len(frames)} recorded decisions on the recorded readings")


def _picture(folder: Path, policy: str) -> Path:
    return folder / f"{Path(policy).name.replace(':', '-')}.png"


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


def _table(rows: list[Row], title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("policy", no_wrap=True, min_width=13)
    for column in _COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for row in sorted(rows, key=lambda row: -row.score):
        table.add_row(row.policy, *(text(row) for text in _COLUMNS.values()))
    return table


def _next(rows: list[Row], table: Path | None, log: Path | None, place: str, console: Console) -> None:
    source = f"--replay {log}" if log else f"--scenario {place}"
    begin = f"edgeslim simulate{f' {table}' if table else ''} {source}"
    if any(row.regret is not None for row in rows):
        console.next_commands(f"{begin} --policy balanced --plot plots")
    else:
        console.next_commands(f"{begin} --policy all        # with the oracle, for the regret")
