"""The ``--widths`` and ``--ladder`` of a training run: a range for the US family, a list for the S family."""

from __future__ import annotations

from edgeslim.core.width import Width, parse_widths
from edgeslim.errors import WidthError

DEFAULT_RANGE = (Width(250), Width(1000))
WIDEST = Width(4000)
"""Nobody trains a wider net than this; widths above it are percent."""
RUNGS = 4
"""Of a ladder that nobody chose."""
ROUND = 50  # permille


def parse_trained(text: str, *, listed: bool) -> tuple[Width, ...]:
    """``lo:hi`` → (lo, hi); for a network with ``listed`` widths ``a,b,c`` → all of them, ascending.

    Raises:
        WidthError: unreadable, upside down, above 4x, a list for a range, or a range for a list.
    """
    if listed:
        if ":" in text:
            raise WidthError(
                f"this network has listed widths, and {text!r} is a range", hint="--widths 0.25,0.5,0.75,1.0"
            )
        widths = parse_widths(text)
    elif text.count(":") == 1:
        low, high = (Width.parse(part) for part in text.split(":"))
        if low > high:
            raise WidthError(f"widths {text!r} are upside down", hint=f"--widths {high}:{low}")
        widths = (low, high)
    else:
        raise WidthError(
            f"this network is trained over a range of widths, lo:hi, and {text!r} is none", hint=_as_range(text)
        )
    if widths[-1] > WIDEST:
        raise WidthError(
            f"width {widths[-1]} is above {WIDEST}x, the widest that is trained", hint=_as_share(widths, text)
        )
    return widths


def _as_range(text: str) -> str:
    """What somebody who gave a list or a step may have meant."""
    widths = parse_widths(text)
    if len(widths) == 1:
        return (
            f"--alone {widths[0]} trains a net of this one width; --widths {DEFAULT_RANGE[0]}:{widths[0]} all up to it"
        )
    return f"--widths {widths[0]}:{widths[-1]} --ladder {text}"


def _as_share(widths: tuple[Width, ...], text: str) -> str | None:
    """Percent as widths, where that makes some: ``35:100`` → ``0.35:1.0``."""
    if any(width.permille % 1000 for width in widths) or widths[-1].permille > 100 * WIDEST.permille:
        return None
    return f"did you mean --widths {(':' if ':' in text else ',').join(str(Width(w.permille // 100)) for w in widths)}?"


def even_ladder(low: Width, high: Width) -> tuple[Width, ...]:
    """``RUNGS`` widths evenly over the range, those between its ends rounded to 0.05 where they stay apart."""
    exact = parse_widths(str(RUNGS), trained=(low, high)) if low < high else (low,)
    inner = [Width(max(1, (width.permille + ROUND // 2) // ROUND) * ROUND) for width in exact[1:-1]]
    rounded = tuple(sorted({low, *inner, high}))
    fits = len(rounded) == len(exact) and (rounded[0], rounded[-1]) == (low, high)
    return rounded if fits else exact
