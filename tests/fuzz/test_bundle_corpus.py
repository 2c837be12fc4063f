"""The fuzzer's corpus as a regression test, and a short blind run for machines without atheris."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from bundle_target import PARTS, one_input, seeds

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


def test_the_seeds_are_accepted() -> None:
    assert len(seeds()) == len(PARTS)
    assert all(one_input(seed) for seed in seeds())


def test_the_corpus_raises_nothing_but_format_errors() -> None:
    assert len(CORPUS) > 100
    for path in CORPUS:
        one_input(path.read_bytes())


@pytest.mark.parametrize("part", range(len(PARTS)), ids=PARTS)
def test_blind_mutations(part: int) -> None:
    rng = random.Random(part)
    seed = seeds()[part]
    words = [b'"', b"{", b"[", b"null", b"0", b"-1", b"9007199254740993", b"\xff", b"\0", b"../", b"true", b"1.5"]
    for _ in range(150):
        data = bytearray(seed)
        for _ in range(rng.choice((1, 1, 2, 4))):
            at = rng.randrange(1, len(data))
            size = rng.choice((0, 1, 1, 2, 8))
            data[at : at + size] = rng.choice((rng.choice(words), rng.randbytes(size), b""))
        one_input(bytes(data))
