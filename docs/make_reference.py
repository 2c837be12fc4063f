"""Writes docs/reference.md from the command line itself: ``python docs/make_reference.py [--check]``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edgeslim.cli.main import VERBS, cli

PAGE = Path(__file__).with_name("reference.md")


def reference() -> str:
    """The page: every verb with its arguments and options."""
    context = click.Context(cli, info_name="edgeslim")
    parts = [
        "# Command reference",
        "Made from the command line by `python docs/make_reference.py`; do not edit.",
        "Exit codes: 0 done, 1 internal, 2 usage or bad input, 3 an optional dependency is missing, "
        "4 verification failed, 5 not possible on this host, 6 no such device.",
    ]
    for verb in VERBS:
        command = cli.get_command(context, verb)
        assert command is not None
        parts.append(f"## edgeslim {verb}\n\n{_words(command.help or '')}")
        usage = " ".join(command.collect_usage_pieces(click.Context(command, info_name=verb)))
        parts.append(f"```text\nedgeslim {verb} {usage}\n```")
        rows = [_row(parameter) for parameter in command.params if isinstance(parameter, click.Option)]
        parts.append("\n".join(["| option | meaning |", "|---|---|", *filter(None, rows)]))
    return "\n\n".join(parts) + "\n"


def _words(text: str) -> str:
    return " ".join(text.replace("\b", "").split())


def _row(option: click.Option) -> str:
    if option.hidden:
        return ""
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    kind = ""
    if isinstance(option.type, click.Choice):
        kind = " " + "\\|".join(map(str, option.type.choices))
    elif not option.is_flag:
        kind = f" {option.metavar or option.type.name.upper()}"
    text = _words(option.help or "").replace("|", "\\|")
    if option.show_default and option.default is not None and not option.is_flag:
        text += f" (default: {option.default})"
    return f"| {names}{kind} | {text} |"


if __name__ == "__main__":
    page = reference()
    if "--check" in sys.argv[1:]:
        sys.exit(
            0 if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page else "docs/reference.md is out of date"
        )
    PAGE.write_text(page, encoding="utf-8")
