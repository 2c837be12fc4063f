"""Draws docs/one-bundle.svg from what ``pack`` reported: ``python docs/make_figure.py PACK.json``.

PACK.json is the document that ``python profiling/pack_speed.py --json PACK.json`` keeps.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("one-bundle.svg")
NAMES = {"executorch": "ExecuTorch .pte", "coreml": "Core ML fp16", "litert": "LiteRT .tflite"}
COLOURS = {"executorch": "#c2410c", "coreml": "#1d4ed8", "litert": "#15803d"}
INK, SOFT = "#0f172a", "#475569"
LEFT, RIGHT, ZOOM_TOP = 20, 700, 232


def drawn(document: dict[str, Any]) -> str:
    """The figure: all separate files against the bundle on one scale, then the bundle enlarged."""
    rows, total = document["rows"], document["bytes"]
    widths = len({row["permille"] for row in rows})
    separate = {name: sum(r["artifact_bytes"] for r in rows if r["target"] == name) for name in NAMES}
    scale = (RIGHT - LEFT) / sum(separate.values())
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 380" role="img" font-family="system-ui, sans-serif">',
        f"<title>{widths} widths for three runtimes: {_mb(sum(separate.values()))} as separate files, "
        f"{_mb(total)} as one bundle</title>",
        '<rect width="720" height="380" rx="12" fill="#ffffff"/>',
        _text(LEFT, 34, f"{widths} widths of a US-MobileNetV2 for three runtimes", 18, INK, bold=True),
        _text(LEFT, 66, f"separate files: {len(rows)} files, {_mb(sum(separate.values()))}", 14, SOFT),
    ]
    x = float(LEFT)
    for name, size in separate.items():
        parts.append(_bar(x, 76, size * scale, 34, COLOURS[name]))
        parts.append(_text(x + 8, 98, f"{NAMES[name]} {_mb(size)}", 12, "#ffffff"))
        x += size * scale
    parts.append(_text(LEFT, 142, f"one bundle: {_mb(total)}, every file rebuilt byte for byte", 14, SOFT))
    parts.append(_bar(LEFT, 152, total * scale, 34, INK))
    end = LEFT + total * scale
    zoom = f"M{LEFT} 186 L{LEFT} {ZOOM_TOP} L{RIGHT} {ZOOM_TOP} L{end:.1f} 186 Z"
    parts.append(f'<path d="{zoom}" fill="#e2e8f0" opacity="0.6"/>')
    kept = sum(row["template_bytes"] + row["recipe_bytes"] for row in rows)
    pieces = [
        ("full-width weights, once", document["weights_bytes"], "#334155"),
        (f"BatchNorm folds of {widths} widths, manifest", total - document["weights_bytes"] - kept, "#0891b2"),
        (f"what is left of {len(rows)} files: templates and recipes", kept, "#d97706"),
    ]
    zoomed, x, y = (RIGHT - LEFT) / total, float(LEFT), ZOOM_TOP + 70
    for label, size, colour in pieces:
        parts.append(_bar(x, ZOOM_TOP, size * zoomed, 34, colour))
        parts.append(_bar(LEFT, y - 11, 12, 12, colour))
        parts.append(_text(LEFT + 20, y, f"{label}: {_mb(size)}", 14, INK))
        x += size * zoomed
        y += 24
    return "\n".join([*parts, "</svg>"]) + "\n"


def _mb(size: float) -> str:
    return f"{size / 1e6:.1f} MB" if size < 99.95e6 else f"{size / 1e6:.0f} MB"


def _bar(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="{max(width, 1):.1f}" height="{height}" fill="{colour}"/>'


def _text(x: float, y: float, words: str, size: int, colour: str, *, bold: bool = False) -> str:
    weight = ' font-weight="700"' if bold else ""
    return f'<text x="{x:.1f}" y="{y}" font-size="{size}" fill="{colour}"{weight}>{words}</text>'


if __name__ == "__main__":
    PAGE.write_text(drawn(json.loads(Path(sys.argv[1]).read_text())), encoding="utf-8")
