"""The measured loop, its input, and the fixed piece of work that shows the processor's clock.

Two reads of the clock per run and nothing else: about 0.1 µs, so under 0.1 % of a 1 ms net
(``profiling/bench_overhead.py`` measures it).
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterable
from time import perf_counter_ns
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

BASELINE_BYTES = 1 << 20
_INPUT_SEED = 7
_WORK = bytes(BASELINE_BYTES)


class Tensor(Protocol):
    """One input, as manifests and runtimes describe it."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> str: ...


def example_inputs(tensors: Iterable[Tensor]) -> dict[str, NDArray[Any]]:
    """The same random arrays every time: zeros would let some kernels take short cuts."""
    rng = np.random.default_rng(_INPUT_SEED)
    return {tensor.name: _random(rng, tensor) for tensor in tensors}


def _random(rng: np.random.Generator, tensor: Tensor) -> NDArray[Any]:
    if np.issubdtype(np.dtype(tensor.dtype), np.integer):
        limits = np.iinfo(tensor.dtype)
        return rng.integers(limits.min, limits.max, tensor.shape, dtype=tensor.dtype, endpoint=True)
    return rng.standard_normal(tensor.shape).astype(tensor.dtype)


def timed_runs(call: Callable[[], object], runs: int) -> list[int]:
    """Nanoseconds of ``runs`` calls, in the order they happened. Python's garbage collector waits meanwhile."""
    samples = [0] * runs
    clock = perf_counter_ns
    collecting = gc.isenabled()
    gc.disable()
    try:
        for index in range(runs):
            start = clock()
            call()
            samples[index] = clock() - start
    finally:
        if collecting:
            gc.enable()
    return samples


def baseline_ns(repeats: int = 3) -> int:
    """The fastest of ``repeats`` times of the fixed work (SHA-256 of 1 MiB).

    It depends on the clock and hardly on anything else: one core, no memory traffic, no vector units that lower the
    clock, and the fastest of a few leaves out preemptions (measured on a virtual machine: within 0.2 % all day).
    """
    return min(timed_runs(lambda: hashlib.sha256(_WORK).digest(), repeats))
