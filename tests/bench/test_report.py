"""What people see of a table."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest
from rich.console import Console
from table_rows import failed, row, table

from edgeslim.benchmark.table import report
from edgeslim.benchmark.table.compare import compare
from edgeslim.benchmark.table.plots import write_plots
from edgeslim.core.ladder import ladder
from edgeslim.core.latency import ArtifactValue, LatencyTable, Quality
from edgeslim.core.width import net_id
from edgeslim.errors import OutputError


def quality(metric: str, **values: float) -> Quality:
    listed = tuple(
        ArtifactValue(artifact=f"litert-fp32-8/{net_id(int(name[1:]))}", value=value) for name, value in values.items()
    )
    return Quality(metric=metric, source="test", larger_is_better=True, values=listed)


def shown(view: object, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width, no_color=True).print(view)
    return out.getvalue()


def measured() -> LatencyTable:
    rows = table(
        row(4.0, width_permille=250),
        row(4.5, width_permille=500, valid=False, reasons=("load: other processes used 30% of the processors",)),
        row(10.0, width_permille=1000, energy_mj_per_inference=21.5, energy_method="rapl"),
        failed(width_permille=750),
        row(12.0, width_permille=1000, kind="sustained"),
    )
    return dataclasses.replace(rows, quality=quality("top1", w250=0.5, w500=0.6, w750=0.65, w1000=0.712))


def test_a_table_fits_80_columns_and_says_everything() -> None:
    found = measured()
    text = shown(report.table_view(found, {report.line_name(found.rows[0]): ladder(found)}))
    assert max(map(len, text.splitlines())) <= 80
    for words in (
        "litert fp32, 1 thread, burst", "litert fp32, 1 thread, sustained", "71.2 %", "21.5",
        "0.75x does not count: crashed: x", "other processes used 30%", "0.5x is no rung",
    ):  # fmt: skip
        assert words in text


def test_multiply_adds_are_not_percent() -> None:
    found = dataclasses.replace(table(row(width_permille=500)), quality=quality("macs", w500=97_000_000.0))
    assert "97.0 M" in shown(report.table_view(found, {}))


def test_a_row_in_one_line() -> None:
    assert report.row_line(failed(width_permille=250)) == (
        "0.25x litert fp32, 1 thread: not measured (does not count: crashed: x)"
    )
    assert report.row_line(row(10.0)).startswith("0.5x litert fp32, 1 thread: p50 9.997 ms, p99 10.22 ms, 300 runs")


def test_a_comparison_fits_80_columns() -> None:
    text = shown(report.comparison_view(compare(table(row()), table(row(12.0, seed=1))), "first", "second"))
    assert "slower" in text
    assert max(map(len, text.splitlines())) <= 80


def test_every_picture_is_drawn_and_none_is_replaced(tmp_path: Path) -> None:
    found = measured()
    ladders = {report.line_name(found.rows[0]): ladder(found)}
    paths = write_plots(found, ladders, tmp_path / "new", overwrite=False)
    assert [path.name for path in paths] == ["latency-width.png", "latency-time.png", "quality-latency.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    with pytest.raises(OutputError, match="exists"):
        write_plots(found, ladders, tmp_path / "new", overwrite=False)
    bare = table(row())
    assert [path.name for path in write_plots(bare, {}, tmp_path / "new", overwrite=True)] == ["latency-width.png"]
