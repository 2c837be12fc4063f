"""The fuzzer's corpus as a regression test; test_input_mutants.py makes new inputs without atheris."""

from __future__ import annotations

from pathlib import Path

from bundle_target import PARTS, one_input, seeds

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


def test_the_seeds_are_accepted() -> None:
    assert len(seeds()) == len(PARTS)
    assert all(one_input(seed) for seed in seeds())


def test_the_corpus_raises_nothing_but_format_errors() -> None:
    assert len(CORPUS) > 100
    for path in CORPUS:
        one_input(path.read_bytes())
