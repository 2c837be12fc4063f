"""Randomness by counter: every draw is a function of the seed and of what it is for, never of what came before.

That is what makes a run resumable at any step: step 4,711 draws the same widths, order and crops whether the
process started at step 0 or at step 4,711, on one rank or on many.
"""

from __future__ import annotations

import hashlib

import torch


def _hashed(seed: int, *counters: int | str) -> int:
    """63 bits out of SHA-256: the same on every machine and with every version."""
    text = "/".join(str(part) for part in (seed, *counters))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def integer(low: int, high: int, seed: int, *counters: int | str) -> int:
    """A whole number in [low, high]."""
    return low + _hashed(seed, *counters) % (high - low + 1)


def generator(seed: int, *counters: int | str) -> torch.Generator:
    """A fresh CPU generator for one purpose."""
    return torch.Generator().manual_seed(_hashed(seed, *counters))
