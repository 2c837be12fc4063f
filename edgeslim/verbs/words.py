"""What a verb says on its way: to a terminal on the command line, to the log ``edgeslim`` in Python."""

from __future__ import annotations

import logging
from typing import Protocol

_LOG = logging.getLogger("edgeslim")


class Words(Protocol):
    """Somebody to tell."""

    def say(self, text: str) -> None:
        """What happens."""
        ...

    def detail(self, text: str) -> None:
        """What only the curious want."""
        ...

    def warn(self, text: str) -> None:
        """What one should know."""
        ...


class Logged:
    """``logging``: info, debug and warning."""

    def say(self, text: str) -> None:
        _LOG.info(text)

    def detail(self, text: str) -> None:
        _LOG.debug(text)

    def warn(self, text: str) -> None:
        _LOG.warning(text)


LOGGED = Logged()
