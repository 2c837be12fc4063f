"""Names in pictures: of devices, files and nets, whatever characters they have."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def names_as_they_are() -> Iterator[None]:
    """While matplotlib draws: ``$\\x$`` in a name is no formula, and a character without a glyph is an empty box."""
    import matplotlib

    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield
