"""Somebody else's measurements: a CSV as a latency table.

    CSV ─► header (known columns, none twice) ─► cells by their columns' types ─► LatencyRow ─► LatencyTable
                                                                     └─ quality.* or top1 ─► Quality

Columns are the short ones of ``SHORT``, as a published table has them, and those that ``bench --csv`` writes; both may
stand in one file, and an empty cell is one that is not given. Rows without a ``kind`` are of kind ``prior``: somebody
else measured them. What a row does not say about itself is said to be unknown, never made up; where only the latency is
known the percentiles repeat it, and a note says so. docs/guides/import-a-table.md is this file for people.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import io
import json
import math
import re
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import edgeslim
from edgeslim.core.latency import ArtifactValue, LatencyRow, LatencyTable, Quality, label_of
from edgeslim.core.strict_json import MAX_FLOAT, StrictJsonError, decode
from edgeslim.core.width import Width, net_id
from edgeslim.errors import TableError, WidthError
from edgeslim.files import read_file

MAX_BYTES = 16 << 20
MAX_ROWS = 4096
MAX_CELL = 4096
PAGE = "docs/guides/import-a-table.md"

UNKNOWN_FILE = "0" * 64
"""``file_sha256`` of a row whose file nobody has: it is never taken for the row of an artifact of a bundle."""

SHORT = ("width", "label", "latency_ms", "energy_mj", "top1", "device", "target", "precision", "input", "threads")
_LONG = {
    "label": "label",
    "latency_ms": "p50_ms",
    "energy_mj": "energy_mj_per_inference",
    "device": "device.model",
    "target": "target",
    "precision": "precision",
    "threads": "runtime.threads",
}
_RANGES = {
    "latency_ms": (1e-3, 60_000.0),
    "energy_mj": (0.0, 1e6),
    "top1": (0.0, 100.0),
    "input": (1.0, 16_384.0),
    "threads": (1.0, 1024.0),
}
_QUALITY = {"quality.metric": str, "quality.value": float, "quality.larger_is_better": bool, "quality.source": str}
_RISING = ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms")

_WHOLE = re.compile(r"-?[0-9]{1,16}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][+-]?[0-9]{1,3})?")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_NOT_IN_IDS = re.compile(r"[^a-z0-9_.-]+")

Cells = dict[str, Any]
"""A row's values by column; a cell that is empty is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A row of the file, and its line number there."""

    number: int
    cells: Cells


def read_csv(path: Path) -> LatencyTable:
    """The measurements in the CSV ``path`` as a latency table.

    Raises:
        TableError: it cannot be read, or is no such table; says the line and the column.
    """
    try:
        data = read_file(path, most_bytes=MAX_BYTES)
    except OSError as error:
        raise TableError(f"cannot read the CSV {path}: {error.strerror}", hint=f"{PAGE} says what it holds") from None
    try:
        return from_csv(data, name=path.name)
    except TableError as error:
        raise TableError(f"{path}: {error.message}", hint=error.hint or f"{PAGE} says what it holds") from None


def from_csv(data: bytes, *, name: str) -> LatencyTable:
    """The table that the CSV ``data`` holds; ``name`` is said in its rows to be where they come from."""
    lines = list(_lines(data))
    if not lines:
        raise TableError("there is no row below the header")
    lines = _as_fractions(lines)
    several = {name: len({line.cells.get(name) for line in lines}) > 1 for name in ("precision", "input")}
    rows: dict[object, int] = {}
    found = []
    for order, line in enumerate(lines):
        try:
            row = decode(LatencyRow, _nested(_described(line.cells, order, name, several)))
        except StrictJsonError as error:
            raise TableError(f"line {line.number}: {error}") from None
        except (TableError, WidthError) as error:
            raise TableError(f"line {line.number}: {error.message}", hint=error.hint) from None
        key = (row.artifact, row.kind, row.file_sha256, row.device, row.os, row.runtime, row.context, row.qos)
        if key in rows:
            raise TableError(
                f"lines {rows[key]} and {line.number} are both {row.label} on {row.device.model}",
                hint="tell them apart with a column: device, target, precision, input or threads",
            )
        rows[key] = line.number
        found.append(row)
    return LatencyTable(
        edgeslim_version=edgeslim.__version__,
        created_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        quality=_quality(lines, found, name),
        rows=tuple(found),
    )


# reading cells


def _columns() -> dict[str, Any]:
    """Every column there may be and the type of its cells."""

    def walk(cls: type, prefix: str) -> Iterator[tuple[str, Any]]:
        for name, kind in get_type_hints(cls).items():
            if dataclasses.is_dataclass(kind):
                yield from walk(kind, f"{prefix}{name}.")  # type: ignore[arg-type]
            elif name != "samples_ms":
                yield prefix + name, kind

    short = {"width": str, "latency_ms": float, "energy_mj": float, "top1": float, "device": str, "input": int}
    return {**dict(walk(LatencyRow, "")), **_QUALITY, **short, "threads": int}


def _lines(data: bytes) -> Iterator[_Line]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableError(f"byte {error.start} is not UTF-8", hint="save it as CSV, UTF-8") from None
    if bad := _CONTROL.search(text):
        raise TableError(f"it holds the control character {bad[0]!r}: it is no CSV")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    known = _columns()
    try:
        header = _header(next(reader, []), known)
        for count, cells in enumerate(row for row in reader if any(cell.strip() for cell in row)):
            if count >= MAX_ROWS:
                raise TableError(f"line {reader.line_num}: it has more than {MAX_ROWS} rows")
            if len(cells) != len(header):
                raise TableError(
                    f"line {reader.line_num} has {len(cells)} cells, the header has {len(header)}",
                    hint='a cell with a comma in it stands in quotes: "a, b"',
                )
            yield _Line(number=reader.line_num, cells=_cells(header, cells, known, reader.line_num))
    except csv.Error as error:
        raise TableError(f"line {reader.line_num}: {error}") from None


def _header(cells: Sequence[str], known: Mapping[str, Any]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        raise TableError(
            "its columns are not separated by commas", hint="save it with commas, and decimals with points"
        )
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name[:100].lower(), known, n=1, cutoff=0.5)
            raise TableError(
                f"line 1: the column {name[:100]!r} is not known" + (f"; is it {near[0]!r}?" if near else ""),
                hint=f"known are {', '.join(SHORT)} and those that `bench --csv` writes; leave others out ({PAGE})",
            )
        if names.count(name) > 1:
            raise TableError(f"line 1: the column {name!r} stands twice")
        if name in _LONG and _LONG[name] != name and _LONG[name] in names:
            raise TableError(f"line 1: {name!r} and {_LONG[name]!r} are the same column")
    for wanted in (("latency_ms", "p50_ms"), ("width", "label", "artifact")):
        if not set(wanted) & set(names):
            raise TableError(
                f"line 1: there is no column {' or '.join(wanted)}", hint="width,latency_ms,top1 is enough of a header"
            )
    return names


def _cells(header: Sequence[str], row: Sequence[str], known: Mapping[str, Any], number: int) -> Cells:
    found: Cells = {}
    for name, text in zip(header, row, strict=True):
        text = text.strip()
        where = f"line {number}, column {name}"
        if len(text) > MAX_CELL:
            raise TableError(f"{where} has {len(text):,} characters, expected at most {MAX_CELL}")
        if not text:
            if name in ("latency_ms", "width"):
                raise TableError(f"{where} is empty", hint="leave out rows that were not measured")
            continue
        try:
            value = _value(known[name], text)
        except ValueError as error:
            raise TableError(f"{where} is {text[:60]!r}, expected {error}") from None
        low, high = _RANGES.get(name, (-MAX_FLOAT, MAX_FLOAT))
        if isinstance(value, int | float) and not low <= value <= high:
            raise TableError(f"{where} is {text[:60]!r}, expected {low:g} to {high:g}")
        found[name] = value
    return found


def _value(kind: Any, text: str) -> Any:
    """``text`` as a value of JSON for a field of this type; ``ValueError`` says what was expected."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _value(next(option for option in inner if option is not type(None)), text)
    if origin is tuple and inner[0] is str:
        return _texts(text)
    if origin is tuple:
        return [_value(inner[0], part) for part in text.split()]
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError("true or false")
        return text.lower() == "true"
    if kind is int:
        if not _WHOLE.fullmatch(text):
            raise ValueError("a whole number")
        return int(text)
    if kind is float:
        if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
            raise ValueError("a finite number like 12.5")
        return float(text)
    return text


def _texts(text: str) -> list[str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise ValueError('a list of texts like ["a", "b"]')
    return found


# what a row says, and what it does not


def _as_fractions(lines: list[_Line]) -> list[_Line]:
    """``top1`` of all rows as fractions; a column that is above 1 throughout is in percent."""
    values = [line.cells["top1"] for line in lines if "top1" in line.cells]
    if not any(value > 1 for value in values):
        return lines
    for line in lines:
        value = line.cells.get("top1")
        if value is not None and value <= 1:
            raise TableError(
                f"line {line.number}, column top1 is {value:g} where others are above 1",
                hint="write all of them as fractions (0.718) or all in percent (71.8)",
            )
    return [
        dataclasses.replace(
            line, cells={**line.cells, **({"top1": line.cells["top1"] / 100} if "top1" in line.cells else {})}
        )
        for line in lines
    ]


def _described(cells: Cells, order: int, source: str, several: Mapping[str, bool]) -> Cells:
    """A row's cells by the names of ``LatencyRow``, completed."""
    given = {name: value for name, value in cells.items() if name not in SHORT and name not in _QUALITY}
    given |= {_LONG[name]: value for name, value in cells.items() if name in _LONG}
    given |= _identity(given, cells, several)
    if "input" in cells:
        given.setdefault("input_shape", [1, 3, cells["input"], cells["input"]])
    if given.get("energy_mj_per_inference") is not None:
        given.setdefault("energy_method", "other")
    notes = []
    if "kind" not in given:
        notes.append(f"imported from {source}")
    if given.get("p50_ms") is not None:
        filled = _percentiles(given)
        if filled:
            notes.append("the other percentiles repeat what was given")
        given |= filled
        given.setdefault("runs", 1)
    return _BLANK | {"order": order, "notes": notes, "edgeslim_version": edgeslim.__version__} | given


def _identity(given: Cells, cells: Cells, several: Mapping[str, bool]) -> Cells:
    """Artifact, net and label, from whatever of them is given."""
    found: Cells = {}
    if "width" in cells:
        width = Width.parse(cells["width"].removesuffix("x").removesuffix("×"))
        found["width_permille"] = given.get("width_permille", width.permille)
    if "artifact" in given:
        net = given.get("net", given["artifact"].partition("/")[2])
    else:
        permille = found.get("width_permille", given.get("width_permille"))
        net = given.get("net") or (_plain(given["label"]) if permille is None and "label" in given else None)
        if net is None:
            if permille is None:
                raise TableError("neither width nor label is given")
            net = net_id(permille)
        parts = [
            given.get("target", _BLANK["target"]),
            *(cells[name] for name in ("precision", "input") if name in cells),
        ]
        found["artifact"] = f"{'-'.join(_plain(str(part)) for part in parts)}/{net}"
    found["net"] = net
    if "label" not in given:
        size = str(cells["input"]) if several["input"] and "input" in cells else None
        found["label"] = label_of(net, precision=cells.get("precision") if several["precision"] else None, input=size)
    return found


def _plain(text: str) -> str:
    """``text`` as a part of an id."""
    found = _NOT_IN_IDS.sub("-", text.lower()).strip("-.")[:128]
    if not found:
        raise TableError(f"{text[:60]!r} has no letter or digit to make an id of")
    return found


def _percentiles(given: Cells) -> Cells:
    """The statistics that are not given: each the next lower one that is."""
    filled: Cells = {}
    last = given["p50_ms"]
    for name in _RISING:
        last = given.get(name, last)
        if name not in given:
            filled[name] = last
    rest = {"min_ms": given["p50_ms"], "mean_ms": given["p50_ms"], "std_ms": 0.0}
    return filled | {name: value for name, value in rest.items() if name not in given}


_BLANK: Cells = {
    "file_sha256": UNKNOWN_FILE,
    "bundle_sha256": None,
    "width_permille": None,
    "target": "published",
    "precision": "unknown",
    "input_shape": [],
    "device.manufacturer": None,
    "device.model": "unknown device",
    "device.soc": None,
    "device.cores": 1,
    "device.ram_bytes": None,
    "device.cpu_max_khz": [],
    "os.name": "unknown",
    "os.version": "",
    "os.build": None,
    "runtime.name": "unknown",
    "runtime.version": "",
    "runtime.delegate_requested": None,
    "runtime.delegate_actual": None,
    "runtime.threads": 1,
    "context": "process",
    "warmup_runs": 0,
    "runs": 0,
    "duration_s": 0.0,
    "kind": "prior",
    "seed": 0,
    "valid": True,
    "reasons": [],
    "started_at": "",
}


def _nested(flat: Cells) -> Cells:
    nested: Cells = {}
    for name, value in flat.items():
        *path, last = name.split(".")
        place = nested
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return nested


def _quality(lines: Sequence[_Line], rows: Sequence[LatencyRow], source: str) -> Quality | None:
    values: dict[str, tuple[float, int]] = {}
    about: tuple[Any, ...] | None = None
    for line, row in zip(lines, rows, strict=True):
        cells = line.cells
        if "top1" in cells:
            value, metric = cells["top1"], "top1"
            if "quality.value" in cells:
                raise TableError(f"line {line.number}: 'top1' and 'quality.value' say the same twice")
        elif "quality.value" in cells:
            value, metric = cells["quality.value"], cells.get("quality.metric", "top1")
        else:
            continue
        here = (
            metric,
            cells.get("quality.source", f"imported from {source}"),
            cells.get("quality.larger_is_better", True),
        )
        if about is not None and here != about:
            raise TableError(
                f"line {line.number}: a table has one metric, from one source; here {here[0]!r}, {here[1]!r}"
            )
        about = here
        before, number = values.setdefault(row.artifact, (value, line.number))
        if before != value:
            raise TableError(f"lines {number} and {line.number}: {row.artifact} is worth {before:g} and {value:g}")
    if about is None:
        return None
    metric, told, larger = about
    worth = tuple(ArtifactValue(artifact=artifact, value=value) for artifact, (value, _) in values.items())
    return Quality(metric=metric, source=told, larger_is_better=larger, values=worth)
