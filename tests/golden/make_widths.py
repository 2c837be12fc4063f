"""Writes tests/golden/widths.json: the arithmetic of widths, the same in every language.

.venv/bin/python tests/golden/make_widths.py          writes it
.venv/bin/python tests/golden/make_widths.py --check  exits 1 if it is not what this code computes

channels   [permille, full, divisor, channels]: rounded to the divisor (MobileNets)
floors     [permille, full, channels]: int(full x width) (the S-ResNet rule)
parse      {"text", "permille"} or {"text", "refused": true}
widths     {"text", "trained": [low, high] or null, "permilles"} or refused: a ``--widths`` option
texts      [permille, decimal]: how a width is written
ids        [permille, net id]
labels     {"net", "precision", "input", "label"}: a name for people
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from edgeslim.core.latency import label_of
from edgeslim.core.width import MAX_PERMILLE, Width, net_id, parse_widths
from edgeslim.errors import WidthError

FILE = Path(__file__).with_name("widths.json")
PATTERN = FILE.name

PERMILLES = (1, 4, 25, 100, 249, 250, 251, 333, 350, 375, 500, 503, 625, 750, 875, 975, 999, 1000, 1001, 1500, 4000)
FULLS = (1, 2, 3, 4, 7, 8, 12, 16, 24, 32, 64, 96, 144, 160, 320, 1000, 1280, 2048)
DIVISORS = (1, 4, 8, 16)
TEXTS = (
    "1", "1.0", "1.000", "0.35", "0.350", ".5", "5.", "0.5x", "0.0005", "0.001", "0", "0.0", "100", "100.0", "100.001",
    "1000", "999", "-0.5", "+0.5", "1e0", "1,5", "", " 0.5 ", "0.5\n", "0 .5", "00.5", "٠.٥", "½", "nan", "inf", "0x1",
)  # fmt: skip
OPTIONS = (
    ("0.25,0.5,1.0", None), ("1.0,0.5,0.5", None), ("0.5", None), ("1", None), ("0.25:1.0:0.25", None),
    ("0.25:0.9:0.25", None), ("0.5:0.5:0.1", None), ("1.0:0.25:0.25", None), ("0.25:1.0:0", None), ("0.25:1.0", None),
    ("0.25:1.0:0.25:1", None), ("4", (250, 1000)), ("6", (350, 1000)), ("2", (350, 1000)), ("4", None),
    ("16", (350, 1000)), ("20", (1, 1000)), ("1001", (1, 1000)),
    ("²", (1, 1000)), ("3", (500, 501)), ("", None), (",", None),
    ("0.5,", None), ("0.5;1.0", None), ("all", None), (" 0.5 , 1.0 ", None),
)  # fmt: skip
NETS = (
    ("0001", None, None), ("0250", None, None), ("0350", None, None), ("0975", None, None), ("1000", None, None),
    ("1500", None, None), ("12345", None, None), ("0750", "int8", "192"), ("0750", "fp16", None),
    ("0500", None, "192x256"), ("wide-head", None, None), ("wide-head", "int8", None), ("a1000", None, None),
)  # fmt: skip


def document() -> dict[str, Any]:
    return {
        "channels": [
            [p, full, divisor, Width(p).channels(full, divisor)]
            for p in PERMILLES
            for full in FULLS
            for divisor in DIVISORS
        ],
        "floors": [[p, full, Width(p).channels_floor(full)] for p in PERMILLES for full in FULLS],
        "parse": [_parsed(text) for text in TEXTS],
        "widths": [_option(text, trained) for text, trained in OPTIONS],
        "texts": [[p, str(Width(p))] for p in (*PERMILLES, 10, 1010, 99_999, MAX_PERMILLE)],
        "ids": [[p, net_id(p)] for p in (1, 25, 350, 1000, 9999, 10_000, MAX_PERMILLE)],
        "labels": [
            {"net": net, "precision": precision, "input": size, "label": label_of(net, precision=precision, input=size)}
            for net, precision, size in NETS
        ],
    }


def _parsed(text: str) -> dict[str, Any]:
    try:
        return {"text": text, "permille": Width.parse(text).permille}
    except WidthError:
        return {"text": text, "refused": True}


def _option(text: str, trained: tuple[int, int] | None) -> dict[str, Any]:
    found: dict[str, Any] = {"text": text, "trained": trained}
    try:
        widths = parse_widths(text, trained=None if trained is None else (Width(trained[0]), Width(trained[1])))
    except WidthError:
        return found | {"refused": True}
    return found | {"permilles": [width.permille for width in widths]}


def text() -> str:
    """One list item per line, so that a change is one line."""
    sections = (
        f"{json.dumps(name)}:[\n"
        + ",\n".join(json.dumps(item, ensure_ascii=False, separators=(",", ":")) for item in items)
        + "\n]"
        for name, items in document().items()
    )
    return "{\n" + ",\n".join(sections) + "\n}\n"


def documents() -> dict[str, str]:
    """File name → text."""
    return {FILE.name: text()}


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit(FILE.read_text(encoding="utf-8") != text())
    FILE.write_text(text(), encoding="utf-8")
