"""What else ran while samples were taken.

    Counters.read() ── a block of runs ── Counters.read() ─► later - earlier ─► Load ─► Load.total ─► LoadSpan

On Linux: ``/proc/stat`` for the whole machine (ticks of 10 ms, steal included), ``/proc/self/task/*/schedstat`` for
the time in which a thread of this process was ready but had no core. Elsewhere psutil where it is there, and the count
of involuntary context switches.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgeslim.core.passport import LoadSpan

_IDLE, _IOWAIT, _STEAL = 3, 4, 7  # columns of /proc/stat, proc(5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Time differences of one block, in seconds; None where the system does not tell."""

    wall_s: float
    cores: int
    own_cpu_s: float
    busy_s: float | None
    steal_s: float | None
    waited_s: float | None
    preemptions: int

    @classmethod
    def total(cls, blocks: Iterable[Load]) -> LoadSpan:
        """The shares over all blocks of a row."""
        blocks = tuple(blocks)
        wall_s = sum(block.wall_s for block in blocks)
        if not wall_s:
            return LoadSpan()
        capacity_s = wall_s * blocks[0].cores

        def summed(name: str) -> float | None:
            values = [getattr(block, name) for block in blocks]
            return None if None in values else sum(values)

        busy_s, steal_s, waited_s = summed("busy_s"), summed("steal_s"), summed("waited_s")
        own_s = sum(block.own_cpu_s for block in blocks)
        return LoadSpan(
            others_share=None if busy_s is None else _share(busy_s - own_s, capacity_s),
            steal_share=None if steal_s is None else _share(steal_s, capacity_s),
            waited_share=None if waited_s is None else _share(waited_s, waited_s + own_s),
            preemptions=sum(block.preemptions for block in blocks),
        )


def _share(part_s: float, whole_s: float) -> float:
    return round(max(part_s, 0.0) / whole_s, 5) if whole_s > 0 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """The system's counters at one moment."""

    wall_ns: int
    own_cpu_ns: int
    busy_s: float | None
    steal_s: float | None
    waited_ns: int | None
    preemptions: int

    @classmethod
    def read(cls, proc: Path = Path("/proc")) -> Counters:
        busy_s, steal_s = _machine_seconds(proc)
        return cls(
            busy_s=busy_s,
            steal_s=steal_s,
            waited_ns=_waited_ns(proc),
            preemptions=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
            own_cpu_ns=time.process_time_ns(),
            wall_ns=time.perf_counter_ns(),
        )

    def __sub__(self, earlier: Counters) -> Load:
        def difference(name: str) -> float | None:
            now, then = getattr(self, name), getattr(earlier, name)
            return None if now is None or then is None else now - then

        waited_ns = difference("waited_ns")
        return Load(
            wall_s=(self.wall_ns - earlier.wall_ns) / 1e9,
            cores=os.cpu_count() or 1,
            own_cpu_s=(self.own_cpu_ns - earlier.own_cpu_ns) / 1e9,
            busy_s=difference("busy_s"),
            steal_s=difference("steal_s"),
            waited_s=None if waited_ns is None else waited_ns / 1e9,
            preemptions=self.preemptions - earlier.preemptions,
        )


def _machine_seconds(proc: Path) -> tuple[float | None, float | None]:
    """(busy, stolen) seconds of all cores since boot."""
    try:
        first = (proc / "stat").read_text().partition("\n")[0].split()
        ticks = [int(text) for text in first[1:9]]
    except (OSError, ValueError):
        return _machine_seconds_elsewhere()
    per_second = os.sysconf("SC_CLK_TCK")
    steal = ticks[_STEAL] if len(ticks) > _STEAL else 0
    return (sum(ticks) - ticks[_IDLE] - ticks[_IOWAIT] - steal) / per_second, steal / per_second


def _machine_seconds_elsewhere() -> tuple[float | None, float | None]:
    try:
        import psutil
    except ModuleNotFoundError:
        return None, None
    times = psutil.cpu_times()
    return float(sum(times) - times.idle), None


def _waited_ns(proc: Path) -> int | None:
    """Time on the run queue of all threads of this process (second number of schedstat, in ns)."""
    waited: list[int] = []
    try:
        for entry in os.scandir(proc / "self" / "task"):
            try:
                waited.append(int(Path(entry.path, "schedstat").read_text().split()[1]))
            except FileNotFoundError:  # the thread has just ended, or the kernel keeps no such count
                continue
    except (OSError, ValueError, IndexError):
        return None
    return sum(waited) if waited else None
