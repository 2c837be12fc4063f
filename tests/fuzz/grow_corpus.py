#!/usr/bin/env python3
"""Makes tests/fuzz/corpus anew without atheris: blind mutations, of which one per distinct refusal is kept.

    python tests/fuzz/grow_corpus.py [COUNT]

Coverage-guided fuzzing (fuzz_bundle.py) finds more; this is what a change of the format needs.
"""

from __future__ import annotations

import hashlib
import random
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bundle_target import refusal, seeds

CORPUS = Path(__file__).parent / "corpus"
_TOKEN = re.compile(rb'"[^"]*"|-?[0-9]+|true|false|null|[][{},:]')
_WORDS = (b"null", b"0", b"-1", b"9007199254740993", b"1.5", b"true", b"[]", b"{}", b"", b"\xff", b"../x")


def mutated(seed: bytes, rng: random.Random) -> bytes:
    """Bytes changed, or tokens exchanged where there are some."""
    data = seed
    tokens = [match.span() for match in _TOKEN.finditer(data, 1)]
    for _ in range(rng.choice((1, 1, 1, 2))):
        if len(tokens) > 20 and rng.random() < 0.8:
            (start, end), (first, last) = rng.choice(tokens), rng.choice(tokens)
            data = data[:start] + rng.choice((data[first:last], rng.choice(_WORDS))) + data[end:]
            tokens = [match.span() for match in _TOKEN.finditer(data, 1)]
        else:
            at, size = rng.randrange(1, len(data)), rng.choice((0, 1, 1, 2, 4))
            data = data[:at] + rng.choice((rng.randbytes(size), b"", rng.choice(_WORDS))) + data[at + size :]
    return data


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 6_000
    rng = random.Random(0)
    kept: dict[tuple[int, str], bytes] = {}
    for turn in range(count):
        seed = seeds()[turn % len(seeds())]
        data = mutated(seed, rng)
        error = refusal(data)
        reason = "accepted" if error is None else re.sub(r"[0-9]+|'[^']*'", "…", str(error))
        key = seed[0], reason
        if key not in kept or len(data) < len(kept[key]):
            kept[key] = data
    for old in CORPUS.iterdir():
        old.unlink()
    for data in kept.values():
        (CORPUS / hashlib.sha1(data).hexdigest()).write_bytes(data)
    print(f"{len(kept)} inputs, {sum(map(len, kept.values()))} bytes")


if __name__ == "__main__":
    main()
