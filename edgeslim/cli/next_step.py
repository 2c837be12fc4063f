"""What one would type next, made so that it runs as printed.

    words ─► step ─► one line, every word quoted as a shell wants it
      ▲
      ├ given(…)         options of this session that the next verb needs, too
      ├ again(…)         this whole command line, for the same verb with a change
      ├ one_line_of(…)   what a table's reader must be told where the table holds several devices, targets …
      └ fresh(…)         a name that is not taken, because no verb replaces a file unasked

``Console.next_commands`` prints them; tests/cli/test_next_commands.py runs every one that any verb prints.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from edgeslim.core.latency import LatencyRow, LatencyTable

_OUTPUT = ("--json", "--quiet", "--verbose", "--overwrite", "--resume")


def step(*words: str | Path | Iterable[str]) -> str:
    """One command line: words, paths, and lists of words; the program's name comes first by itself."""
    flat: list[str] = ["edgeslim"]
    for word in words:
        flat += [str(word)] if isinstance(word, str | Path) else list(word)
    return shlex.join(flat)


def given(*names: str) -> list[str]:
    """Those of the options called so (their long names) that this session was given, with their values."""
    context = click.get_current_context()
    there = {_name(parameter): parameter for parameter in context.command.params}
    return [word for name in names for word in _typed(context, there[name])]


def again(*, without: Collection[str] = ()) -> list[str]:
    """The verb of this session with all that it was given, but for the options called ``without`` and for what is said
    about output."""
    context = click.get_current_context()
    words = [str(context.info_name)]
    for parameter in sorted(context.command.params, key=lambda parameter: isinstance(parameter, click.Option)):
        if _name(parameter) not in (*without, *_OUTPUT):
            words += _typed(context, parameter)
    return words


def _name(parameter: click.Parameter) -> str:
    return max(parameter.opts, key=len)


def _typed(context: click.Context, parameter: click.Parameter) -> list[str]:
    """As it would be typed; nothing where the verb's own default stands."""
    source = context.get_parameter_source(str(parameter.name))
    value = context.params.get(str(parameter.name))
    if value is None or source in (None, ParameterSource.DEFAULT):
        return []
    if isinstance(parameter, click.Argument):
        return [_text(value)]
    if isinstance(value, bool):
        return [_name(parameter)] if value else []
    values = value if parameter.multiple else [value]
    return [word for one in values for word in (_name(parameter), _text(one))]


def _text(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


_PLACES: dict[str, Callable[[LatencyRow], object]] = {
    "--target": lambda row: row.target,
    "--threads": lambda row: row.runtime.threads,
    "--device": lambda row: row.device.model,
    "--context": lambda row: row.context,
}


def one_line_of(table: LatencyTable, *, target: str | None = None, threads: int | None = None) -> list[str] | None:
    """The options by which ``simulate`` finds one ladder in ``table``; None where no row was timed."""
    rows = [row for row in table.rows if row.kind != "sustained"]
    rows = [row for row in rows if target in (None, row.target) and threads in (None, row.runtime.threads)]
    first = next((row for row in rows if row.p50_ms is not None), None)
    if first is None:
        return None
    words: list[str] = []
    rows = [row for row in table.rows if row.kind != "sustained"]
    for name, value in _PLACES.items():
        if len({value(row) for row in rows}) > 1:
            words += [name, str(value(first))]
            rows = [row for row in rows if value(row) == value(first)]
    return words


def fresh(path: str | Path) -> Path:
    """``path``, or where that is taken ``name-2.suffix`` and so on."""
    path = Path(path)
    number, free = 2, path
    while os.path.lexists(free):
        number, free = number + 1, path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def packing(checkpoint: Path) -> str:
    """``edgeslim pack`` of a checkpoint for every runtime."""
    usual = checkpoint.with_suffix(".slim")
    free = fresh(usual)
    return step("pack", checkpoint, "--target", "all", () if free == usual else ("-o", str(free)))
