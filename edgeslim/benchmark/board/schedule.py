"""Who measures when: groups of cells that take turns, in a seeded order there and back again (A B C … C B A)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from edgeslim import targets
from edgeslim.core.job import Cell

_MEMORY_SHARE = 0.6


def groups(cells: Sequence[Cell], together: int, memory_bytes: int | None) -> list[tuple[Cell, ...]]:
    """Cells that run with the same number of threads, at most ``together`` and as many as memory holds.

    Cells come from narrow to wide; a group gets every n-th one, so that each spans the range.
    """
    found: list[tuple[Cell, ...]] = []
    for threads in sorted({cell.threads for cell in cells}):
        chosen = sorted((cell for cell in cells if cell.threads == threads), key=lambda c: c.target)
        need = max(targets.get(cell.target).info.run_bytes for cell in chosen)
        fit = together if memory_bytes is None else int(memory_bytes * _MEMORY_SHARE) // need
        count = -(-len(chosen) // max(1, min(together, fit)))
        found += [tuple(chosen[start::count]) for start in range(count)]
    return found


def turns(count: int, seed: int) -> Iterator[tuple[int, ...]]:
    """Endless rounds over ``range(count)``: a random order, then the same backwards, then another.

    Going back cancels what drifts steadily (heat, another process slowly growing) to first order.
    """
    rng = random.Random(seed)
    while True:
        order = list(range(count))
        rng.shuffle(order)
        yield tuple(order)
        yield tuple(reversed(order))
