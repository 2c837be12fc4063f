"""Writes the JSON Schema files that ship in the package from the dataclasses they describe.

.venv/bin/python tests/golden/make_schemas.py
"""

from __future__ import annotations

import dataclasses
import json
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from edgeslim.core.latency import SCHEMA_FILE, LatencyTable
from edgeslim.runtime.frame_log import FRAME_SCHEMA_FILE
from edgeslim.simulate import simulation as run
from edgeslim.simulate.replay import LoggedFrame


def schema_of(cls: type) -> dict[str, Any]:
    """The shape ``strict_json.decode`` accepts for ``cls``."""
    hints = get_type_hints(cls)
    fields = dataclasses.fields(cls)
    required = [f.name for f in fields if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]
    return {
        "type": "object",
        "description": (cls.__doc__ or "").split("\n\n")[0].replace("\n", " ").strip(),
        "properties": {f.name: _kind(hints[f.name]) for f in fields},
        "required": sorted(required),
        "additionalProperties": False,
    }


def _kind(kind: Any) -> dict[str, Any]:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        (inner,) = (option for option in get_args(kind) if option is not type(None))
        return {"anyOf": [_kind(inner), {"type": "null"}]}
    if origin is Literal:
        return {"enum": list(get_args(kind))}
    if origin is tuple:
        return {"type": "array", "items": _kind(get_args(kind)[0])}
    if dataclasses.is_dataclass(kind):
        return schema_of(kind)  # type: ignore[arg-type]
    return {"type": {int: "integer", float: "number", str: "string", bool: "boolean"}[kind]}


_DOCUMENTS = (
    (SCHEMA_FILE, "edgeslim latency table, version 1", LatencyTable),
    (run.SCHEMA_FILE, "what edgeslim simulate --json prints", run.SimulationResult),
    (FRAME_SCHEMA_FILE, "a line of edgeslim run --log", LoggedFrame),
)


def documents() -> dict[Path, str]:
    """Path → text of every schema file."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {
        path: json.dumps(head | {"title": title} | schema_of(cls), indent=1, ensure_ascii=False) + "\n"
        for path, title, cls in _DOCUMENTS
    }


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
        print(path)
