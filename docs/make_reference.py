"""Writes docs/reference.md from the command line itself: ``python docs/make_reference.py [--check]``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

import edgeslim
from edgeslim.cli.main import VERBS, cli

PAGE = Path(__file__).with_name("reference.md")
SCHEMAS = Path(edgeslim.__file__).parent / "cli"
BAR = "\\|"


def reference() -> str:
    """The page: every verb with its arguments and options."""
    context = click.Context(cli, info_name="edgeslim")
    parts = [
        "# Command reference",
        "Made from the command line by `python docs/make_reference.py`; do not edit.",
        "Exit codes: 0 done, 1 internal, 2 usage or bad input, 3 an optional dependency is missing, "
        "4 verification failed, 5 not possible on this host, 6 no such device, 130 stopped by Ctrl-C.",
        "Fields with a `?` may be missing; unknown values of the others are null. A failure is "
        '`{"error": {"name", "message", "hint", "rule"?}}` in its place. JSON Schemas lie beside the verbs, as '
        "`edgeslim/cli/<verb>.schema.json`.",
    ]
    for verb in VERBS:
        command = cli.get_command(context, verb)
        assert command is not None
        parts.append(f"## edgeslim {verb}\n\n{_words(command.help or '')}")
        usage = " ".join(command.collect_usage_pieces(click.Context(command, info_name=verb)))
        parts.append(f"```text\nedgeslim {verb} {usage}\n```")
        rows = [_row(parameter) for parameter in command.params if isinstance(parameter, click.Option)]
        parts.append("\n".join(["| option | meaning |", "|---|---|", *filter(None, rows)]))
        schema = json.loads(SCHEMAS.joinpath(f"{verb}.schema.json").read_text(encoding="utf-8"))
        for document in schema.get("anyOf", [schema]):
            parts.append(f"With `--json`: {_words(document['description'])}")
            parts.append("\n".join(["| field | value | meaning |", "|---|---|---|", *_fields(document)]))
    return "\n\n".join(parts) + "\n"


def _words(text: str) -> str:
    return " ".join(text.replace("\b", "").replace("``", "`").split())


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


def _fields(schema: dict[str, Any], before: str = "") -> Iterator[str]:
    """A line for every field, and for those of the lists and tables of objects in it."""
    for name, field in schema["properties"].items():
        options = field.get("anyOf", [field])
        optional = "" if name in schema["required"] else "?"
        values = " or ".join(map(_value, options))
        yield f"| `{before}{name}{optional}` | {values} | {_words(field.get('description', '')).replace('|', BAR)} |"
        for option in () if before else options:
            within = option.get("items", option)
            if "properties" in within:
                yield from _fields(within, f"{name}[]." if "items" in option else f"{name}.")
    if schema["additionalProperties"]:
        yield f"| `{before}…` | {_value(schema['additionalProperties'])} | what else was measured, by name |"


def _value(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return BAR.join(f"`{json.dumps(value)}`" for value in schema["enum"])
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        return f"list of {_value(schema['items'])}s"
    return {"string": "text", "integer": "whole number", "boolean": "true or false"}.get(kind, kind)


if __name__ == "__main__":
    page = reference()
    if "--check" in sys.argv[1:]:
        sys.exit(
            0 if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page else "docs/reference.md is out of date"
        )
    PAGE.write_text(page, encoding="utf-8")
