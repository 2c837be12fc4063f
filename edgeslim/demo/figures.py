"""The report's figures, drawn small enough to be read on a phone; each is an SVG as text.

Colours are Okabe and Ito's, told apart by every kind of eye; lines differ in their markers too, so that a grey print
says the same. Inputs are the JSON documents of the command line, nothing else.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgeslim.core.width import Width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Document = dict[str, Any]
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito, 2008
MARKERS = ("o", "s", "^", "D", "v", "P")
SIZE = (4.6, 3.0)  # inches; at 360 CSS pixels wide the text is still about 10 px high


def _figure(height: float = SIZE[1]) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIZE[0], height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
    axes.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def _svg(figure: Figure) -> str:
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "edgeslim"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def spectrum(evaluated: Document, counted: Document) -> str:
    """Accuracy against multiply-adds, one point per width."""
    macs = {row["permille"]: row["macs"] for row in counted["rows"]}
    rows = [row for row in evaluated["rows"] if row["permille"] in macs]
    figure, axes = _figure()
    x = [macs[row["permille"]] / 1e6 for row in rows]
    y = [100 * row["top1"] for row in rows]
    axes.plot(x, y, "-o", color=COLOURS[0], markersize=5)
    for row, left, up in zip(rows, x, y, strict=True):
        axes.annotate(
            f"{Width(row['permille'])}x", (left, up), xytext=(0, -13), textcoords="offset points", ha="center", size=8
        )
    axes.margins(x=0.08, y=0.25)
    axes.set_xlabel("million multiply-adds per image")
    axes.set_ylabel("right answers, %")
    return _svg(figure)


def sizes(bars: Sequence[tuple[str, int]]) -> str:
    """Bytes, one bar each, with its size beside it."""
    figure, axes = _figure(1.5)
    names = [name for name, _ in bars]
    values = [size / 1e6 for _, size in bars]
    axes.barh(names, values, color=("#8a8f98", COLOURS[0], COLOURS[1])[: len(bars)], height=0.62)
    for name, value in zip(names, values, strict=True):
        axes.annotate(f"{value:.1f} MB", (value, name), xytext=(4, 0), textcoords="offset points", va="center", size=9)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_visible(False)
    axes.spines[["bottom"]].set_visible(False)
    return _svg(figure)


def latency(rows: list[Document]) -> str:
    """p50 per width and runtime, with the band from p50 to p99."""
    figure, axes = _figure()
    for number, target in enumerate(dict.fromkeys(row["target"] for row in rows)):
        mine = sorted((row for row in rows if row["target"] == target), key=lambda r: r["width_permille"])
        x = [row["width_permille"] / 1000 for row in mine]
        p50, p99 = ([row[name] for row in mine] for name in ("p50_ms", "p99_ms"))
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        axes.plot(x, p50, marker=marker, color=colour, markersize=5, label=target)
        axes.fill_between(x, p50, p99, color=colour, alpha=0.15, linewidth=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("width")
    axes.set_ylabel("milliseconds (line p50, band to p99)")
    axes.legend(fontsize=8, frameon=False)
    return _svg(figure)
