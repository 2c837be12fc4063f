"""The report's figures, drawn small enough to be read on a phone; each is an SVG as text.

Inputs are the JSON documents of the command line, nothing else.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Document = dict[str, Any]
COLOURS = ("#1d4ed8", "#c2410c", "#15803d", "#7c3aed", "#0f766e")  # of the bundle's targets, in their order
PARTS = {
    "weights": ("weights, once", "#334155"),
    "folds": ("BatchNorm folds", "#0891b2"),
    "templates": ("templates", "#d97706"),
    "recipes": ("recipes", "#be185d"),
    "manifest": ("manifest", "#65a30d"),
    "header": ("header", "#94a3b8"),
}
SIZE = (4.6, 3.3)  # inches; at 360 CSS pixels wide the text is still about 10 px high


def _figure() -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
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
            f"{row['permille'] / 1000:g}x", (left, up), xytext=(0, -13), textcoords="offset points", ha="center", size=8
        )
    axes.margins(y=0.25)
    axes.set_xlabel("million multiply-adds")
    axes.set_ylabel("top-1 accuracy, %")
    return _svg(figure)


def anatomy(inspected: Document) -> str:
    """The bundle's parts, stacked, beside the same files kept separately."""
    figure, axes = _figure()
    separate = {
        target: sum(file["bytes"] for row in rows for file in row["files"])
        for target, rows in inspected["targets"].items()
    }
    bottom = 0.0
    for number, (target, size) in enumerate(separate.items()):
        colour = COLOURS[number % len(COLOURS)]
        axes.bar("separate files", size / 1e6, bottom=bottom, color=colour, label=target)
        bottom += size / 1e6
    axes.annotate(f"{bottom:.2f} MB", ("separate files", bottom), ha="center", va="bottom", size=9)
    bottom = 0.0
    for part, (label, colour) in PARTS.items():
        size = inspected["parts"][part]
        axes.bar("one bundle", size / 1e6, bottom=bottom, color=colour, label=label)
        bottom += size / 1e6
    axes.annotate(f"{bottom:.2f} MB", ("one bundle", bottom), ha="center", va="bottom", size=9)
    axes.set_ylabel("MB")
    axes.margins(x=0.1, y=0.12)
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside right upper", fontsize=7.5, frameon=False)
    return _svg(figure)


def latency(rows: list[Document]) -> str:
    """p50 per width and target, with the band from p50 to p99."""
    figure, axes = _figure()
    for number, target in enumerate(dict.fromkeys(row["target"] for row in rows)):
        mine = sorted(
            (row for row in rows if row["target"] == target and row["p50_ms"]), key=lambda r: r["width_permille"]
        )
        x = [row["width_permille"] / 1000 for row in mine]
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(x, [row["p50_ms"] for row in mine], "-o", color=colour, markersize=4, label=target)
        axes.fill_between(
            x, [row["p50_ms"] for row in mine], [row["p99_ms"] for row in mine], color=colour, alpha=0.15, linewidth=0
        )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("width")
    axes.set_ylabel("latency, ms (line p50, band to p99)")
    axes.legend(fontsize=8, frameon=False)
    return _svg(figure)
