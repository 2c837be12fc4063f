"""What a switch costs the frames around it.

    python profiling/switching.py us_mbv2.slim --target litert --cache-dir CACHE [--record]

Frames at --fps; the app's own limit forces another artifact now and then:

    prefetched   between two neighbours that are both in memory: the frame of the switch and the five after it, while
                 the loader closes and loads in the background
    cold         to one that is neither in memory nor in the cache (its file is removed first): every frame until
                 the new one answers

A frame's delay is what it took (all of ``session.run``) less the median of undisturbed frames of the artifact that ran.
The undisturbed frames' own scatter is printed beside it, and the figures of frames whose thread kept its core: on a
busy machine preemption is most of what there is to see.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import shutil
import statistics
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import record

from edgeslim.core.latency import LatencyTable
from edgeslim.host.sampling import example_inputs
from edgeslim.runtime.result import FrameResult
from edgeslim.runtime.session import SlimSession

AFTER = 5  # frames after a switch that still count as near it


class Camera:
    """Frames at their times; remembers how long each took at which artifact."""

    def __init__(self, session: SlimSession, fps: float) -> None:
        self._session = session
        (self._image,) = example_inputs(session.inputs).values()
        self._period_s = 1 / fps
        self._due_s = time.monotonic()
        self.frames = 0
        self.preempted: set[float] = set()
        """Times of frames during which the system gave this thread's core to somebody else."""

    def frame(self) -> tuple[FrameResult, float]:
        """The result, and the milliseconds of the whole call."""
        time.sleep(max(self._due_s - time.monotonic(), 0))
        self._due_s = max(self._due_s, time.monotonic() - self._period_s) + self._period_s
        others = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
        start = time.perf_counter_ns()
        result = self._session.run(self._image)
        ms = (time.perf_counter_ns() - start) / 1e6
        self.frames += 1
        if resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw > others:
            self.preempted.add(ms)
        return result, ms

    def settle(self, artifact: str, frames: int = 20) -> list[float]:
        """Undisturbed frames of ``artifact``: its times once it runs and the loader has come to rest."""
        took: list[float] = []
        for _ in range(600):
            result, ms = self.frame()
            took = [*took, ms] if result.artifact == artifact and self._session._pool.idle() else []
            if len(took) >= frames:
                return took
        raise SystemExit(f"{artifact} did not come")

    def delays(self, frames: list[tuple[str, float]], undisturbed: dict[str, list[float]]) -> dict[str, Any]:
        """Beyond the median of the same artifact: all frames, and those that were not preempted."""
        medians = {artifact: statistics.median(took) for artifact, took in undisturbed.items()}
        alone = [ms - medians[artifact] for artifact, ms in frames if ms not in self.preempted]
        return {"all": figures([ms - medians[artifact] for artifact, ms in frames]), "not_preempted": figures(alone)}

    def scatter(self, undisturbed: dict[str, list[float]]) -> dict[str, Any]:
        """The same of undisturbed frames."""
        return {
            f"{artifact}, median {statistics.median(took):.2f} ms": self.delays(
                [(artifact, ms) for ms in took], undisturbed
            )
            for artifact, took in sorted(undisturbed.items())
        }


def prefetched(session: SlimSession, camera: Camera, rounds: int) -> dict[str, Any]:
    wide, narrow = session.ladder.artifacts[-1], session.ladder.artifacts[-2]
    undisturbed: dict[str, list[float]] = defaultdict(list)
    switch: list[tuple[str, float]] = []
    after: list[tuple[str, float]] = []
    camera.settle(wide)
    for _ in range(rounds):
        for target in (narrow, wide):
            session.limit(widest=target)  # narrows at once; widens by itself after the dwell
            while True:
                there = target in session.loaded
                result, ms = camera.frame()
                if result.artifact == target:
                    break
            assert there, f"{target} was not prefetched"
            switch.append((target, ms))
            for _ in range(AFTER):
                result, ms = camera.frame()
                after.append((result.artifact, ms))
            undisturbed[target] += camera.settle(target)
    return {
        "artifacts": [narrow, wide],
        "switches": len(switch),
        "delay_ms_at_the_switch": camera.delays(switch, undisturbed),
        "delay_ms_in_the_five_frames_after": camera.delays(after, undisturbed),
        "undisturbed_scatter_ms": camera.scatter(undisturbed),
    }


def cold(session: SlimSession, camera: Camera, rounds: int) -> dict[str, Any]:
    wide, far = session.ladder.artifacts[-1], session.ladder.artifacts[0]
    folder = session._pool._caches[0].folder / "artifacts"
    undisturbed: dict[str, list[float]] = defaultdict(list)
    waiting: list[tuple[str, float]] = []
    frames_waited, ready_ms = [], []
    for _ in range(rounds):
        session.limit()
        undisturbed[wide] += camera.settle(wide)
        assert far not in session.loaded
        shutil.rmtree(folder / session._opened.deployment.plans[far].key, ignore_errors=True)
        session.limit(widest=far)
        start, count = time.monotonic(), 0
        while True:
            result, ms = camera.frame()
            if result.artifact == far:
                break
            waiting.append((result.artifact, ms))
            count += 1
        ready_ms.append((time.monotonic() - start) * 1000)
        frames_waited.append(count)
        undisturbed[far] += camera.settle(far)
        for artifact in {artifact for artifact, _ in waiting} - undisturbed.keys():
            session.limit(narrowest=artifact, widest=artifact)
            undisturbed[artifact] += camera.settle(artifact)
    return {
        "from_to": [wide, far],
        "switches": rounds,
        "frames_meanwhile": frames_waited,
        "new_one_answers_after_ms": figures(ready_ms),
        "delay_ms_of_frames_meanwhile": camera.delays(waiting, undisturbed),
        "undisturbed_scatter_ms": camera.scatter(undisturbed),
    }


def ladder_by_macs(bundle: Path, target: str, cache_dir: Path) -> LatencyTable:
    """A table in which every artifact is a rung: latencies stand in the ratio of the multiply-adds.

    The budget is a second, so the controller never needs to know better.
    """
    with SlimSession(bundle, target, cache_dir=cache_dir, threads=1) as session:
        macs = {plan.artifact: plan.macs for plan in session.artifacts}
        rows = []
        for row in session.table.rows:
            ms = macs[row.artifact] / 1e7
            names = ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "mean_ms", "min_ms", "max_ms")
            figures: dict[str, Any] = dict.fromkeys(names, ms) | {"std_ms": 0.0}
            rows.append(dataclasses.replace(row, samples_ms=None, block_runs=None, **figures))
        return dataclasses.replace(session.table, rows=tuple(rows))


def figures(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    if not ordered:
        return {"frames": 0}
    return {
        "frames": len(ordered),
        "p50": round(statistics.median(ordered), 3),
        "p90": round(ordered[len(ordered) * 9 // 10], 3),
        "max": round(ordered[-1], 3),
    }


def recorded(document: dict[str, Any]) -> list[record.Figure]:
    near, far = document["prefetched"], document["cold"]
    scatter = max((one["all"] for one in near["undisturbed_scatter_ms"].values()), key=lambda one: one["max"])
    alone = f"Undisturbed frames of the same run: p90 {scatter['p90']} ms, at most {scatter['max']} ms."
    preempted = f"{document['frames_preempted']} of {document['frames']} frames were preempted."
    limit = record.Promise(comparison="<=", number=1.0, text="no frame by more than 1 ms")

    def delay(aim: str, found: dict[str, float], promised: record.Promise | None, *notes: str) -> record.Figure:
        names = ("p50", "p90", "max")
        return record.Figure(
            aim=f"{aim} ({document['target']})",
            promised=promised,
            measured=tuple(found[name] for name in names),
            unit="ms",
            of=names,
            notes=notes,
        )

    return [
        delay("delay of the frame at a prefetched switch", near["delay_ms_at_the_switch"]["all"], limit, alone),
        delay("delay of the five frames after it", near["delay_ms_in_the_five_frames_after"]["all"], limit, preempted),
        delay("cold switch in the background, until it answers", far["new_one_answers_after_ms"], None),
        delay("delay of the frames meanwhile", far["delay_ms_of_frames_meanwhile"]["all"], None),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--target", default="litert")
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--cache-dir", type=Path, required=True, help="files in it are removed")
    record.add_option(parser)
    arguments = parser.parse_args()
    passport = record.begin("ai-edge-litert", "executorch")
    table = ladder_by_macs(arguments.bundle, arguments.target, arguments.cache_dir)
    with SlimSession(
        arguments.bundle, arguments.target, table, cache_dir=arguments.cache_dir, threads=1, budget_ms=1000
    ) as session:
        if len(session.ladder.rungs) < 3:
            raise SystemExit(f"three artifacts are needed, the ladder is {session.ladder.labels}")
        camera = Camera(session, arguments.fps)
        document: dict[str, Any] = {
            "target": arguments.target,
            "prefetched": prefetched(session, camera, arguments.rounds),
            "cold": cold(session, camera, arguments.rounds),
        }
    document["frames"], document["frames_preempted"] = camera.frames, len(camera.preempted)
    print(json.dumps(document, indent=1))
    if arguments.record:
        record.write(f"switching-{arguments.target}", recorded(document), passport)


if __name__ == "__main__":
    main()
