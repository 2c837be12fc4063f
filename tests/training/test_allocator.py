"""Freed blocks stay with the process once it is told so (glibc only)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edgeslim.training.allocator import keep_freed_memory

SCRIPT = """
import resource
import torch
from edgeslim.training.allocator import keep_freed_memory

def faults(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        torch.ones(12 << 20)  # 48 MiB: 12,288 pages of 4 KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

plain = faults(8)
assert keep_freed_memory()
faults(40)  # aligned blocks settle after some rounds
print(plain, faults(8))
"""


def test_a_block_is_used_again_without_new_pages() -> None:
    if not keep_freed_memory():
        pytest.skip("the C library here is not glibc")
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    plain, kept = map(int, done.stdout.split())
    assert plain >= 8 * 24, "each round touched new pages (of up to 2 MiB)"
    assert kept <= plain / 8
