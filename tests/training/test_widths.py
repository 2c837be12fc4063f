"""Which widths a run trains: what cannot be meant is refused, with what may have been."""

from __future__ import annotations

import pytest

from edgeslim.core.width import Width
from edgeslim.errors import WidthError
from edgeslim.training.widths import even_ladder, parse_trained


def test_a_range_and_a_list() -> None:
    assert parse_trained("0.35:1.0", listed=False) == (Width(350), Width(1000))
    assert parse_trained("0.5,0.25,1.0", listed=True) == (Width(250), Width(500), Width(1000))


@pytest.mark.parametrize(
    ("text", "listed", "message", "hint"),
    [
        ("35:100", False, "width 100.0 is above 4.0x", "did you mean --widths 0.35:1.0?"),
        ("25,100", True, "width 100.0 is above 4.0x", "did you mean --widths 0.25,1.0?"),
        ("0.5:4.5", False, "width 4.5 is above 4.0x", None),
        ("0.35,0.5,1.0", False, "over a range of widths", "--widths 0.35:1.0 --ladder 0.35,0.5,1.0"),
        ("0.35:1.0:0.05", False, "over a range of widths", "--widths 0.35:1.0 --ladder 0.35:1.0:0.05"),
        ("1.0", False, "over a range of widths", "--alone 1.0 "),
        ("0.25:1.0", True, "has listed widths", "--widths 0.25,0.5,0.75,1.0"),
        ("1.0:0.5", False, "upside down", "--widths 0.5:1.0"),
    ],
)
def test_what_cannot_be_meant(text: str, listed: bool, message: str, hint: str | None) -> None:
    with pytest.raises(WidthError) as caught:
        parse_trained(text, listed=listed)
    assert message in caught.value.message
    assert caught.value.hint is None if hint is None else hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("low", "high", "ladder"),
    [
        (350, 1000, [350, 550, 800, 1000]),
        (250, 1000, [250, 500, 750, 1000]),
        (125, 250, [125, 150, 200, 250]),
        (500, 520, [500, 507, 513, 520]),  # no room for twentieths
        (1000, 1000, [1000]),
    ],
)
def test_the_ladder_that_nobody_chose_is_round(low: int, high: int, ladder: list[int]) -> None:
    assert [width.permille for width in even_ladder(Width(low), Width(high))] == ladder
