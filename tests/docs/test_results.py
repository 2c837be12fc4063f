"""docs/results.md is what the records say, and a record cannot say what its own numbers do not."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import make_results as results
import pytest
import record

from edgeslim.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


def row() -> dict[str, Any]:
    """A record that keeps its promise."""
    return {
        "aim": "rebuilding / writing",
        "promised": {"comparison": "<=", "number": 2.0, "text": "at most 2x"},
        "measured": [1.5, 2.0],
        "unit": "x",
        "of": ["litert", "executorch"],
        "spread": [],
        "kept": True,
        "command": "python profiling/rebuild_speed.py BUNDLE",
        "processor": "a processor",
        "cores": 2,
        "versions": {"python": "3.11.7"},
        "date": "2026-11-24",
        "notes": ["Made up."],
    }


def test_the_page_is_what_the_records_say() -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert page == results.page(record.read_all()), "run: python docs/make_results.py"


def test_a_broken_promise_is_explained() -> None:
    unexplained = [
        f"{name}: {one.aim}"
        for name, rows in record.read_all().items()
        for one in rows
        if one.kept is False and not one.notes
    ]
    assert unexplained == []


def test_every_benchmark_can_record() -> None:
    helpers = {"ladders", "record", "small_net", "trained_nets"}
    scripts = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "profiling").glob("*.py")}
    benchmarks = scripts.keys() - helpers
    assert all("record.add_option(" in scripts[name] for name in benchmarks)
    assert benchmarks <= results.SECTIONS.keys()


def test_a_file_reads_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps([row()]), encoding="utf-8")
    (read,) = record.read(path)
    assert read.measured == (1.5, 2.0)
    path.write_text(record.text_of([read]), encoding="utf-8")
    assert record.read(path) == (read,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"measured": [1.5, 2.1]}, "kept is True, the numbers say False"),
        ({"kept": False}, "kept is False, the numbers say True"),
        ({"promised": None}, "kept is True, the numbers say None"),
        ({"of": ["litert"]}, "1 names for 2 numbers"),
        ({"spread": [0.1]}, "1 deviations for 2 numbers"),
        ({"measured": [], "of": []}, "nothing was measured"),
        ({"measured": ["1.5", "2.0"]}, "expected a number"),
        ({"command": "python profiling/rebuild_speed.py /home/somebody/b.slim"}, "a path of one machine"),
        ({"notes": ["The bundle was in /tmp/x/b.slim."]}, "a path of one machine"),
        ({"date": "24.11.2026"}, "expected YYYY-MM-DD"),
        ({"cores": 0}, "0 cores"),
        ({"processor": ""}, "never empty"),
        ({"wished": 1}, "wished is not known"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps([row() | change]), encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        record.read(path)


def test_an_empty_or_missing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text("[]")
    with pytest.raises(UsageError, match="not a list of records"):
        record.read(tmp_path / "none.json")
    with pytest.raises(UsageError, match="cannot read"):
        record.read(tmp_path / "other.json")


@pytest.mark.parametrize(
    ("comparison", "kept"),
    [
        ("<=", [True, True, False]),
        (">=", [False, True, True]),
        ("==", [False, True, False]),
        (">", [False, False, True]),
    ],
)
def test_a_promise_is_a_comparison(comparison: record.Comparison, kept: list[bool]) -> None:
    promise = record.Promise(comparison=comparison, number=2.0, text="two")
    assert [promise.keeps(value) for value in (1.0, 2.0, 3.0)] == kept


def test_one_number_that_breaks_it_breaks_the_promise() -> None:
    figure: Callable[..., Any] = record.Figure
    promise = record.Promise(comparison="<=", number=2.0, text="at most 2x")
    assert figure(aim="a", promised=promise, measured=(1.0, 2.0), unit="x").kept is True
    assert figure(aim="a", promised=promise, measured=(1.0, 2.1), unit="x").kept is False
    assert figure(aim="a", measured=(1.0,), unit="x").kept is None


def test_a_benchmark_writes_what_the_page_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(ROOT / "rebuild_speed.py"), str(tmp_path / "b.slim"), "--record", "--n", "3"])
    passport = record.begin("numpy", "not-installed-anywhere")
    promise = record.Promise(comparison="<=", number=2.0, text="at most 2x")
    figures = [
        record.Figure(aim="rebuilding", promised=promise, measured=(2.5,), unit="x", notes=("A slow disk.",)),
        record.Figure(aim="opening", measured=(1234567.0, 0.25), unit="ms", of=("first", "later"), spread=(1.0, 0.125)),
    ]
    record.write("rebuild_speed-litert", figures, passport, folder=tmp_path)
    rows = record.read_all(tmp_path)
    assert rows["rebuild_speed-litert"][0].command == "python profiling/rebuild_speed.py b.slim --n 3"
    assert "numpy" in rows["rebuild_speed-litert"][0].versions
    page = results.page(rows)
    assert "0 of 1 are" in page
    assert "| core | rebuilding | at most 2x | 2.5 x | **no** |" in page
    assert "* rebuilding: A slow disk." in page
    assert "| opening | 1,234,567 ± 1 | 0.25 ± 0.125 |" in page


def test_records_of_no_section_are_refused(tmp_path: Path) -> None:
    (tmp_path / "stranger.json").write_text(json.dumps([row()]), encoding="utf-8")
    with pytest.raises(SystemExit, match="no section for stranger"):
        results.page(record.read_all(tmp_path))
