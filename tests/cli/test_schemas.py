"""The JSON Schemas in the package: one per verb, valid themselves, strict; and the document of a failure.

That results keep them is checked wherever a verb runs in a test (``results_keep_their_schema`` in conftest.py).
"""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

import edgeslim
from edgeslim.cli.main import VERBS, main

PACKAGE = Path(edgeslim.__file__).parent
SCHEMAS = sorted(PACKAGE.rglob("*.schema.json"))


def test_every_verb_has_one() -> None:
    own = {path.name.removesuffix(".schema.json") for path in SCHEMAS if path.parent.name == "cli"}
    assert own == VERBS.keys() - {"bench", "simulate"} | {"error"}
    assert (PACKAGE / "core" / "latency_table.schema.json").is_file()
    assert (PACKAGE / "simulate" / "simulation.schema.json").is_file()


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_it_is_a_strict_schema(path: Path) -> None:
    schema = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    for one in schema.get("anyOf", [schema]):
        assert one["additionalProperties"] is False
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**dict.fromkeys(one["required"]), "another": 1}, schema)


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
