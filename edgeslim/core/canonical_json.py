"""The JSON of a bundle's manifest: one text per value, no fractions, bounded (FORMAT.md, "Canonical JSON").

Stricter than ``strict_json`` (tables, policies), because a manifest is hashed and comes from strangers.
"""

from __future__ import annotations

import json
import re
from typing import Any

from edgeslim.core.strict_json import canonical
from edgeslim.errors import FormatError

MAX_VALUES = 131_072
MAX_DEPTH = 12
MAX_INT = (1 << 53) - 1
_KEY = re.compile(r"[!-~]{1,200}")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{0,8}[1-9])?")


def canonical_bytes(value: Any) -> bytes:
    """The one text of ``value``: sorted keys, no spaces, UTF-8."""
    return canonical(value).encode()


def parse_canonical(text: bytes) -> Any:
    """The value of a canonical text.

    Raises:
        FormatError: ``too-many-values``, ``too-deep``, ``duplicate-key``, ``bad-json`` (not JSON, or a kind of JSON
            that manifests do not use), ``not-canonical`` (JSON, but not in the one form).
    """
    values = text.count(b",") + text.count(b"[") + text.count(b"{") + 1
    if values > MAX_VALUES:  # an upper bound, counted in one pass before anything is allocated
        raise FormatError("too-many-values", f"the manifest has about {values} values, at most {MAX_VALUES} fit")
    try:
        value = json.loads(
            text.decode(),
            object_pairs_hook=_object,
            parse_constant=_refuse_number,
            parse_float=_refuse_number,
        )
        again = canonical_bytes(value)
    except RecursionError:
        raise FormatError("too-deep", f"the manifest is nested more than {MAX_DEPTH} levels deep") from None
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError too
        raise FormatError("bad-json", f"the manifest is not JSON: {error}") from None
    _check_nodes(value)
    if again != text:
        raise FormatError("not-canonical", "the manifest is JSON, but not in its canonical form")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise FormatError("duplicate-key", f"the key {twice[:80]!r} stands twice in one object")
    if not all(map(_KEY.fullmatch, found)):
        bad = next(key for key in found if _KEY.fullmatch(key) is None)
        raise FormatError("bad-json", f"{bad[:80]!r} cannot be a key: 1 to 200 printable ASCII characters")
    return found


def _refuse_number(text: str) -> Any:
    raise FormatError("bad-json", f"the number {text} is not whole; fractions are written as texts")


def _check_nodes(value: Any) -> None:
    """Depth, and that whole numbers are such that every reader holds them exactly."""
    level, depth = [value], 0
    while level:
        if not all(-MAX_INT <= node <= MAX_INT for node in level if type(node) is int):
            raise FormatError("bad-json", "a number is beyond ±(2^53 - 1)")
        level = [node for node in level if type(node) in (dict, list)]
        depth += bool(level)
        if depth > MAX_DEPTH:
            raise FormatError("too-deep", f"the manifest is nested more than {MAX_DEPTH} levels deep")
        level = [item for node in level for item in (node.values() if type(node) is dict else node)]


def decimal_text(value: float) -> str:
    """A number as manifests write it: plain decimals, at most nine places, no trailing zeros.

    Raises:
        ValueError: not finite, or 10^9 and more.
    """
    text = f"{value:.9f}".rstrip("0").rstrip(".")
    text = "0" if text == "-0" else text
    if not is_decimal(text):
        raise ValueError(f"{value!r} cannot be written as a decimal text")
    return text


def is_decimal(text: str) -> bool:
    """Whether ``text`` is what ``decimal_text`` writes."""
    return text != "-0" and _DECIMAL.fullmatch(text) is not None
