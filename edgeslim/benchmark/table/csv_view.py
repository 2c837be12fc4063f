"""A latency table as CSV, one line per row: for spreadsheets, and for csv_import.py, which reads it back.

Samples and the device that a prior was scaled from are not in it.
"""

from __future__ import annotations

import csv
import io
from dataclasses import fields
from typing import Any

from edgeslim.core.latency import LatencyRow, LatencyTable, Quality
from edgeslim.core.strict_json import canonical, encode


def to_csv(table: LatencyTable) -> str:
    """Nested fields as ``device.model``, numbers separated by spaces, texts as a JSON list; what a row's artifact is
    worth beside it."""
    flat = [_flatten(encode(row)) | _worth(table.quality, row) for row in table.rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(flat[0]) if flat else _row_columns(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue()


def _worth(quality: Quality | None, row: LatencyRow) -> dict[str, Any]:
    if quality is None:
        return {}
    about = {name: getattr(quality, name) for name in ("metric", "larger_is_better", "source")}
    about["value"] = quality.as_dict().get(row.artifact)
    return _flatten(about, "quality.")


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
            flat[prefix + name] = _cell(value)
    return flat


def _cell(value: Any) -> Any:
    if isinstance(value, list) and any(isinstance(item, str) for item in value):
        return canonical(value)
    if isinstance(value, list):
        return " ".join(map(str, value))
    return canonical(value) if isinstance(value, bool) else value
