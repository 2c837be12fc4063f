"""``edgeslim.simulation``: which rung a policy would choose, minute by minute, and what that is worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeslim.core.ladder import Ladder, ladder
from edgeslim.core.latency import LatencyTable
from edgeslim.core.policy import PRESETS, Policy
from edgeslim.core.reasons import sentence
from edgeslim.core.worth import STAND_INS
from edgeslim.errors import UsageError
from edgeslim.files import check_folder, check_free
from edgeslim.simulation import policies
from edgeslim.simulation.engine import Setting
from edgeslim.simulation.engine import simulate as run_scenario
from edgeslim.simulation.oracle import best_oracle
from edgeslim.simulation.replay import LoggedFrame, read_log, repeats, replay
from edgeslim.simulation.scenario import SCENARIOS, scenario
from edgeslim.simulation.simulation import Run, SimulationResult, ladder_used, summarise
from edgeslim.simulation.tables import BUILTIN, at_speed
from edgeslim.verbs.words import LOGGED, Words

_ALWAYS_FITS = 4  # the hottest clock (1/2.2) and contention (1.8) together
_TIGHT = 0.9
_MOST_FRAMES = 3_000_000  # 28 hours at 30 frames per second; a run keeps about 250 bytes per frame

Hook = Callable[[int, int], None]
"""Called with the policies that are done, and how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateOptions:
    """``target``, ``precision``, ``threads``, ``device``, ``context``: which rows of the table; ``doubtful``: those
    that do not count, too; ``scenario`` by name, or ``replay`` of a log of ``run``; ``policy``: ``all``, or names and
    JSON files separated by commas; ``minutes``, ``seed`` of the noise, ``fps`` (None: the scenario's); ``load_ms``:
    time to load an artifact; ``widest_ms``: reckon with a device on which the widest takes so long (None: the table's
    own, or 0.9 of a frame if that always fits); ``plot``: a folder for one picture per policy."""

    target: str | None = None
    precision: str | None = None
    threads: int | None = None
    device: str | None = None
    context: str | None = None
    doubtful: bool = False
    scenario: str = "room"
    replay: Path | None = None
    policy: str = "all"
    minutes: float = 30.0
    seed: int = 0
    fps: int | None = None
    load_ms: float = 0.0
    widest_ms: float | None = None
    plot: Path | None = None
    overwrite: bool = False


def simulate(
    table: str | Path | None = None,
    options: SimulateOptions = SimulateOptions(),
    *,
    words: Words = LOGGED,
    on_policy: Hook = lambda done, of: None,
) -> SimulationResult:
    """Replay controller policies on a model of a phone with ``table`` (None: a built-in one), or on a recorded log.

    Raises:
        TableError, PolicyError: unusable.
        UsageError: no such scenario, an unreadable log, or more frames than fit into memory.
    """
    o = options
    rungs = rungs_of(table, o, words)
    if o.widest_ms is not None:
        if o.replay:
            raise UsageError("recorded frames have their own speed", hint="leave out --widest-ms with --replay")
        rungs = at_speed(rungs, o.widest_ms)
    names = _policies(o.policy, rungs)
    frames = read_log(o.replay) if o.replay else None
    place = SCENARIOS.get(o.scenario) or scenario(o.scenario)
    setting = Setting(scenario=place.at(fps=o.fps), minutes=o.minutes, seed=o.seed, load_ms=o.load_ms)
    if o.widest_ms is None and not o.replay:
        rungs = _as_tight_as_a_phone(rungs, setting.scenario.deadline_us, words)
    if o.minutes * 60 * setting.scenario.fps > _MOST_FRAMES:
        raise UsageError(
            f"{o.minutes:g} minutes at {setting.scenario.fps} frames per second are more than {_MOST_FRAMES} frames"
        )
    if o.plot:
        check_folder(o.plot)
        for name in names:
            check_free(_picture(o.plot, name), overwrite=o.overwrite)
    runs = _run(names, rungs, setting, frames, on_policy)
    oracle = next((run for run in runs if run.policy == policies.ORACLE), None)
    if o.plot:
        from edgeslim.simulation.plots import write_plot

        for run in runs:
            title = f"{run.policy}, {title_of(o)}"
            write_plot(run, _picture(o.plot, run.policy), title=title, overwrite=o.overwrite)
        words.say(f"{len(runs)} pictures in {o.plot}")
    if frames:
        _say_repeats(names, rungs, frames, words)
    return SimulationResult(
        scenario=o.replay.name if o.replay else place.name,
        seed=o.seed,
        minutes=runs[0].minutes,
        fps=None if o.replay else setting.scenario.fps,
        load_ms=o.load_ms,
        metric=rungs.metric,
        ladder=ladder_used(rungs),
        rows=tuple(summarise(run, oracle=oracle) for run in runs),
    )


def title_of(options: SimulateOptions) -> str:
    """What was simulated, for people."""
    if options.replay:
        return f"replay of {options.replay.name}"
    place = SCENARIOS.get(options.scenario) or scenario(options.scenario)
    return f"{place.name}: {place.about}"


def rungs_of(table: str | Path | None, options: SimulateOptions, words: Words) -> Ladder:
    """The rungs to simulate on, with what the user should know about them."""
    path = None if table is None or str(table) == "builtin" else Path(table)
    if path is None:
        return BUILTIN
    rungs = ladder(
        LatencyTable.read(path),
        target=options.target,
        precision=options.precision,
        threads=options.threads,
        device=options.device,
        context=options.context,
        doubtful=options.doubtful,
    )
    for item in rungs.dropped:
        words.detail(f"{item.label} is not used: {sentence(item.reason)}")
    for note in rungs.notes:
        words.say(sentence(note))
    if rungs.metric in STAND_INS:
        words.say("accuracies count as a share of the widest's, in percent")
    if len(rungs.rungs) < 2:
        words.warn(f"only {rungs.labels[0]} of {path} is a rung (--verbose says why): every policy is the same")
    return rungs


def _as_tight_as_a_phone(rungs: Ladder, deadline_us: int, words: Words) -> Ladder:
    """On a fast machine everything always fits and every policy is the same: then the widest is reckoned to fit its
    frame only while the device is cool."""
    took_us = rungs.rungs[-1].t_us
    if _ALWAYS_FITS * took_us > deadline_us or len(rungs.rungs) < 2:
        return rungs
    widest_ms = round(_TIGHT * deadline_us / 1000, 1)
    words.say(
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
    names: list[str], rungs: Ladder, setting: Setting, frames: tuple[LoggedFrame, ...] | None, on_policy: Hook
) -> list[Run]:
    runs = []
    for done, name in enumerate(names):
        on_policy(done, len(names))
        if name == policies.ORACLE:
            runs.append(best_oracle(rungs, setting, frames))
        elif frames:
            runs.append(replay(policies.chooser(name, rungs), rungs, frames))
        else:
            runs.append(run_scenario(policies.chooser(name, rungs), rungs, setting))
    return runs


def _say_repeats(names: list[str], rungs: Ladder, frames: tuple[LoggedFrame, ...], words: Words) -> None:
    for name in names:
        if name in PRESETS or name.endswith(".json"):
            found = PRESETS.get(name) or Policy.read(Path(name))
            same = repeats(found, rungs, frames)
            words.say(f"{name} repeats {same} of {len(frames)} recorded decisions on the recorded readings")


def _picture(folder: Path, policy: str) -> Path:
    return folder / f"{Path(policy).name.replace(':', '-')}.png"
