"""The JSON Schemas in the package: one per verb, made from its reports, valid themselves, strict; and the document of a
failure.

That results keep them is checked wherever a verb runs in a test (``results_keep_their_schema`` in conftest.py).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest

import edgeslim
from edgeslim.cli import bench, schemas, simulate
from edgeslim.cli import main as main_module
from edgeslim.cli.main import VERBS, main
from edgeslim.core.strict_json import BESIDE, IN_TEXT, LEFT_OUT, encode
from edgeslim.demo import steps
from edgeslim.deploy import bundle_reports, reports
from edgeslim.models import count
from edgeslim.verbs import run_report

PACKAGE = Path(edgeslim.__file__).parent
SCHEMAS = sorted(PACKAGE.rglob("*.schema.json"))


def test_every_verb_has_one() -> None:
    assert schemas.REPORTS.keys() == VERBS.keys()
    assert set(SCHEMAS) == schemas.documents().keys()


@pytest.mark.parametrize(("path", "text"), schemas.documents().items(), ids=lambda value: getattr(value, "name", ""))
def test_they_are_made_from_the_reports(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text, "run python -m edgeslim.cli.schemas"


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_it_is_a_strict_schema(path: Path) -> None:
    schema = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"another": 1}, schema)
    for one in objects(schema):
        assert one["description"]
        assert not one["description"].split("(")[0].isidentifier(), "the class has no words of its own"
        assert one["additionalProperties"] in (False, {"type": "number"}), one["description"]
        assert set(one["required"]) <= set(one["properties"])


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema below ``schema`` that is one of a dataclass."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for value in schema.values():
            yield from objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from objects(value)


REPORTING = [reports, bundle_reports, bench, run_report, simulate, main_module, steps, count]


@pytest.mark.parametrize("module", REPORTING, ids=lambda module: module.__name__)
def test_every_field_of_a_report_says_what_it_is(module: ModuleType) -> None:
    names = ("Report", "Row", "Failure", "StepDone", "LayerCount", "TrainedRange", "PartBytes")
    classes = [cls for name, cls in vars(module).items() if name.endswith(names) and cls.__module__ == module.__name__]
    assert classes
    for cls in classes:
        assert schemas.words_of(cls).keys() == {field.name for field in dataclasses.fields(cls)}, cls


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    """Part of a report."""

    size_bytes: int | None
    """How much; null: unknown."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer(Inner):
    """A report.

    Not of it.
    """

    path: Path
    inner: tuple[Inner, ...] = dataclasses.field(default=(), metadata=IN_TEXT)
    reason: str | None = dataclasses.field(default=None, metadata=LEFT_OUT)
    """Why, where
    it is so."""
    values: dict[str, float] = dataclasses.field(metadata=BESIDE)


SIZE = {"description": "How much; null: unknown.", "anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]}


def test_the_one_way_from_a_report_to_json() -> None:
    report = Outer(path=Path("a"), size_bytes=None, inner=(Inner(size_bytes=2),), values={"top1": 0.5})
    assert encode(report) == {"size_bytes": None, "path": "a", "inner": [{"size_bytes": 2}], "top1": 0.5}
    assert encode(dataclasses.replace(report, reason="so", values={}))["reason"] == "so"


def test_the_schema_of_a_report() -> None:
    inner = {
        "type": "object", "description": "Part of a report.", "properties": {"size_bytes": SIZE},
        "required": ["size_bytes"], "additionalProperties": False,
    }  # fmt: skip
    assert schemas.schema_of(Outer) == {
        "type": "object",
        "description": "A report.",
        "properties": {
            "size_bytes": SIZE,
            "path": {"type": "string"},
            "inner": {"type": "array", "items": inner},
            "reason": {"description": "Why, where it is so.", "type": "string"},
        },
        "required": ["inner", "path", "size_bytes"],
        "additionalProperties": {"type": "number"},
    }


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["inspect", "missing.slim"], 2),
        (["pack"], 2),
        (["fly"], 2),
        (["profile", "--model", "us_mobilenet_v9"], 2),
        (["evaluate", "missing.pt"], 2),
    ],
)
def test_a_failure_is_a_document_too(argv: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*argv, "--json"]) == code
    jsonschema.validate(
        json.loads(capsys.readouterr().out), json.loads((PACKAGE / "cli/error.schema.json").read_text())
    )


def test_a_broken_rule_has_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.slim").write_bytes(b"")
    assert main(["inspect", str(tmp_path / "x.slim"), "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["name"], error["rule"]) == ("truncated", "truncated")
    assert main(["inspect", str(tmp_path / "missing.slim"), "--json"]) == 2
    assert "rule" not in json.loads(capsys.readouterr().out)["error"]
