"""Canonical JSON: one text per value."""

from __future__ import annotations

import json
from typing import Any

import input_bundle
import pytest
import small_bundle
from hypothesis import given
from hypothesis import strategies as st

from edgeslim.core.canonical_json import MAX_INT, canonical_bytes, decimal_text, is_decimal, parse_canonical
from edgeslim.core.manifest_rules import parse_manifest
from edgeslim.errors import FormatError

KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8)
LEAVES = st.none() | st.booleans() | st.integers(-MAX_INT, MAX_INT) | st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4))


def depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(VALUES)
def test_values_come_back(value: Any) -> None:
    if depth(value) <= 12:
        assert parse_canonical(canonical_bytes(value)) == value


@given(VALUES, st.sampled_from([{"indent": 1}, {"separators": (", ", ":")}, {"ensure_ascii": True}]))
def test_any_other_text_of_a_value_is_refused(value: Any, style: dict[str, Any]) -> None:
    text = json.dumps(value, sort_keys=True, **{"separators": (",", ":"), "ensure_ascii": False, **style}).encode()
    if text != canonical_bytes(value):
        with pytest.raises(FormatError):
            parse_canonical(text)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    try:
        value = parse_canonical(text)
    except FormatError:
        return
    assert canonical_bytes(value) == text


def test_depth_is_counted_in_containers() -> None:
    assert parse_canonical(b"[" * 12 + b"]" * 12)
    with pytest.raises(FormatError, match="too-deep"):
        parse_canonical(b"[" * 13 + b"]" * 13)


@pytest.mark.parametrize(
    ("value", "text"), [(0.485, "0.485"), (1.0, "1"), (-0.0, "0"), (1e-9, "0.000000001"), (1e-12, "0"), (255, "255")]
)
def test_decimals(value: float, text: str) -> None:
    assert decimal_text(value) == text
    assert is_decimal(text)


@pytest.mark.parametrize("text", ["", "-0", "0.0", "1.", ".5", "01", "+1", "1e3", "0.1234567891", "1234567890", "NaN"])
def test_what_is_no_decimal(text: str) -> None:
    assert not is_decimal(text)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9])
def test_what_cannot_be_written_as_decimal(value: float) -> None:
    with pytest.raises(ValueError):
        decimal_text(value)


@pytest.mark.parametrize("maker", [small_bundle, input_bundle])
def test_manifests_come_back(maker: Any) -> None:
    manifest = maker.builder()[0].content().manifest
    assert parse_manifest(manifest.to_bytes()) == manifest
