"""Foreign text on a terminal: names and messages out of bundles, tables, logs, boards and file names.

A terminal obeys control characters: an escape sequence sets its title or rewrites what stands above it, a carriage
return or a reversed direction makes a line say something else. So whatever is printed goes through here, once, at the
very end: each such character becomes one visible ``\N{REPLACEMENT CHARACTER}``. Rich's own markup is not read anywhere
(``[bold]`` in a name is five letters and two brackets); what is to be bold is a ``rich.text.Text``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

_OBEYED = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1 controls; \n and \t stay
    r"\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"  # line ends, and what turns the direction around
    r"\ud800-\udfff\ufeff"  # halves of characters, as in file names that are no UTF-8
)
_NOT_PRINTABLE = re.compile(f"[{_OBEYED}]")
_NOT_IN_JSON = re.compile(f"[{_OBEYED}]".replace(r"\x00-\x08\x0b-\x1f", ""))  # json.dumps has escaped those
_SHOWN = "\N{REPLACEMENT CHARACTER}"


def printable(text: str) -> str:
    """``text`` with nothing in it that a terminal would obey, but for the ends of its lines."""
    return _NOT_PRINTABLE.sub(_SHOWN, text)


def one_line(text: str) -> str:
    """``printable`` on one line: what comes from elsewhere cannot look like a further line of ours."""
    return printable(" ".join(text.splitlines()) if "\n" in text else text)


def json_line(document: Any) -> str:
    """One line of JSON that says the same as ever and that a terminal may be shown."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    return _NOT_IN_JSON.sub(lambda met: f"\\u{ord(met[0]):04x}", text)


class SafeConsole(Console):
    """A rich console that shows text as it is and never obeys it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Rich's own way from any renderable to text; every character passes here."""
        for segment in super().render(renderable, options):
            if segment.control is None and _NOT_PRINTABLE.search(segment.text):
                segment = Segment(printable(segment.text), segment.style)
            yield segment
