"""What every verb shares: words to stderr, results to stdout, the common options.

    verb ──► Console.say / warn / next_commands ─► stderr (silent with --quiet)
        └──► Console.result(report, table)      ─► stdout (only the report as JSON with --json)

``NO_COLOR`` and non-terminals are honoured by rich.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console as RichConsole
from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from edgeslim.cli.printable import SafeConsole, json_line, one_line
from edgeslim.core.strict_json import encode
from edgeslim.core.width import Width, parse_widths
from edgeslim.errors import WidthError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(kw_only=True)
class Console:
    """Where one verb's output goes."""

    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    words: RichConsole = field(default_factory=lambda: SafeConsole(stderr=True))
    results: RichConsole = field(default_factory=SafeConsole)

    def say(self, text: str) -> None:
        """A line for people."""
        if not self.quiet:
            self._line(text)

    def detail(self, text: str) -> None:
        """A line only ``--verbose`` shows."""
        if self.verbose:
            self._line(text)

    def warn(self, text: str) -> None:
        """A line that is shown even with ``--quiet``."""
        self._line(f"warning: {text}")

    def _line(self, text: str) -> None:
        self.words.print(one_line(text), soft_wrap=True)

    def next_commands(self, *commands: str) -> None:
        """What one would type now, ready to paste."""
        if commands:
            self.say("next:")
        for command in commands:
            self.say(f"  {command}")

    def result(self, report: DataclassInstance, *tables: RenderableType) -> None:
        """The verb's result: its report as one JSON document with ``--json``, else ``tables``."""
        if self.as_json:
            print_document(report)
        else:
            for table in tables:
                self.results.print(table)

    def artifact_table(
        self, title: str, heads: Sequence[str], rows: Iterable[Sequence[str]], *, note: str = ""
    ) -> Table:
        """Rows that begin with an artifact's id, which is never cut: where it is narrow, the last columns are left out
        instead, and an id that does not fit even so goes on in the next line."""
        cells = [tuple(row) for row in rows]
        wide = [max(map(len, column)) + 3 for column in zip(heads, *cells, strict=True)]
        fitting = next((n for n in range(len(heads), 1, -1) if sum(wide[:n]) < self.results.width), 1)
        missing = f"not shown for want of room: {', '.join(heads[fitting:])}" if fitting < len(heads) else ""
        table = Table(title=title, caption="\n".join(filter(None, (note, missing))) or None)
        table.add_column(heads[0], overflow="fold")
        for head in heads[1:fitting]:
            table.add_column(head, justify="right", no_wrap=True)
        for row in cells:
            table.add_row(*row[:fitting])
        return table

    def progress(self, *extra: str) -> Progress:
        """A progress bar on stderr; disabled when quiet or not a terminal. ``extra``: more task fields to show."""
        fields = [TextColumn(f"{{task.fields[{name}]}}", markup=False) for name in extra]
        return Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            *fields,
            console=self.words,
            disable=self.quiet or not self.words.is_terminal,
            transient=True,
        )


def print_document(report: DataclassInstance) -> None:
    """``report`` as the one JSON document on stdout."""
    sys.stdout.write(json_line(encode(report)) + "\n")


def common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--json --quiet --verbose`` and passes them on as one ``console`` argument."""

    @click.option("--json", "as_json", is_flag=True, help="print one JSON document on stdout and nothing else there")
    @click.option("-q", "--quiet", is_flag=True, help="no progress, no words")
    @click.option("-v", "--verbose", is_flag=True, help="more words")
    def wrapper(*args: Any, as_json: bool, quiet: bool, verbose: bool, **kwargs: Any) -> Any:
        return function(*args, console=Console(as_json=as_json, quiet=quiet, verbose=verbose), **kwargs)

    wrapper.__name__ = function.__name__
    wrapper.__doc__ = function.__doc__
    wrapper.__click_params__ = getattr(function, "__click_params__", []) + wrapper.__click_params__  # type: ignore[attr-defined]
    return wrapper


class WidthType(click.ParamType[Width]):
    """One width: ``--width 0.35``."""

    name = "width"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Width:
        return value if isinstance(value, Width) else Width.parse(value)


class WidthsType(click.ParamType[str]):
    """``--widths`` as text, checked early; a bare count is resolved by the verb (``resolve_widths``)."""

    name = "widths"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not text.strip().isdigit():
            parse_widths(text)
        elif int(text) < 1:
            raise WidthError(f"cannot use {text!r} widths: at least 1")
        return text


def resolve_widths(text: str, trained: tuple[Width, Width]) -> tuple[Width, ...]:
    """The widths a ``WidthsType`` text means for a model trained over ``trained``."""
    return parse_widths(text, trained=trained)


WIDTH = WidthType()
WIDTHS = WidthsType()
