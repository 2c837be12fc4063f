"""Tables for people, as rich renderables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgeslim.benchmark.table.compare import Comparison
from edgeslim.core.ladder import Ladder
from edgeslim.core.latency import LatencyRow, LatencyTable, Quality
from edgeslim.core.reasons import sentence


def line_name(row: LatencyRow) -> str:
    """Rows with the same one belong to one line of a picture, and to one ladder."""
    plural = "s" if row.runtime.threads > 1 else ""
    return f"{row.target} {row.precision}, {row.runtime.threads} thread{plural}"


def row_line(row: LatencyRow) -> str:
    """A finished row in one line of words."""
    what = f"{row.label} {line_name(row)}"
    took = (
        "not measured" if row.p50_ms is None else f"p50 {row.p50_ms:.4g} ms, p99 {row.p99_ms:.4g} ms, {row.runs} runs"
    )
    return f"{what}: {took}" + ("" if row.valid else f" (does not count: {'; '.join(row.reasons)})")


def table_view(table: LatencyTable, ladders: Mapping[str, Ladder]) -> Group:
    """Every line of the table (a target, threads, kind) as a table of its own; what does not count below it.

    Args:
        ladders: by ``line_name``; marks the artifacts that a controller would use.
    """
    parts: list[RenderableType] = [_title(table.rows)]
    lines: dict[tuple[str, str], list[LatencyRow]] = {}
    for row in table.rows:
        lines.setdefault((line_name(row), row.kind), []).append(row)
    for (name, kind), rows in lines.items():
        ladder = None if kind == "sustained" else ladders.get(name)
        parts += [_line_table(f"{name}, {kind}", rows, table.quality, ladder), *_remarks(rows, ladder)]
    return Group(*parts)


def _line_table(title: str, rows: Sequence[LatencyRow], quality: Quality | None, ladder: Ladder | None) -> Table:
    worth = {} if quality is None else quality.as_dict()
    energy = any(row.energy_mj_per_inference is not None for row in rows)
    view = Table(title=f"{title} (times in ms)", title_justify="left", box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for name in ["artifact", "p50", "p90", "p99", "runs", "cold", "warm", "rebuild", "MiB"]:
        view.add_column(name, justify="right", no_wrap=True)
    for name in [*(["mJ"] if energy else []), *([quality.metric] if quality else [])]:
        view.add_column(name, justify="right", no_wrap=True)
    view.add_column("counts", no_wrap=True)
    if ladder is not None:
        view.add_column("rung", no_wrap=True)
    for row in rows:
        times = (row.p50_ms, row.p90_ms, row.p99_ms), (row.load_cold_ms, row.load_warm_ms, row.rebuild_ms)
        cells = [row.label, *map(_ms, times[0]), str(row.runs), *map(_ms, times[1])]
        cells.append("–" if row.peak_rss_bytes is None else f"{row.peak_rss_bytes / (1 << 20):.0f}")
        if energy:
            cells.append("–" if row.energy_mj_per_inference is None else f"{row.energy_mj_per_inference:.3g}")
        if quality is not None:
            cells.append(_worth(quality, worth.get(row.artifact)))
        cells.append("yes" if row.valid else "no")
        if ladder is not None:
            cells.append("yes" if row.artifact in ladder.artifacts else "–")
        view.add_row(*cells)
    return view


def _remarks(rows: Sequence[LatencyRow], ladder: Ladder | None) -> list[RenderableType]:
    """Why rows do not count, why artifacts are no rungs, and what else is worth knowing; as plain lines."""
    lines = [f"{row.label} does not count: {'; '.join(row.reasons)}" for row in rows if not row.valid]
    lines += [f"{row.label}: {note}" for row in rows for note in (*row.notes, row.runtime.note) if note]
    if ladder is not None:
        lines += [f"{drop.label} is no rung: {sentence(drop.reason)}" for drop in ladder.dropped]
        lines += [f"ladder: {sentence(note)}" for note in ladder.notes]
    return [Text(f"  {line}") for line in lines]


def _title(rows: Sequence[LatencyRow]) -> str:
    names = {(row.device.model, row.device.soc, row.os.name, row.os.version): None for row in rows}
    return "; ".join(f"{model}, {soc or 'unknown processor'}, {os} {version}" for model, soc, os, version in names)


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _worth(quality: Quality, value: float | None) -> str:
    if value is None:
        return "–"
    scale, unit = unit_of(quality)
    return f"{value * scale:.1f}{unit}"


def unit_of(quality: Quality) -> tuple[float, str]:
    """(factor, unit) for people: accuracies are fractions, multiply-adds are many."""
    return (1e-6, " M") if quality.metric == "macs" else (100.0, " %")


def comparison_view(comparison: Comparison, name_a: str, name_b: str) -> Group:
    """Ratios with their intervals."""
    view = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for name in ("artifact", "row"):
        view.add_column(name, no_wrap=True)
    for name in (name_a, name_b, "ratio", "95 % interval"):
        view.add_column(name, justify="right", no_wrap=True)
    view.add_column("verdict", no_wrap=True)
    for row in comparison.rows:
        interval = "–" if row.ratio_low is None else f"{row.ratio_low:.3f} … {row.ratio_high:.3f}"
        view.add_row(
            row.label,
            f"{row.target} {row.precision} t{row.threads} {row.kind}",
            f"{row.a_ms:.4g} ms",
            f"{row.b_ms:.4g} ms",
            f"{row.ratio:.3f}",
            interval,
            row.verdict if row.valid else f"({row.verdict})",
        )
    return Group(view, *(Text(f"  {note}") for note in comparison.notes))
