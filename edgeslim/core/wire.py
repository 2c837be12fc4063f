"""Frozen dataclasses as JSON lines: ``{"is": "Turn", …}``, decoded strictly.

Used between parent and child (``messages.py``) and between a device and this host (``events.py``).
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from edgeslim.core.strict_json import StrictJsonError, canonical, decode, encode, parse
from edgeslim.errors import InternalError

M = TypeVar("M")


class Vocabulary(Generic[M]):
    """The kinds of message one line can hold."""

    def __init__(self, *kinds: type[Any]) -> None:
        self._kinds = {kind.__name__: kind for kind in kinds}

    def to_line(self, message: M) -> bytes:
        return canonical({"is": type(message).__name__, **encode(message)}).encode() + b"\n"

    def from_line(self, line: bytes | str) -> M:
        """Raises ``InternalError``: both sides are the same version, so a foreign line is a fault of ours."""
        try:
            document = parse(line)
            message: M = decode(self._kinds[document.pop("is")], document)
        except (StrictJsonError, KeyError, AttributeError, TypeError) as error:
            raise InternalError(f"expected one of {', '.join(self._kinds)}, got {line[:200]!r}: {error}") from None
        return message
