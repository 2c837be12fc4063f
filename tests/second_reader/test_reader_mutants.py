"""The golden bundles bite: every mistake of ``reader_mutants.py`` in the second reader is noticed by one of them.

reader.py ─► one line replaced ─► the goldens one after another, until one comes out otherwise
"""

from __future__ import annotations

import hashlib
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from reader_mutants import MUTANTS
from test_second_reader import INDEX, content_of

SOURCE = Path(__file__).with_name("reader.py").read_text(encoding="utf-8")
DEPTHS = ("open", "rebuild", "parts", "files")
Golden = tuple[dict[str, Any], bytes]


def changed(old: str, new: str) -> types.ModuleType:
    """The second reader with one line said otherwise."""
    module = types.ModuleType("edgeslim_mutant_of_second_reader")
    sys.modules[module.__name__] = module  # dataclasses look for it
    exec(compile(SOURCE.replace(old, new, 1), "<mutant>", "exec"), module.__dict__)
    return module


@pytest.fixture(scope="module")
def goldens() -> list[Golden]:
    """Small ones first: most mistakes are found there."""
    found = [(row, content_of(row)) for row in INDEX["good"] + INDEX["bad"]]
    return sorted(found, key=lambda golden: len(golden[1]))


def outcome(reader: Any, golden: Golden) -> object:
    """What ``index.json`` says of a golden, as this reader finds it."""
    row, data = golden
    if "rule" not in row:
        bundle = reader.Bundle(data)
        bundle.check("files")
        return [
            {path: hashlib.sha256(content).hexdigest() for path, content in bundle.rebuild(one["artifact"]).items()}
            for one in row["artifacts"]
        ]

    def refusal(read: Callable[..., object], *arguments: object) -> str | None:
        try:
            read(*arguments)
        except reader.Refused as refused:
            return str(refused.rule)
        return None

    at_open = refusal(reader.Bundle, data)
    if at_open is not None:
        return dict.fromkeys(DEPTHS, at_open)
    bundle = reader.Bundle(data)
    return {
        "open": None,
        "rebuild": refusal(bundle.rebuild, row["artifact"]),
        "parts": refusal(bundle.check, "parts"),
        "files": refusal(bundle.check, "files"),
    }


def wanted(row: dict[str, Any]) -> object:
    if "rule" in row:
        return {depth: row["rule"] if depth in row["refused"] else None for depth in DEPTHS}
    return [one["files"] for one in row["artifacts"]]


def noticed(reader: Any, goldens: list[Golden]) -> str | None:
    """The first golden that comes out otherwise."""
    for golden in goldens:
        try:
            if outcome(reader, golden) != wanted(golden[0]):
                return str(golden[0]["path"])
        except Exception:
            return str(golden[0]["path"])
    return None


def test_every_mistake_is_one_line_of_the_reader() -> None:
    assert [old for old, _ in MUTANTS if SOURCE.count(old) != 1] == []
    assert len(set(MUTANTS)) == len(MUTANTS)


@pytest.mark.slow
def test_no_mistake_is_overlooked(goldens: list[Golden]) -> None:
    overlooked = []
    for old, new in MUTANTS:
        by = noticed(changed(old, new), goldens)
        print(f"{by or 'ALIVE'}: {old} → {new}")
        if by is None:
            overlooked.append(f"{old} → {new}")
    assert overlooked == []
