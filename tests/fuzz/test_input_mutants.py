"""One mutant in a hundred of those that profiling/soak_inputs.py reads: about half a minute of CPU time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from input_mutants import CPU_S, KINDS, MEMORY_KB, Kind, run, warmed

from edgeslim.errors import UsageError

SHARE = 100


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_mutant_gets_through(kind: Kind) -> None:
    count = kind.full // SHARE
    found = run(warmed(kind), range(count))
    assert found.faults == []
    assert found.counts["refused"] > 0.3 * count, "most mutants are broken"
    assert found.counts["accepted"] > 0.005 * count, "and some reach what lies behind the checks"


def writes(data: bytes) -> None:
    Path("left").write_bytes(data)


def crashes(data: bytes) -> None:
    raise ZeroDivisionError


def takes_long(data: bytes) -> None:
    total = 0
    for number in range(10_000_000):
        total += number
    raise UsageError("at last")


_kept: list[object] = []


def takes_memory(data: bytes) -> None:
    _kept.append(np.ones(20 << 20))
    raise UsageError("no")


@pytest.mark.parametrize(
    ("read", "words"),
    [(writes, "wrote"), (crashes, "ZeroDivisionError"), (takes_long, "of CPU time"), (takes_memory, "KB")],
)
def test_every_fault_is_seen(read: object, words: str) -> None:
    kind = Kind(name="x", seeds=lambda: [b"x"], mutate=lambda seed, rng: seed, read=read)  # type: ignore[arg-type]
    found = run(kind, range(2))
    _kept.clear()
    assert any(words in what for _, what in found.faults), (CPU_S, MEMORY_KB)


def test_a_number_gives_its_mutant_again() -> None:
    for kind in KINDS:
        assert kind.mutant(7) == kind.mutant(7)
