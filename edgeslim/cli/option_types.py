"""Kinds of options: every number has a least and a most, every path has a name.

``click``'s own ranges take ``nan`` (it is neither below nor above anything) and may be open at one end; then 10^30
threads or a pause of infinite seconds are accepted, and something fails later, or never ends. All verbs are held to
these kinds by tests/cli/test_hostile_options.py.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import click

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([kmg]i?|)b?", re.IGNORECASE)
_MOST_BYTES = 1 << 50


class Whole(click.IntRange):
    """A whole number from ``least`` to ``most``."""

    def __init__(self, least: int, most: int) -> None:
        super().__init__(least, most)


class Number(click.FloatRange):
    """A finite number from ``least`` to ``most``; ``above``: not ``least`` itself."""

    def __init__(self, least: float, most: float, *, above: bool = False) -> None:
        super().__init__(least, most, min_open=above)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = click.FLOAT.convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return float(super().convert(number, param, ctx))


class Wholes(click.ParamType[tuple[int, ...]]):
    """Whole numbers separated by commas, ascending and without repetitions: ``1,2``."""

    name = "numbers"

    def __init__(self, least: int, most: int) -> None:
        self.min, self.max = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        one: click.ParamType[int] = Whole(self.min, self.max)
        return tuple(sorted({int(one(part.strip(), param, ctx)) for part in str(value).split(",")}))


class Bytes(click.ParamType[int]):
    """``500000000``, ``500M``, ``1.5GB``, ``2GiB``."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(str(value).strip())
        size = 0 if match is None else int(float(match[1]) * _UNITS[match[2].lower()])
        if not 1 <= size <= _MOST_BYTES:
            self.fail(f"{value!r} is no size: write 500000000, 500M or 2GiB", param, ctx)
        return size


class FilePath(click.Path):
    """A path; the empty one, which would be the current folder, is a script's unset variable."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value) == "" or "\0" in str(value):
            self.fail("an empty path is no file or folder.", param, ctx)
        return super().convert(value, param, ctx)


PATH = FilePath()
BYTES = Bytes()

COUNT = Whole(1, 1_000_000_000)
"""Images, frames, classes: how many of something."""
THREADS = Whole(1, 1024)
WORKERS = Whole(0, 1024)
SEED = Whole(0, 2**32 - 1)
PIXELS = Whole(4, 16_384)
