"""Measures a job on this machine; the same code here and, sent along, on a board.

    burst      groups of cells ─► wait until cool ─► a live child each: prepare, warm up ─► turns in short blocks,
               A B C … C B A, until every cell has its runs and seconds and its p50 is settled ─► rows
               ─► cells that something else disturbed once more
    sustained  one cell after the other, alone ─► wait until cool ─► prepare, warm up ─► blocks without a pause ─► row

A child that crashes, hangs or raises costs its own row, which says so; the others go on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from edgeslim.benchmark.board import validity
from edgeslim.benchmark.board.child_handle import Child, ChildError
from edgeslim.benchmark.board.messages import (
    Block,
    Finish,
    Finished,
    Import,
    Message,
    Prepare,
    Prepared,
    Turn,
    Warm,
    Warmed,
)
from edgeslim.benchmark.board.row import RowMaker, Tally
from edgeslim.benchmark.board.schedule import groups, turns
from edgeslim.core.events import Done, Note, Passport, Progress, RowDone, Sink
from edgeslim.core.job import Cell, Job
from edgeslim.core.latency import LatencyRow
from edgeslim.errors import HostError
from edgeslim.host import machine
from edgeslim.host.sampling import baseline_ns
from edgeslim.host.sysfs import Heat

R = TypeVar("R")

_COOL_C = 1.5  # 0.05 of headroom
_COOL_POLL_S = 2.0
_REFERENCE_S = 0.3
_PREPARE_S = 120.0
"""Time a child gets for importing a runtime, rebuilding and loading, on top of the job's ``hang_s``."""
_PREPARE_ESTIMATE_S = 3.0
_SUSTAINED_BLOCK_S = 1.0
_SLACK = 20  # a block that takes this many times its estimate is not slow but stuck


class Session:
    """One job on this machine.

    Args:
        bundle: where cells without a path come from.
        folder: for rebuilt files and the children's logs; the caller's to remove.
        root: of ``/sys`` and ``/proc`` for heat, battery, clock and passport.
    """

    def __init__(self, job: Job, *, bundle: Path | None, folder: Path, sink: Sink, root: Path = machine.ROOT) -> None:
        self._job = job
        self._bundle = None if bundle is None else str(bundle)
        self._folder = folder
        self._sink = sink
        self._root = root
        self._start_heat = Heat()
        self._done = 0
        self._passport = Passport(device=machine.device(root), os=machine.operating_system(root))

    def run(self) -> None:
        """Emits the events of ``events.py``, from ``Passport`` to ``Done``.

        Raises:
            HostError: the device is hot and stays hot; nothing was measured.
        """
        self._sink(self._passport)
        if not self._cool(self._job.cool_wait_s):
            level = machine.heat(self._root).level
            raise HostError(
                f"the device is too hot to measure: thermal level {level} after waiting {self._job.cool_wait_s:g} s",
                hint="let it cool down, or wait longer with --cool-wait SECONDS",
            )
        self._start_heat = machine.heat(self._root)
        self._maker = RowMaker(
            job=self._job,
            device=self._passport.device,
            os=self._passport.os,
            reference_ms=_reference_ms(),
        )
        if self._job.kind == "burst":
            self._burst()
        else:
            for order, cell in enumerate(self._job.cells):
                self._sustained(cell, order)
        self._sink(Done())

    # burst

    def _burst(self) -> None:
        memory = machine.memory_available_bytes(self._root)
        again = self._measure_groups(groups(self._job.cells, self._job.together, memory), {})
        for attempt in range(self._job.retries):
            if not again:
                return
            self._sink(Note(text=f"measuring {len(again)} disturbed rows again"))
            self._done -= len(again)
            self._job = dataclasses.replace(self._job, seed=self._job.seed + 1 + attempt)
            self._maker = dataclasses.replace(self._maker, job=self._job)
            again = self._measure_groups(groups(tuple(again), self._job.together, memory), again)

    def _measure_groups(
        self, wanted: Sequence[tuple[Cell, ...]], before: dict[Cell, LatencyRow]
    ) -> dict[Cell, LatencyRow]:
        """Measures and emits; returns the rows that another try may better."""
        disturbed: dict[Cell, LatencyRow] = {}
        for cells in wanted:
            self._cool(self._job.cool_wait_s)
            for cell, row in self._group(cells):
                first = before.get(cell)
                if first is not None:
                    row = _better(first, row)
                if row.runs and any(reason.partition(":")[0] in validity.PASSING for reason in row.reasons):
                    disturbed[cell] = row
                self._done += 1
                self._sink(RowDone(row=row))
        return disturbed

    def _group(self, cells: Sequence[Cell]) -> list[tuple[Cell, LatencyRow]]:
        order = next(turns(len(cells), self._job.seed))
        tallies = [Tally(cell=cell, order=order.index(index), root=self._root) for index, cell in enumerate(cells)]
        rows: dict[int, LatencyRow] = {}
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(self._own_folder())
            children = {index: stack.enter_context(Child(folder / f"child-{index}.log")) for index in range(len(cells))}
            for index, child in children.items():  # side by side: seconds of importing for some runtimes, and no figure
                child.tell(Import(target=cells[index].target))
            self._say_preparing(cells[0])
            for index, child in children.items():
                with self._failures(tallies[index], child, rows, index):
                    child.hear(timeout_s=_PREPARE_S + self._job.hang_s)
            for index, child in children.items():
                if index not in rows:
                    with self._failures(tallies[index], child, rows, index):
                        self._start(tallies[index], child, folder)
            for around in turns(len(cells), self._job.seed):
                waiting = [index for index in around if index not in rows]
                if not waiting:
                    break
                for index in waiting:
                    tally, child = tallies[index], children[index]
                    with self._failures(tally, child, rows, index):
                        self._turn(tally, child, self._job.block_s, self._job.lead_in_runs)
                        if self._finished(tally):
                            self._finish(tally, child)
                            rows[index] = self._maker.row(tally)
                self._progress(tallies, len(rows))
        return [(cell, rows[index]) for index, cell in enumerate(cells)]

    @contextlib.contextmanager
    def _failures(self, tally: Tally, child: Child, rows: dict[int, LatencyRow], index: int) -> Iterator[None]:
        """A child that fails in the block costs its row."""
        try:
            yield
        except ChildError as error:
            child.kill()
            tally.look(now=True)
            rows[index] = self._maker.row(tally, failure=str(error))

    def _finished(self, tally: Tally) -> bool:
        job = self._job
        if tally.measured_s >= job.limit_s:
            return True
        enough = tally.runs >= job.runs and tally.measured_s >= job.seconds and len(tally.blocks) >= validity.MIN_BLOCKS
        return enough and validity.settled(tally.blocks)

    # sustained

    def _sustained(self, cell: Cell, order: int) -> None:
        cooled = self._cool(self._job.cool_wait_s)
        tally = Tally(cell=cell, order=order, root=self._root)
        if not cooled:
            tally.notes.append(f"started warm: not cool again after {self._job.cool_wait_s:g} s")
        rows: dict[int, LatencyRow] = {}
        with (
            self._own_folder() as folder,
            Child(folder / "child.log") as child,
            self._failures(tally, child, rows, 0),
        ):
            self._start(tally, child, folder)
            while tally.measured_s < self._job.limit_s and not (
                tally.runs >= self._job.runs and tally.measured_s >= self._job.seconds
            ):
                self._turn(tally, child, min(_SUSTAINED_BLOCK_S, self._job.seconds or _SUSTAINED_BLOCK_S), 0)
                self._progress([tally], 0)
            self._finish(tally, child)
            rows[0] = self._maker.row(tally)
        self._done += 1
        self._sink(RowDone(row=rows[0]))

    # one child

    @contextlib.contextmanager
    def _own_folder(self) -> Iterator[Path]:
        """For rebuilt files and logs; gone afterwards, so that the next rebuild starts from nothing."""
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            yield Path(name)

    def _start(self, tally: Tally, child: Child, folder: Path) -> None:
        job, cell = self._job, tally.cell
        self._say_preparing(cell)
        request = Prepare(cell=cell, bundle=self._bundle, folder=str(folder))
        tally.prepared = self._ask(child, request, Prepared, _PREPARE_S)
        warmed = self._ask(child, Warm(runs=job.warmup_runs, seconds=job.warmup_s), Warmed, job.warmup_s)
        tally.run_ms, tally.warmup_runs = warmed.run_ms, warmed.runs

    def _say_preparing(self, cell: Cell) -> None:
        left_s = self._left_s([])
        self._sink(Progress(doing=f"preparing {cell}", done=self._done, of=len(self._job.cells), left_s=left_s))

    def _turn(self, tally: Tally, child: Child, block_s: float, lead_in_runs: int) -> None:
        runs = max(1, round(block_s * 1000 / max(tally.run_ms, 1e-4)))
        stuck_s = _SLACK * (runs + lead_in_runs) * tally.run_ms / 1000
        block = self._ask(child, Turn(lead_in_runs=lead_in_runs, runs=runs), Block, stuck_s)
        tally.blocks.append(block)
        tally.warmup_runs += lead_in_runs
        tally.look()

    def _finish(self, tally: Tally, child: Child) -> None:
        tally.look(now=True)
        tally.peak_rss_bytes = self._ask(child, Finish(), Finished, 0.0).peak_rss_bytes

    def _ask(self, child: Child, request: Message, kind: type[R], work_s: float) -> R:
        reply = child.ask(request, timeout_s=work_s + self._job.hang_s)
        assert isinstance(reply, kind)
        return reply

    # around it

    def _cool(self, limit_s: float) -> bool:
        """Wait until the level is 0 and the hottest zone is near that of the start; False when ``limit_s`` passed."""
        end = time.monotonic() + limit_s
        told = False
        while not self._is_cool(machine.heat(self._root)):
            if time.monotonic() >= end:
                return False
            if not told:
                self._sink(Note(text=f"waiting until the device is cool, at most {limit_s:g} s"))
                told = True
            time.sleep(min(_COOL_POLL_S, max(0.01, end - time.monotonic())))
        return True

    def _is_cool(self, heat: Heat) -> bool:
        start_c = self._start_heat.zone_c
        near = heat.zone_c is None or start_c is None or heat.zone_c <= start_c + _COOL_C
        return not heat.level and near

    def _progress(self, tallies: Sequence[Tally], finished: int) -> None:
        doing = f"measuring {tallies[0].cell}" if len(tallies) == 1 else f"measuring {len(tallies)} in turns"
        self._sink(
            Progress(
                doing=doing,
                done=self._done + finished,
                of=len(self._job.cells),
                left_s=self._left_s([tally for tally in tallies if tally.blocks]),
            )
        )

    def _left_s(self, under_way: Sequence[Tally]) -> float:
        each_s = _PREPARE_ESTIMATE_S + self._job.warmup_s + self._job.seconds
        waiting = max(0, len(self._job.cells) - self._done - len(under_way))
        here_s = sum(max(0.0, self._job.seconds - tally.measured_s) for tally in under_way)
        return round(waiting * each_s + here_s, 1)


def _reference_ms() -> float:
    """The fixed work on the cool device, after the clock had time to rise."""
    samples: list[int] = []
    end = time.perf_counter() + _REFERENCE_S
    while time.perf_counter() < end:
        samples.append(baseline_ns())
    return statistics.median(samples[len(samples) // 2 :]) / 1e6


def _better(first: LatencyRow, second: LatencyRow) -> LatencyRow:
    """Of two measurements the valid one, else the later; it says what became of the other."""
    chosen, other = (first, second) if first.valid or not second.runs else (second, first)
    p50 = "no p50" if other.p50_ms is None else f"p50 {other.p50_ms:.4g} ms"
    why = "; ".join(other.reasons) or "valid"
    return dataclasses.replace(chosen, notes=(*chosen.notes, f"measured twice; the other time {p50} ({why})"))
