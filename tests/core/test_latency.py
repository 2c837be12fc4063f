"""Latency tables: read strictly, written canonically, and every rule of a row has a row that breaks it."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgeslim import LatencyTable
from edgeslim.benchmark.table.csv_view import to_csv
from edgeslim.core.latency import SCHEMA_FILE, ArtifactValue, LatencyStatistics, Quality
from edgeslim.core.passport import BatterySpan, ThermalSpan
from edgeslim.errors import OutputError, TableError

sys.path.insert(0, str(Path(__file__).parent))
from latency_rows import failed_row, full_table, row, table


def test_statistics_are_what_a_reader_gets_by_hand() -> None:
    figures = LatencyStatistics.of([4.0, 1.0, 3.0, 2.0])
    assert (figures.min_ms, figures.p50_ms, figures.max_ms, figures.mean_ms) == (1.0, 2.5, 4.0, 2.5)
    assert figures.p90_ms == pytest.approx(3.7)
    assert figures.std_ms == pytest.approx(1.25**0.5)
    with pytest.raises(TableError):
        LatencyStatistics.of([])


def test_round_trip_is_exact_and_canonical() -> None:
    text = full_table().to_json()
    assert LatencyTable.from_json(text) == full_table()
    assert LatencyTable.from_json(text).to_json() == text
    assert len(text.splitlines()) == 4 + 5 + 2  # rows, header keys, brackets


def test_fits_the_shipped_schema() -> None:
    schema = json.loads(SCHEMA_FILE.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(full_table().to_json()), schema)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    full_table().write(path)
    assert LatencyTable.read(path) == full_table()
    with pytest.raises(OutputError):
        full_table().write(path)
    full_table().write(path, overwrite=True)
    with pytest.raises(TableError, match="cannot read"):
        LatencyTable.read(tmp_path / "nowhere.json")
    path.write_text("{")
    with pytest.raises(TableError, match=r"table\.json"):
        LatencyTable.read(path)


def test_csv_is_a_view() -> None:
    lines = to_csv(full_table()).splitlines()
    assert len(lines) == 5
    assert "device.model" in lines[0]
    assert "samples_ms" not in lines[0]
    assert to_csv(table()).startswith("schema_version,")


def test_select() -> None:
    rows = full_table()
    assert [r.width_permille for r in rows.select(kind="burst", target="litert", threads=1)] == [500, 1000, 250]
    assert rows.select(kind="sustained", precision="fp16") == ()


BROKEN_ROWS = {
    "version": {"schema_version": 2},
    "hash": {"file_sha256": "AB" * 32},
    "bundle hash": {"bundle_sha256": "12"},
    "width": {"net": "0000", "width_permille": 0},
    "net": {"width_permille": 500, "net": "0750"},
    "artifact": {"variant": "a/b"},
    "label": {"label": " "},
    "negative count": {"order": -1},
    "shape": {"input_shape": (1, 0)},
    "negative time": {"load_cold_ms": -1.0},
    "level": {"thermal": ThermalSpan(level_max=5)},
    "charge": {"battery": BatterySpan(permille_end=1001)},
    "energy without method": {"energy_mj_per_inference": 1.0},
    "valid with reasons": {"reasons": ("too hot",)},
    "invalid without reasons": {"valid": False},
    "blocks that do not add up": {"block_runs": (2, 2)},
    "an empty block": {"block_runs": (5, 0)},
    "two homes for samples": {"samples_file": "a.bin"},
    "sibling in another folder": {"samples_ms": None, "samples_file": "../a.bin"},
    "sibling that hides": {"samples_ms": None, "samples_file": ".a"},
    "one statistic missing": {"p90_ms": None},
    "statistics without runs": {"runs": 0, "samples_ms": None},
    "zero latency": {"min_ms": 0.0},
    "percentiles out of order": {"p90_ms": 6.0},
    "mean outside": {"mean_ms": 8.0, "samples_ms": None},
    "samples and runs disagree": {"runs": 6},
    "statistic does not follow": {"std_ms": 0.5},
}


@pytest.mark.parametrize("change", BROKEN_ROWS.values(), ids=BROKEN_ROWS.keys())
def test_a_row_that_contradicts_itself(change: dict[str, Any]) -> None:
    with pytest.raises(TableError):
        row(**change)


def test_a_failed_row_cannot_be_valid() -> None:
    with pytest.raises(TableError):
        dataclasses.replace(failed_row(), valid=True, reasons=())
    with pytest.raises(TableError):
        dataclasses.replace(failed_row(), runs=3)


def test_a_table_refuses_the_same_row_twice_and_other_versions() -> None:
    with pytest.raises(TableError, match="twice"):
        table(row(), row(seed=1))
    with pytest.raises(TableError, match="schema_version"):
        table(schema_version=2)
    with pytest.raises(TableError, match="twice"):
        Quality(
            metric="top1", source="", larger_is_better=True, values=(ArtifactValue(artifact="a/0500", value=1.0),) * 2
        )


BROKEN_TEXTS = {
    "not json": "{",
    "not an object": "[]",
    "duplicate key": '{"rows": [], "rows": []}',
    "nan": '{"rows": NaN}',
    "infinity": '{"prior": {"scale": 1e999}}',
    "nested": "[" * 100_000,
    "not utf-8": b"\xff\xfe\x00",
}


@pytest.mark.parametrize("text", BROKEN_TEXTS.values(), ids=BROKEN_TEXTS.keys())
def test_text_that_is_no_table(text: str | bytes) -> None:
    with pytest.raises(TableError):
        LatencyTable.from_json(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("runs", 5.0), ("runs", True), ("runs", None), ("p50_ms", "6"), ("kind", "burst "), ("reasons", "x"),
        ("device", None), ("samples_ms", [6, "7"]), ("p50_ms", 10**400), ("order", 2**60), ("surprise", 1),
    ],
)  # fmt: skip
def test_a_field_of_the_wrong_type_is_named(name: str, value: object) -> None:
    document = json.loads(full_table().to_json())
    document["rows"][0][name] = value
    with pytest.raises(TableError, match=rf"rows\[0\]\.{name}"):
        LatencyTable.from_json(json.dumps(document))


def test_missing_fields_are_named() -> None:
    document = json.loads(full_table().to_json())
    del document["rows"][1]["device"]["cores"]
    with pytest.raises(TableError, match=r"rows\[1\]\.device\.cores is missing"):
        LatencyTable.from_json(json.dumps(document))


def test_whole_numbers_are_good_milliseconds() -> None:
    document = json.loads(table(row(samples_ms=None)).to_json())
    document["rows"][0]["max_ms"] = 7
    assert LatencyTable.from_json(json.dumps(document)) == table(row(samples_ms=None))
