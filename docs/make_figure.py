"""Draws docs/one-bundle.svg from the records of ``profiling/bundle_size.py``: ``python docs/make_figure.py``.

First one runtime: its separate files, one model, the bundle. Then three. All bars have one scale; labels stand left of
the bars and sizes right of them, so that nothing has to fit into a bar. Colours are Okabe and Ito's.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("one-bundle.svg")
RECORDS = Path(__file__).resolve().parents[1] / "profiling" / "records"
ONE = "16 widths for litert"
THREE = "16 widths for coreml, executorch, litert"
BUNDLE, SEPARATE, PARTS = (
    "the bundle / the full-width weights",
    "the separate files",
    "where the bundle's bytes go",
)
INK, SOFT = "#14181f", "#4a5260"
GREY, BLUE, ORANGE = "#8a8f98", "#0072b2", "#d55e00"
WIDTH, HEIGHT = 720, 372
LEFT, BARS, LONGEST, BAR = 24, 190, 430, 26


def figure(aim: str) -> dict[str, Any]:
    """The recorded figure of that aim."""
    for path in sorted(RECORDS.glob("bundle_size*.json")):
        for found in json.loads(path.read_text(encoding="utf-8")):
            if found["aim"] == aim:
                return dict(found)
    raise SystemExit(f"no record of {aim!r}: run python profiling/bundle_size.py --record")


def noted(aim: str) -> list[int]:
    """The bytes that the figure's first note names."""
    return [int(number.replace(",", "")) for number in re.findall(r"[\d,]{5,}", figure(aim)["notes"][0])]


def drawn() -> str:
    """The figure."""
    files, pieces = figure(f"{SEPARATE}: {THREE}"), figure(f"{PARTS}: {THREE}")
    separate = dict(zip(files["of"], files["measured"], strict=True))
    bundle, model = noted(f"{BUNDLE}: {THREE}")
    alone = noted(f"{BUNDLE}: {ONE}")[0]
    parts = dict(zip(pieces["of"], pieces["measured"], strict=True))
    whole = sum(separate.values())
    left = parts["templates"] + parts["recipes"]
    rest = bundle - parts["weights"] - left
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'font-family="system-ui, sans-serif">',
        f"<title>16 widths of a US-MobileNetV2 for one runtime: {mb(separate['litert'])} as separate files, "
        f"{mb(model)} for one model, {mb(alone)} as one bundle; for three runtimes {mb(whole)} and {mb(bundle)}"
        "</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="12" fill="#ffffff"/>',
        text(LEFT, 36, "16 widths of a US-MobileNetV2", 19, INK, bold=True),
        text(LEFT, 68, "for one runtime, LiteRT", 15, INK, bold=True),
        *bar(82, "16 separate files", separate["litert"], whole, ORANGE),
        *bar(116, "one model", model, whole, GREY),
        *bar(150, "one bundle of 16", alone, whole, BLUE),
        text(LEFT, 212, "for three runtimes, ExecuTorch and Core ML too", 15, INK, bold=True),
        *bar(226, "48 separate files", whole, whole, ORANGE),
        *bar(260, "one bundle of 48", bundle, whole, BLUE),
        text(LEFT, 312, "Every file is rebuilt byte for byte.", 13, SOFT),
        text(LEFT, 332, f"The bundle of 48 holds the full-width weights once ({mb(parts['weights'])}),", 13, SOFT),
        text(LEFT, 352, f"BatchNorm of 16 widths ({mb(rest)}) and what is left of each file ({mb(left)}).", 13, SOFT),
    ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def mb(size: float) -> str:
    return f"{size / 1e6:.1f} MB" if size < 99.95e6 else f"{size / 1e6:.0f} MB"


def bar(y: float, label: str, size: float, longest: float, colour: str) -> list[str]:
    width = max(LONGEST * size / longest, 1)
    return [
        text(LEFT, y + 18, label, 14, INK),
        f'<rect x="{BARS}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>',
        text(BARS + width + 8, y + 18, mb(size), 14, INK),
    ]


def text(x: float, y: float, words: str, size: int, colour: str, *, bold: bool = False) -> str:
    weight = ' font-weight="700"' if bold else ""
    return f'<text x="{x:.1f}" y="{y}" font-size="{size}" fill="{colour}"{weight}>{words}</text>'


if __name__ == "__main__":
    PAGE.write_text(drawn(), encoding="utf-8")
