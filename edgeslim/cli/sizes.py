"""Options that take a number of bytes."""

from __future__ import annotations

import re
from typing import Any

import click

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]i?|)b?", re.IGNORECASE)


class BytesType(click.ParamType[int]):
    """``500000000``, ``500M``, ``1.5GB``, ``2GiB``."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(str(value).strip())
        size = 0 if match is None else int(float(match[1]) * _UNITS[match[2].lower()])
        if size < 1:
            self.fail(f"{value!r} is no size: write 500000000, 500M or 2GiB", param, ctx)
        return size


BYTES = BytesType()
