"""How a conformance check fails: an assertion with a sentence, whatever runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class ConformanceError(AssertionError):
    """A plug-in does not keep a promise; the message says which, what was met and what was expected."""


def expect(condition: bool, message: str) -> None:
    """Raises ConformanceError unless ``condition``; kept by ``python -O``, unlike ``assert``."""
    if not condition:
        raise ConformanceError(message)


@contextmanager
def refused(kind: type[Exception], what: str) -> Iterator[list[Exception]]:
    """The block must raise ``kind``; the error is in the list that is handed out.

    Raises:
        ConformanceError: it raised nothing, or something else.
    """
    caught: list[Exception] = []
    try:
        yield caught
    except kind as error:
        caught.append(error)
        return
    except Exception as error:
        raise ConformanceError(f"{what} raised {type(error).__name__}: {error}; expected {kind.__name__}") from error
    raise ConformanceError(f"{what} was accepted; expected {kind.__name__}")
