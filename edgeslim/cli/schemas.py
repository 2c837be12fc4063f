"""Writes the JSON Schema files that ship in the package from the dataclasses they describe.

    python -m edgeslim.cli.schemas

    report's dataclass ─┬─► core.strict_json.encode ─► what the verb prints
                        └─► schema_of ─► cli/<verb>.schema.json

A field must be there unless it has a default, or is marked ``LEFT_OUT``; what it means is the text below it in its
class; what values it may have follows from its type and, as units stand in names, from its name.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import textwrap
import types
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from edgeslim.cli import bench, main, simulate
from edgeslim.core.latency import SCHEMA_FILE, LatencyTable
from edgeslim.core.strict_json import IN_TEXT
from edgeslim.demo.steps import DemoReport
from edgeslim.deploy import bundle_reports, reports
from edgeslim.models.count import ProfileReport
from edgeslim.runtime.frame_log import FRAME_SCHEMA_FILE
from edgeslim.simulation.replay import LoggedFrame
from edgeslim.simulation.simulation import SimulationResult
from edgeslim.verbs.run_report import RunReport

REPORTS: dict[str, tuple[type, ...]] = {
    "train": (reports.TrainReport,),
    "calibrate": (reports.CalibrateReport,),
    "evaluate": (reports.EvaluateReport,),
    "profile": (ProfileReport,),
    "pack": (bundle_reports.PackReport, bundle_reports.PlanReport),
    "inspect": (bundle_reports.InspectReport, bundle_reports.CheckReport),
    "subset": (bundle_reports.PackReport,),
    "verify": (reports.VerifyReport,),
    "export": (reports.ExportReport,),
    "bench": (LatencyTable, bench.CompareReport),
    "simulate": (SimulationResult, simulate.ListReport),
    "run": (RunReport,),
    "demo": (DemoReport,),
}
"""Verb → what it may print with ``--json``, the usual document first."""

_PRIMITIVES = {int: "integer", float: "number", str: "string", bool: "boolean"}
_LIMITS: tuple[tuple[str, type, dict[str, Any]], ...] = (  # of fields whose name is, or ends in _, such a word
    ("sha256", str, {"pattern": "^[0-9a-f]{64}$"}),
    ("bytes|macs|params|images|frames", int, {"minimum": 0}),
    ("seconds|ms", float, {"minimum": 0}),
    ("agreement|share", float, {"minimum": 0, "maximum": 1}),
)


def schema_of(cls: type) -> dict[str, Any]:
    """The shape that ``strict_json.decode`` accepts for ``cls``, and ``encode`` gives."""
    hints, words = get_type_hints(cls), words_of(cls)
    properties: dict[str, Any] = {}
    required: list[str] = []
    others: Any = False
    for field in dataclasses.fields(cls):
        kind = hints[field.name]
        if "beside" in field.metadata:
            inner = _kind(kind)
            properties |= inner.get("properties", {})
            required += inner.get("required", [])
            others = others or inner["additionalProperties"]
            continue
        if "left_out" in field.metadata:
            kind = _without_none(kind)
        about = {"description": words[field.name]} if field.name in words else {}
        properties[field.name] = _kind(kind, field.name) | about
        if _is_required(field):
            required.append(field.name)
    return {
        "type": "object",
        "description": " ".join((cls.__doc__ or "").split("\n\n")[0].split()),
        "properties": properties,
        "required": sorted(required),
        "additionalProperties": others,
    }


def _is_required(field: dataclasses.Field[Any]) -> bool:
    plain = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    return plain or IN_TEXT.items() <= field.metadata.items()


def _without_none(kind: Any) -> Any:
    (inner,) = (option for option in get_args(kind) if option is not type(None))
    return inner


def _kind(kind: Any, name: str = "") -> dict[str, Any]:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        options = [option for option in get_args(kind) if option is not type(None)]
        found = [_kind(option, name) for option in options]
        return {"anyOf": [*found, {"type": "null"}]} if len(options) < len(get_args(kind)) else {"anyOf": found}
    if origin is Literal:
        return {"enum": list(get_args(kind))}
    if origin is tuple:
        return {"type": "array", "items": _kind(get_args(kind)[0], name)}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": _kind(get_args(kind)[1], name)}
    if dataclasses.is_dataclass(kind):
        return schema_of(kind)  # type: ignore[arg-type]
    if kind is Any:
        return {}
    if issubclass(kind, PurePath):
        return {"type": "string"}
    return {"type": _PRIMITIVES[kind]} | _limits(kind, name)


def _limits(kind: type, name: str) -> dict[str, Any]:
    if name == "permille":
        return {"minimum": 1, "maximum": 100_000}
    matching = (limits for words, of, limits in _LIMITS if of is kind and re.fullmatch(rf"(.*_)?({words})", name))
    return next(matching, {})


def words_of(cls: type) -> dict[str, str]:
    """Field → the text that stands below it, in ``cls`` and what it is derived from."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(tree, ast.ClassDef)
        for field, text in zip(tree.body, tree.body[1:], strict=False):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                    found[name] = " ".join(words.split())
    return found


def documents() -> dict[Path, str]:
    """Path → text of every schema file."""
    here = Path(__file__)
    return {
        SCHEMA_FILE: _text("edgeslim latency table, version 1", LatencyTable),
        FRAME_SCHEMA_FILE: _text("a line of edgeslim run --log", LoggedFrame),
        here.with_name("error.schema.json"): _text(
            "what every verb prints with --json when it fails", main.ErrorReport
        ),
        **{
            here.with_name(f"{verb}.schema.json"): _text(f"edgeslim {verb} --json", *kinds)
            for verb, kinds in REPORTS.items()
        },
    }


def _text(title: str, *kinds: type) -> str:
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    found = [schema_of(kind) for kind in kinds]
    body = found[0] if len(found) == 1 else {"anyOf": found}
    return json.dumps(head | body, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
        print(path)
