"""Frozen dataclasses as JSON lines: ``{"is": "Turn", …}``, decoded strictly.

Used between parent and child (``messages.py``) and between a device and this host (``events.py``).
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from edgeslim.core.strict_json import StrictJsonError, canonical, decode, encode, parse
from edgeslim.errors import EdgeslimError, InternalError

M = TypeVar("M")

MAX_LINE_BYTES = 1 << 26
"""More than the samples of a sustained row; who reads a line stops there."""


class Vocabulary(Generic[M]):
    """The kinds of message one line can hold; ``refusal`` is the error for any other line."""

    def __init__(self, *kinds: type[Any], refusal: type[EdgeslimError] = InternalError) -> None:
        self._kinds = {kind.__name__: kind for kind in kinds}
        self._refusal = refusal

    def to_line(self, message: M) -> bytes:
        return canonical({"is": type(message).__name__, **encode(message)}).encode() + b"\n"

    def from_line(self, line: bytes | str) -> M:
        """The message in one line.

        Raises:
            refusal: not JSON, another kind, a field that is missing, unknown or of another type, or a value that its
                type refuses.
        """
        try:
            document = parse(line)
            if not isinstance(document, dict) or document.get("is") not in self._kinds:
                raise StrictJsonError(f"expected one of {', '.join(self._kinds)}")
            message: M = decode(self._kinds[document.pop("is")], document)
        except (StrictJsonError, EdgeslimError, TypeError) as error:
            raise self._refusal(f"cannot read the line {line[:200]!r}: {error}") from None
        return message
