"""docs/one-bundle.svg is what its maker draws from the records, and no word of it is cut."""

from __future__ import annotations

import re

from make_figure import HEIGHT, LEFT, PAGE, WIDTH, drawn

WIDEST_LETTER = 0.62  # of the font size, on average, in any usual sans-serif


def test_the_picture_is_made_from_the_records() -> None:
    assert PAGE.read_text(encoding="utf-8") == drawn(), "run: python docs/make_figure.py"


def test_every_word_fits() -> None:
    found = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" font-size="(\d+)"[^>]*>([^<]*)</text>', PAGE.read_text())
    assert len(found) >= 14
    for x, y, size, words in found:
        assert float(x) + WIDEST_LETTER * int(size) * len(words) < WIDTH - LEFT / 2, words
        assert float(y) < HEIGHT - LEFT / 2, words


def test_one_runtime_comes_first() -> None:
    picture = PAGE.read_text(encoding="utf-8")
    order = ["for one runtime", "16 separate files", "one model", "one bundle of 16", "for three runtimes"]
    assert [picture.index(f">{words}") for words in order] == sorted(picture.index(f">{words}") for words in order)
