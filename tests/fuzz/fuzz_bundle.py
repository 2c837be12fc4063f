#!/usr/bin/env python3
"""Coverage-guided fuzzing of the bundle reader with atheris (libFuzzer).

    pip install atheris
    tests/fuzz/fuzz_bundle.py WORK tests/fuzz/corpus -max_total_time=600 -max_len=9000

New inputs go to the folder WORK (made and seeded here); minimise and keep them with
``tests/fuzz/fuzz_bundle.py -merge=1 tests/fuzz/corpus WORK``. What is in tests/fuzz/corpus runs with the tests.
"""

from __future__ import annotations

import hashlib
import random
import re
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parent))
with atheris.instrument_imports(include=["edgeslim", "bundle_target"]):
    from bundle_target import one_input, seeds

SEEDS = seeds()
_TOKEN = re.compile(rb'"[^"]*"|-?[0-9]+|true|false|null|[][{},:]')


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Now and then start from a good part again; in JSON exchange tokens as often as bytes."""
    rng = random.Random(seed)
    if rng.random() < 0.3:
        data = rng.choice(SEEDS)
    tokens = [match.span() for match in _TOKEN.finditer(data, 1)]
    if len(tokens) > 20 and rng.random() < 0.6:
        for _ in range(rng.choice((1, 1, 2))):
            (start, end), (first, last) = rng.choice(tokens), rng.choice(tokens)
            data = data[:start] + data[first:last] + data[end:]
        return data[:max_size]
    return bytes(atheris.Mutate(data, max_size))


def main() -> None:
    folders = [Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")]
    if folders and not any(argument.startswith("-merge") for argument in sys.argv):
        folders[0].mkdir(parents=True, exist_ok=True)
        for seed in SEEDS:
            (folders[0] / hashlib.sha1(seed).hexdigest()).write_bytes(seed)
    atheris.Setup(sys.argv, lambda data: (one_input(data), None)[1], custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
