"""A latency table as CSV: a view for spreadsheets, one line per row."""

from __future__ import annotations

import csv
import io
from dataclasses import fields
from typing import Any

from edgeslim.core.latency import LatencyRow, LatencyTable
from edgeslim.core.strict_json import encode


def to_csv(table: LatencyTable) -> str:
    """Nested fields as ``device.model``; without the samples."""
    flat = [_flatten(encode(row)) for row in table.rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(flat[0]) if flat else _row_columns(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue()


def _row_columns() -> list[str]:
    return [field.name for field in fields(LatencyRow) if field.name != "samples_ms"]


def _flatten(row: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name == "samples_ms":
            continue
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = " ".join(map(str, value)) if isinstance(value, list) else value
    return flat
