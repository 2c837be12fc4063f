"""Deflated parts: exact sizes, dictionaries, small memory."""

from __future__ import annotations

import random
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeslim.core.deflate import (
    BLOCK_BYTES,
    TemplateReader,
    deflated,
    deflated_template,
    inflated,
    shuffled,
    unshuffled,
)
from edgeslim.errors import FormatError


def text(length: int, seed: int) -> bytes:
    rng = random.Random(seed)
    return b"".join(b"line %d of %d;" % (i, rng.randrange(50)) for i in range(length // 8))[:length]


@given(st.binary(max_size=400))
def test_shuffling_is_undone(content: bytes) -> None:
    content = content[: len(content) // 4 * 4]
    assert unshuffled(shuffled(content)) == content


def test_shuffling_groups_bytes_by_significance() -> None:
    assert shuffled(b"aBcDaBcD") == b"aaBBccDD"


@pytest.mark.parametrize("extra", [-1, 1])
def test_another_size_than_declared_is_refused(extra: int) -> None:
    content = text(5000, 0)
    assert inflated(deflated(content), len(content), "it") == content
    with pytest.raises(FormatError):
        inflated(deflated(content), len(content) + extra, "it")


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.tuples(*[st.one_of(st.integers(0, 100), st.integers(8000, 60_000))] * 2),
    reads=st.lists(st.integers(1, 30_000), max_size=8),
)
def test_templates_come_back_in_any_reads(sizes: tuple[int, int], reads: list[int]) -> None:
    base, content = text(sizes[0], 1), text(sizes[1], 2)
    stored_base, stored = deflated_template(base, None), deflated_template(content, base)
    reader = TemplateReader(stored, len(content), "it", TemplateReader(stored_base, len(base), "base"))
    found = b""
    for count in reads:
        found += reader.read(min(count, len(content) - len(found)))
    found += reader.read(len(content) - len(found))
    reader.finish()
    assert found == content


def test_a_base_makes_a_like_template_small() -> None:
    rng = random.Random(3)
    base = bytes(rng.randbytes(40_000))
    content = base[:10_000] + b"something else" + base[10_000:]
    assert len(deflated_template(content, base)) < 0.05 * len(zlib.compress(content, 9))


def test_a_template_must_be_read_to_its_end() -> None:
    content = text(20_000, 0)
    stored = deflated_template(content, None)
    reader = TemplateReader(stored, len(content), "it")
    reader.read(100)
    with pytest.raises(FormatError, match="bad-deflate"):
        reader.finish()
    with pytest.raises(FormatError, match="bad-deflate"):
        TemplateReader(stored, len(content), "it").read(len(content) + 1)


def test_a_large_template_needs_little_memory() -> None:
    content = bytes(16 << 20)
    stored, stored_base = deflated_template(content, content), deflated_template(content, None)
    tracemalloc.start()
    reader = TemplateReader(stored, len(content), "it", TemplateReader(stored_base, len(content), "base"))
    for _ in range(len(content) // BLOCK_BYTES):
        reader.read(BLOCK_BYTES)
    reader.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
