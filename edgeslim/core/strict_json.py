"""JSON to and from frozen dataclasses, strictly: the shape is the dataclass, and nothing else is accepted.

    text ─► parse (no duplicate keys, no NaN, bounded) ─► decode (exact types, no unknown keys) ─► dataclass
    dataclass ─► encode ─► canonical text (sorted keys, no spaces)

Every field stands in the text, null where it is None; one that is marked ``LEFT_OUT`` is not there while it is None.
What reads raises ``StrictJsonError`` with the place (``rows[3].device.cores``); owners turn it into their own error.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from functools import cache
from pathlib import PurePath
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

MAX_TEXT_BYTES = 1 << 28
MAX_INT = 1 << 53  # every reader, JavaScript included, holds these exactly
MAX_FLOAT = 1e300  # also keeps out the infinity that "1e999" reads as


IN_TEXT = {"in_text": True}
"""Metadata of a field that has a default in memory, but must stand in the text all the same."""
LEFT_OUT = {"left_out": True}
"""Metadata of a field with the default None that is left out of the text while it is None."""
BESIDE = {"beside": True}
"""Metadata of a field whose own items stand in the text beside the other fields, not below its name."""


class StrictJsonError(ValueError):
    """What was met and what was expected, with its place in the document."""


def parse(text: str | bytes) -> Any:
    """The JSON value of ``text``.

    Raises:
        StrictJsonError: not JSON, a key twice in one object, NaN or infinity, too large or too deep.
    """
    if len(text) > MAX_TEXT_BYTES:
        raise StrictJsonError(f"the document has {len(text)} bytes, expected at most {MAX_TEXT_BYTES}")
    try:
        return json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
    except RecursionError:
        raise StrictJsonError("the document is nested too deeply") from None
    except StrictJsonError:
        raise
    except ValueError as error:
        raise StrictJsonError(f"not JSON: {error}") from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise StrictJsonError(f"the key {key!r} stands twice in one object")
        found[key] = value
    return found


def _no_constants(name: str) -> Any:
    raise StrictJsonError(f"{name} is not a JSON number")


def canonical(value: Any) -> str:
    """One line of JSON with sorted keys and no spaces; the same value gives the same text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def encode(value: Any) -> Any:
    """Plain JSON values of a dataclass, its nested dataclasses, sequences and tables; a path becomes its text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found: dict[str, Any] = {}
        for field in dataclasses.fields(value):
            item = getattr(value, field.name)
            if "beside" in field.metadata:
                found |= encode(item)
            elif item is not None or "left_out" not in field.metadata:
                found[field.name] = encode(item)
        return found
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    return str(value) if isinstance(value, PurePath) else value


def decode(cls: type[T], value: Any, where: str = "") -> T:
    """An instance of the dataclass ``cls`` from parsed JSON; fields with a default may be missing.

    Whole numbers are accepted where a float is expected (and become one), never the other way round.

    Raises:
        StrictJsonError: a wrong type, a missing or an unknown key. What ``cls`` itself raises passes through.
    """
    if not isinstance(value, dict):
        raise StrictJsonError(f"{where or 'the document'} is {_kind(value)}, expected an object")
    fields = _fields(cls)  # type: ignore[arg-type]
    prefix = f"{where}." if where else ""
    arguments = {}
    for name, (kind, required) in fields.items():
        if name in value:
            item = value[name]
            plain = kind is type(item) and (kind is str or kind is bool)  # most fields; spares a call
            arguments[name] = item if plain else _decode(kind, item, prefix + name)
        elif required:
            raise StrictJsonError(f"{prefix}{name} is missing")
    if len(arguments) < len(value):
        unknown = next(key for key in value if key not in fields)
        raise StrictJsonError(f"{prefix}{unknown} is not known; known are {', '.join(sorted(fields))}")
    return cls(**arguments)


@cache
def _fields(cls: type) -> dict[str, tuple[Any, bool]]:
    """Name → (type, whether it must be there)."""
    hints = get_type_hints(cls)
    missing = dataclasses.MISSING

    def required(field: dataclasses.Field[Any]) -> bool:
        plain = field.default is missing and field.default_factory is missing
        return plain or "in_text" in field.metadata

    return {field.name: (hints[field.name], required(field)) for field in dataclasses.fields(cls)}


def _decode(kind: Any, value: Any, where: str) -> Any:
    if type(kind) is type and kind in _NAMES:
        return _decode_plain(kind, value, where)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        options = get_args(kind)
        if value is None and type(None) in options:
            return None
        (inner,) = (option for option in options if option is not type(None))
        return _decode(inner, value, where)
    if origin is Literal:
        if value not in get_args(kind) or not isinstance(value, str):
            raise StrictJsonError(f"{where} is {value!r}, expected one of {', '.join(get_args(kind))}")
        return value
    if origin is tuple:
        inner = get_args(kind)[0]
        if not isinstance(value, list):
            raise StrictJsonError(f"{where} is {_kind(value)}, expected a list")
        return tuple(_decode(inner, item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is dict:  # a table with free keys, or free JSON
        if not isinstance(value, dict):
            raise StrictJsonError(f"{where} is {_kind(value)}, expected an object")
        inner = get_args(kind)[1]
        return value if inner is Any else {key: _decode(inner, item, f"{where}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(kind):
        return decode(kind, value, where)  # type: ignore[arg-type]
    return _decode_plain(kind, value, where)


def _decode_plain(kind: Any, value: Any, where: str) -> Any:
    if kind is float and type(value) in (int, float):
        if abs(value) > MAX_FLOAT:
            raise StrictJsonError(f"{where} is too large for a number")
        return float(value)
    if type(value) is not kind:
        raise StrictJsonError(f"{where} is {_kind(value)}, expected {_NAMES.get(kind, kind.__name__)}")
    if kind is int and abs(value) > MAX_INT:
        raise StrictJsonError(f"{where} is {value}, beyond the integers every reader holds exactly")
    return value


_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
