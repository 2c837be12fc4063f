"""The ``--widths`` of a training run: a range for the US family, a list for the S family."""

from __future__ import annotations

from edgeslim.core.width import Width, parse_widths
from edgeslim.errors import WidthError

DEFAULT_RANGE = (Width(250), Width(1000))


def parse_trained(text: str) -> tuple[Width, ...]:
    """``lo:hi`` → (lo, hi); ``a,b,c`` → all of them, ascending.

    Raises:
        WidthError: unreadable, or a range that is upside down.
    """
    if text.count(":") != 1:
        return parse_widths(text)
    low, high = (Width.parse(part) for part in text.split(":"))
    if low > high:
        raise WidthError(f"widths {text!r} are upside down", hint=f"--widths {high}:{low}")
    return low, high
