"""Widths are exact integers; channel rounding is the published rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeslim import Width
from edgeslim.core.width import parse_widths
from edgeslim.errors import WidthError


def float_rule(full: int, width: float) -> int:
    """The rule as the papers' implementations state it, in floats."""
    value = full * width
    rounded = max(1, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


@pytest.mark.parametrize(
    ("text", "permille"), [("0.35", 350), ("1", 1000), ("1.0", 1000), ("0.975", 975), ("2.05", 2050), (" 0.5 ", 500)]
)
def test_parse_is_exact(text: str, permille: int) -> None:
    assert Width.parse(text) == Width(permille)


@pytest.mark.parametrize("text", ["0.3333", "", "a", "-0.5", "0", "0.000", ".5", "5e-1", "1.", "1,5", "1000.0"])
def test_parse_refuses(text: str) -> None:
    with pytest.raises(WidthError):
        Width.parse(text)


@pytest.mark.parametrize("permille", [0, -1, 350.0, True, 100_001])
def test_width_refuses(permille: object) -> None:
    with pytest.raises(WidthError):
        Width(permille)  # type: ignore[arg-type]


@given(st.integers(1, 100_000))
def test_text_round_trip(permille: int) -> None:
    assert Width.parse(str(Width(permille))) == Width(permille)


def test_channels_equal_the_float_rule_on_the_papers_grid() -> None:
    """Equal for every layer of the networks; of 81,920 pairs, floats fall short of an exact half in ten."""
    different = {
        (full, step)
        for full in range(1, 2049)
        for step in range(1, 41)
        if Width(25 * step).channels(full) != float_rule(full, 25 * step / 1000)
    }
    assert len(different) == 10
    assert all(Width(25 * step).channels(full) == float_rule(full, 25 * step / 1000) + 8 for full, step in different)
    layers = {16, 24, 32, 64, 96, 128, 160, 192, 256, 320, 384, 512, 576, 960, 1024, 1280, 2048}
    assert not layers & {full for full, _ in different}


def test_channels_by_hand() -> None:
    assert Width(500).channels(32) == 16
    assert Width(350).channels(16) == 8  # 5.6 → 8
    assert Width(975).channels(1024) == 1000  # 998.4
    assert Width(250).channels(12) == 9  # 3.0 → max(1, 0) = 1, below 2.7 → + 8
    assert Width(275).channels_floor(64) == 17  # 17.6


def test_parse_widths() -> None:
    def permille(text: str, **kwargs: object) -> list[int]:
        return [w.permille for w in parse_widths(text, **kwargs)]  # type: ignore[arg-type]

    assert permille("1.0,0.35,0.35") == [350, 1000]
    assert permille("0.25:1.0:0.25") == [250, 500, 750, 1000]
    assert permille("0.25:0.9:0.25") == [250, 500, 750]
    assert permille("4", trained=(Width(350), Width(1000))) == [350, 567, 783, 1000]
    assert permille("1") == [1000]
    for bad in ["", "0.5:0.25:0.1", "0.25:1.0:0", "0.25:1.0", "a", "0.5,", "4"]:
        with pytest.raises(WidthError):
            parse_widths(bad)
