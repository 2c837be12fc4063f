"""What a session adds to every frame beyond the runtime's own call.

    python profiling/session_overhead.py us_mbv2.slim --target litert [--record]

Two figures: the whole ``session.run`` less the ``latency_us`` it reports, frame by frame; and the difference of the
medians against calling the runtime's runner directly, in turns of 50 frames on the same image. Frames follow each other
without a pause; heat and battery are polled as always.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import record

from edgeslim.core.policy import Policy
from edgeslim.host.sampling import example_inputs, timed_runs
from edgeslim.runtime.session import SlimSession

TURN = 50
RUNTIMES = ("ai-edge-litert", "executorch")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--target", default="litert")
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--cache-dir", type=Path)
    record.add_option(parser)
    arguments = parser.parse_args()
    passport = record.begin(*RUNTIMES)

    outside_us, whole_us, direct_us, preempted = list[float](), list[float](), list[float](), 0
    with SlimSession(
        arguments.bundle,
        arguments.target,
        policy=Policy(name="overhead", max_rung=1),  # a fast net shows more of what is around it
        cache_dir=arguments.cache_dir,
        threads=1,
    ) as session:
        (image,) = example_inputs(session.inputs).values()
        clock = time.perf_counter_ns
        for frame in range(arguments.frames):
            switches = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
            start = clock()
            result = session.run(image)
            spent_us = (clock() - start) / 1000
            if resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw > switches:
                preempted += 1  # the system gave our core to another process
            else:
                whole_us.append(spent_us)
                outside_us.append(spent_us - result.latency_us)
            if frame % TURN == TURN - 1:
                assert session._pool.current is not None
                runner = session._pool.current.runner
                for _ in range(TURN):
                    switches = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
                    (ns,) = timed_runs(lambda: runner.run({"image": image}), 1)  # noqa: B023
                    if resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw == switches:
                        direct_us.append(ns / 1000)
    outside_us.sort()
    document: dict[str, Any] = {
        "target": arguments.target,
        "artifact": result.artifact,
        "frames": len(whole_us),
        "preempted_frames_left_out": preempted,
        "outside_the_call_us": {
            "p50": round(statistics.median(outside_us), 1),
            "p95": round(outside_us[len(outside_us) * 95 // 100], 1),
            "p99": round(outside_us[len(outside_us) * 99 // 100], 1),
            "mean": round(statistics.fmean(outside_us), 1),
        },
        "session_p50_us": round(statistics.median(whole_us), 1),
        "runner_p50_us": round(statistics.median(direct_us), 1),
        "difference_p50_us": round(statistics.median(whole_us) - statistics.median(direct_us), 1),
    }
    print(json.dumps(document, indent=1))
    if arguments.record:
        outside = document["outside_the_call_us"]
        figure = record.Figure(
            aim=f"a session's frame beyond the runtime's own call ({arguments.target})",
            measured=(outside["p50"], outside["mean"], outside["p95"]),
            unit="µs",
            of=("p50", "mean", "p95"),
            notes=(f"{len(whole_us)} frames of {document['runner_p50_us']} µs, {preempted} preempted ones left out.",),
        )
        record.write(f"session_overhead-{arguments.target}", [figure], passport)


if __name__ == "__main__":
    main()
