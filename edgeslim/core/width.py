"""Width multipliers as exact integers.

A width is a whole number of permille (0.35 → 350), so that equality, ordering and channel counts are the
same in Python, Kotlin and Swift. Channel rounding is the rule of the MobileNet papers' implementations
("Slimmable Neural Networks", ICLR 2019, §3; TF-slim's ``make_divisible`` with ``min_value=1``) in integers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgeslim.errors import WidthError

_DECIMAL = re.compile(r"([0-9]{1,3})(?:\.([0-9]{1,3}))?")
_COUNT = re.compile(r"[0-9]{1,9}")
_BLANK = " \t\r\n"
MAX_PERMILLE = 100_000


@dataclass(frozen=True, slots=True, order=True)
class Width:
    """A width multiplier in permille: ``Width(350)`` is 0.35x.

    Raises:
        WidthError: ``permille`` is not an integer in [1, 100000].
    """

    permille: int

    def __post_init__(self) -> None:
        if type(self.permille) is not int or not 1 <= self.permille <= MAX_PERMILLE:
            raise WidthError(f"a width is a whole number of permille in [1, {MAX_PERMILLE}], got {self.permille!r}")

    @classmethod
    def parse(cls, text: str) -> Width:
        """Read a decimal with at most three places exactly: ``"0.35"`` → ``Width(350)``.

        Raises:
            WidthError: not a plain decimal, zero, or more than three places.
        """
        match = _DECIMAL.fullmatch(text.strip(_BLANK))
        if match is None:
            raise WidthError(
                f"cannot read width {text!r}: expected a decimal with at most three places",
                hint="write widths like 0.35 or 0.975",
            )
        return cls(int(match[1]) * 1000 + int((match[2] or "").ljust(3, "0")))

    def channels(self, full: int, divisor: int = 8) -> int:
        """Channels of a layer that has ``full`` channels at 1.0x, rounded to ``divisor``.

        Nearest multiple of ``divisor`` (half up), at least 1, one ``divisor`` more if that fell below
        0.9 of the exact value; so values under 4 with divisor 8 give 9, as in the published code.
        """
        exact = full * self.permille  # in 1/1000 channel
        rounded = max(1, (exact + 500 * divisor) // (1000 * divisor) * divisor)
        if rounded * 10_000 < 9 * exact:
            rounded += divisor
        return rounded

    def channels_floor(self, full: int) -> int:
        """Channels without rounding to a divisor: ``int(full·width)`` (the S-ResNet rule)."""
        return max(1, full * self.permille // 1000)

    def __str__(self) -> str:
        whole, part = divmod(self.permille, 1000)
        digits = f"{part:03d}".rstrip("0")
        return f"{whole}.{digits or '0'}"


def parse_widths(text: str, *, trained: tuple[Width, Width] | None = None) -> tuple[Width, ...]:
    """Read a ``--widths`` option; ascending, without repetitions.

    ``a,b,c`` lists widths; ``lo:hi:step`` counts up from ``lo`` and includes ``hi`` when it is on the grid;
    a whole number ``N`` of at least 2 without a point means N widths evenly spaced over the ``trained`` range,
    rounded to permille (``1`` alone is the width 1.0).

    Raises:
        WidthError: unreadable, empty, step 0, lo above hi, or N without a trained range.
    """
    text = text.strip(_BLANK)
    if ":" in text:
        parts = text.split(":")
        if len(parts) != 3:
            raise WidthError(f"cannot read widths {text!r}: a range is lo:hi:step", hint="for example 0.25:1.0:0.025")
        low, high, step = (Width.parse(part) for part in parts)
        if low > high:
            raise WidthError(f"cannot read widths {text!r}: {low} is above {high}")
        return tuple(Width(p) for p in range(low.permille, high.permille + 1, step.permille))
    if _COUNT.fullmatch(text) and int(text) >= 2:
        count = int(text)
        if trained is None:
            raise WidthError(f"{text!r} asks for {count} widths of the trained range, which is not known here")
        low, high = trained
        if count > 1000:
            raise WidthError(f"cannot spread {count} widths: at most 1000")
        span = high.permille - low.permille
        spread = {low.permille + (2 * i * span + count - 1) // (2 * (count - 1)) for i in range(count)}
        return tuple(Width(p) for p in sorted(spread))
    widths = {Width.parse(part) for part in text.split(",")} if text else set()
    if not widths:
        raise WidthError("no width given", hint="write widths like 0.25,0.5,1.0")
    return tuple(sorted(widths))


def net_id(permille: int) -> str:
    """Id of the net whose smallest width is ``permille``: four digits, or more above 9.999x."""
    return f"{permille:04d}"
