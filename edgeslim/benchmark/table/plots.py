"""Pictures of a table, one PNG each; matplotlib is imported only here.

latency-width.png      p50 against width with the p50–p99 band, one line per target and threads
latency-time.png       every sample of the sustained rows against time
quality-latency.png    what the artifacts are worth against their p50, the ladder marked
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeslim.benchmark.table.report import line_name, unit_of
from edgeslim.core.ladder import Ladder
from edgeslim.core.latency import LatencyRow, LatencyTable
from edgeslim.core.worth import STAND_INS
from edgeslim.files import check_folder, write_atomically
from edgeslim.host.pictures import names_as_they_are

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURES = ("latency-width.png", "latency-time.png", "quality-latency.png")
_SIZE_INCHES = (7.0, 4.4)
_DPI = 130
_LABEL_PLACES = ((8, -10), (-24, 7), (8, 7), (-24, -10))  # points; lines of one picture do not share one


@names_as_they_are()
def write_plots(table: LatencyTable, ladders: dict[str, Ladder], folder: Path, *, overwrite: bool) -> list[Path]:
    """Write those pictures for which the table has something to show.

    Args:
        ladders: by the line they belong to (``report.line_name``).

    Raises:
        OutputError: a picture exists and ``overwrite`` is false, or cannot be written.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    check_folder(folder)
    written = []
    for name, draw in zip(PICTURES, (_width, _time, _quality), strict=True):
        figure, axes = plt.subplots(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
        try:
            if draw(axes, table, ladders):
                path = folder / name
                with write_atomically(path, overwrite=overwrite) as file:
                    figure.savefig(file, format="png")
                written.append(path)
        finally:
            plt.close(figure)
    return written


def _lines(rows: Iterable[LatencyRow]) -> dict[str, list[LatencyRow]]:
    lines: dict[str, list[LatencyRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (line_name(row), row.width_permille or 0)):
        if row.p50_ms is not None:
            lines[line_name(row)].append(row)
    return dict(lines)


def _width(axes: Axes, table: LatencyTable, ladders: dict[str, Ladder]) -> bool:
    wide = [row for row in table.rows if row.width_permille is not None]  # nets of channel vectors have no width
    shown = [row for row in wide if row.kind != "sustained"] or wide
    lines = _lines(shown)
    for name, rows in lines.items():
        widths = [_width_of(row) for row in rows]
        p50, p99 = ([_of(row, field) for row in rows] for field in ("p50_ms", "p99_ms"))
        (drawn,) = axes.plot(widths, p50, marker="o", markersize=4, label=name)
        axes.plot(widths, p99, color=drawn.get_color(), linewidth=0.8, linestyle=":")
        axes.fill_between(widths, p50, p99, alpha=0.12, color=drawn.get_color(), linewidth=0)
    doubtful = [row for rows in lines.values() for row in rows if not row.valid]
    if doubtful:
        places = [_width_of(row) for row in doubtful], [_of(row, "p50_ms") for row in doubtful]
        axes.scatter(*places, marker="x", s=30, color="black", zorder=3, label="does not count")
    axes.set(xlabel="width", ylabel="latency, ms (line: p50, band: to p99)", ylim=(0, None))
    _finish(axes, shown)
    return bool(lines)


def _time(axes: Axes, table: LatencyTable, ladders: dict[str, Ladder]) -> bool:
    rows = [row for row in table.rows if row.kind == "sustained" and row.samples_ms]
    for row in rows:
        samples = np.asarray(row.samples_ms)
        seconds = np.linspace(0, row.duration_s, len(samples))
        name = f"{row.label}, {line_name(row)}"
        (drawn,) = axes.plot(seconds, samples, ".", markersize=1.5, alpha=0.25)
        window = max(1, len(samples) // 60)
        medians = [float(np.median(samples[at : at + window])) for at in range(0, len(samples), window)]
        axes.plot(seconds[::window], medians, color=drawn.get_color(), linewidth=1.8, label=name)
    axes.set(xlabel="time, s", ylabel="latency, ms (points: runs, line: median of 1/60)", ylim=(0, None))
    if rows:
        top = max(_of(row, "p99_ms") for row in rows) * 1.3
        axes.set_ylim(0, top)
    _finish(axes, rows)
    return bool(rows)


def _quality(axes: Axes, table: LatencyTable, ladders: dict[str, Ladder]) -> bool:
    if table.quality is None:
        return False
    worth = table.quality.as_dict()
    shown = [row for row in table.rows if row.kind != "sustained" and row.artifact in worth]
    lines = _lines(shown)
    scale, unit = unit_of(table.quality)
    for turn, (name, rows) in enumerate(lines.items()):
        points = [(_of(row, "p50_ms"), worth[row.artifact] * scale) for row in rows]
        drawn = axes.scatter([x for x, _ in points], [y for _, y in points], s=22, label=name)
        for row, (x, y) in zip(rows, points, strict=True):
            place = _LABEL_PLACES[turn % len(_LABEL_PLACES)]
            axes.annotate(
                f"{row.label}",
                (x, y),
                xytext=place,
                textcoords="offset points",
                fontsize=7,
                color=drawn.get_facecolor()[0],
            )
        ladder = ladders.get(name)
        if ladder is not None:
            rungs = [
                (rung.t_us / 1000, rung.worth * scale / (1 if table.quality.metric in STAND_INS else 1_000_000))
                for rung in ladder.rungs
                if rung.artifact in {row.artifact for row in rows}
            ]
            color: Any = drawn.get_facecolor()[0]
            xs, ys = [x for x, _ in rungs], [y for _, y in rungs]
            axes.plot(xs, ys, color=color, linewidth=1.2)
            axes.scatter(xs, ys, s=110, facecolors="none", edgecolors=[color], label=f"ladder: {name}")
    macs = table.quality.metric == "macs"
    label = "million multiply-adds (standing in for accuracy)" if macs else f"{table.quality.metric},{unit}"
    right = 1.12 * max((_of(row, "p50_ms") for rows in lines.values() for row in rows), default=1.0)
    axes.set(xlabel="p50 latency, ms", ylabel=label, xlim=(0, right))
    _finish(axes, shown)
    return bool(lines)


def _of(row: LatencyRow, name: str) -> float:
    value = getattr(row, name)
    assert value is not None
    return float(value)


def _finish(axes: Axes, rows: Sequence[LatencyRow]) -> None:
    names = {f"{row.device.model}, {row.device.soc or row.device.manufacturer or 'unknown'}": None for row in rows}
    axes.set_title("; ".join(names), loc="left", fontsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    if unique:
        axes.legend(unique.values(), unique.keys(), fontsize=8, frameon=False)


def _width_of(row: LatencyRow) -> float:
    return (row.width_permille or 0) / 1000
