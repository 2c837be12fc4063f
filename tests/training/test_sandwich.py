"""The sandwich rule: which widths a step trains."""

from __future__ import annotations

import pytest

from edgeslim.core.width import Width
from edgeslim.errors import WidthError
from edgeslim.training.sandwich import Sandwich

LOW, HIGH = Width(250), Width(1000)
LADDER = tuple(Width(permille) for permille in (250, 400, 500, 600, 750, 1000))


def test_widest_first_narrowest_last_two_between() -> None:
    rule = Sandwich(low=LOW, high=HIGH)
    for step in range(200):
        widths = rule.widths_at(0, step)
        assert widths[0] == HIGH
        assert widths[-1] == LOW
        assert 3 <= len(widths) <= 4  # two equal draws are one width
        assert list(widths) == sorted(widths, reverse=True)


def test_draws_depend_on_seed_and_step_alone() -> None:
    rule = Sandwich(low=LOW, high=HIGH)
    assert [rule.widths_at(1, step) for step in (7, 3, 7)] == [rule.widths_at(1, step) for step in (7, 3, 7)]
    assert rule.widths_at(1, 7) != rule.widths_at(2, 7)
    # so that old runs stay reproducible: these values must never change
    assert [w.permille for w in rule.widths_at(0, 0)] == [1000, 754, 682, 250]


def test_continuous_draws_cover_the_range_evenly() -> None:
    drawn = [w.permille for step in range(2000) for w in Sandwich(low=LOW, high=HIGH).widths_at(0, step)[1:-1]]
    assert abs(sum(drawn) / len(drawn) - 625) < 15
    assert min(drawn) < 260
    assert max(drawn) > 990


def test_ladder_draws_come_from_the_ladder_without_repetition() -> None:
    rule = Sandwich(low=LOW, high=HIGH, ladder=LADDER)
    seen = set()
    for step in range(100):
        widths = rule.widths_at(0, step)
        assert len(widths) == len(set(widths)) == 4
        seen |= set(widths)
    assert seen == set(LADDER)
    assert Sandwich(low=LOW, high=HIGH, ladder=(LOW, HIGH)).widths_at(0, 0) == (HIGH, LOW)


def test_without_bounds_every_width_is_drawn() -> None:
    rule = Sandwich(low=LOW, high=HIGH, bounds=False)
    with_both = sum({LOW, HIGH} <= set(rule.widths_at(0, step)) for step in range(200))
    assert with_both == 0


def test_one_width_alone() -> None:
    assert Sandwich(low=Width(500), high=Width(500)).widths_at(3, 9) == (Width(500),)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"low": HIGH, "high": LOW}, "upside down"),
        ({"low": LOW, "high": HIGH, "per_step": 1}, "at least two widths"),
        ({"low": LOW, "high": HIGH, "per_step": 0}, "at least one width"),
        ({"low": LOW, "high": Width(500), "ladder": LADDER}, "outside the trained range"),
    ],
)
def test_impossible_rules(settings: dict[str, object], words: str) -> None:
    with pytest.raises(WidthError, match=words):
        Sandwich(**settings)  # type: ignore[arg-type]
