"""Writes tests/golden/jobs: jobs and events as they travel between a host and a device, and what has to be refused.

.venv/bin/python tests/golden/make_jobs.py          writes them
.venv/bin/python tests/golden/make_jobs.py --check  exits 1 if they are not what this code writes

job-<name>.json     one job, as the host writes it (one line, sorted keys, no spaces)
event-<name>.json   one event, as a device writes it
accepted.jsonl      {"what", "text", "same_as"}: other texts that mean the same as a file here
refused.jsonl       {"what", "text", "reason"}: texts that a reader must refuse. The reason is a word for people and
                    for naming tests: not-json, twice, not-an-object, unknown-kind, missing, unknown, wrong-type,
                    range
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from edgeslim.core.events import EVENTS, Done, Event, Note, Passport, Progress, Ready, Refused, RowDone
from edgeslim.core.job import Cell, Job
from edgeslim.core.latency import LatencyRow, LatencyStatistics
from edgeslim.core.passport import (
    BatterySpan,
    ClockSpan,
    DeviceInfo,
    LoadSpan,
    OsInfo,
    RuntimeInfo,
    ThermalSpan,
)
from edgeslim.core.strict_json import canonical, encode
from edgeslim.errors import HostError, MissingExtraError

FOLDER = Path(__file__).with_name("jobs")
BUNDLE = "b0" * 32
DEVICE = DeviceInfo(
    manufacturer="Raspberry Pi",
    model="Raspberry Pi 5 Model B Rev 1.0",
    soc="brcm,bcm2712",
    cores=4,
    ram_bytes=8245600 * 1024,
    cpu_max_khz=(2400000,) * 4,
)
OS = OsInfo(name="debian", version="12", build=None)

SMALL = Cell(
    artifact="litert-int8-192/0750",
    label="int8 0.75x @192",
    width_permille=750,
    target="litert",
    threads=2,
    precision="int8",
    input_shape=(1, 3, 192, 192),
    file_sha256="a1" * 32,
    suffix=".tflite",
    backend="xnnpack",
)
VECTOR = Cell(
    artifact="executorch-fp32-224/searched.v2",
    label="searched.v2",
    width_permille=None,
    target="executorch",
    threads=1,
    precision="fp32",
    input_shape=(1, 3, 224, 224),
    file_sha256="a2" * 32,
    suffix=".pte",
)

JOBS = {
    "burst": Job(
        kind="burst", cells=(SMALL, VECTOR), bundle_sha256=BUNDLE, runs=50, seconds=3.0, limit_s=10.0, seed=7,
    ),
    "sustained": Job(
        kind="sustained", cells=(SMALL,), bundle_sha256=None, runs=1024, seconds=60.0, limit_s=600.0,
        warmup_runs=0, warmup_s=0.0, block_s=0.25, lead_in_runs=0, together=1, cool_wait_s=0.0, hang_s=1.5, retries=0,
    ),
}  # fmt: skip

SAMPLES_MS = (4.0, 4.25, 4.5, 4.75)
ROW = LatencyRow(
    file_sha256=SMALL.file_sha256,
    bundle_sha256=BUNDLE,
    artifact=SMALL.artifact,
    net=SMALL.net,
    label=SMALL.label,
    width_permille=SMALL.width_permille,
    target=SMALL.target,
    precision=SMALL.precision,
    input_shape=SMALL.input_shape,
    device=DEVICE,
    os=OS,
    runtime=RuntimeInfo(
        name="litert",
        version="2.0",
        delegate_requested="xnnpack",
        delegate_actual="xnnpack",
        threads=2,
        load_mode="mmap",
    ),
    context="app",
    qos="user-interactive",
    rebuild_ms=12.5,
    load_cold_ms=8.25,
    load_warm_ms=1.5,
    first_inference_ms=9.0,
    warmup_runs=10,
    runs=len(SAMPLES_MS),
    duration_s=0.0175,
    p50_ms=4.375,
    p90_ms=4.675,
    p95_ms=4.7125,
    p99_ms=4.7425,
    mean_ms=4.375,
    std_ms=LatencyStatistics.of(SAMPLES_MS).std_ms,
    min_ms=4.0,
    max_ms=4.75,
    samples_ms=SAMPLES_MS,
    block_runs=(2, 2),
    peak_rss_bytes=52428800,
    thermal=ThermalSpan(level_start=0, level_end=1, level_max=1, headroom_start=0.5, zone_c_end=61.5),
    battery=BatterySpan(permille_start=830, permille_end=820, charging=False, low_power=False),
    clock=ClockSpan(baseline_ms_reference=1.25, baseline_ms_start=1.25, baseline_ms_end=1.3125, khz_start=2400000),
    load=LoadSpan(others_share=0.0125, preemptions=3),
    energy_mj_per_inference=18.5,
    energy_method="current_now",
    kind="burst",
    order=1,
    seed=7,
    valid=False,
    reasons=("thermal: the level rose to 1",),
    notes=("measured twice; the other time p50 4.4 ms (valid)",),
    started_at="2026-01-01T00:00:00Z",
    edgeslim_version="0.1.0",
)
UNMEASURED = LatencyRow(
    file_sha256=VECTOR.file_sha256,
    bundle_sha256=None,
    artifact=VECTOR.artifact,
    net=VECTOR.net,
    label=VECTOR.label,
    width_permille=None,
    target=VECTOR.target,
    precision=VECTOR.precision,
    input_shape=VECTOR.input_shape,
    device=DEVICE,
    os=OS,
    runtime=RuntimeInfo(
        name="executorch", version="unknown", delegate_requested=None, delegate_actual=None, threads=1,
    ),
    context="process",
    warmup_runs=0,
    runs=0,
    duration_s=0.0,
    kind="sustained",
    order=0,
    seed=0,
    valid=False,
    reasons=("crashed: killed by SIGSEGV while preparing",),
    started_at="2026-01-01T00:00:00Z",
    edgeslim_version="0.1.0",
)  # fmt: skip

EVENTS_BY_NAME: dict[str, Event] = {
    "ready": Ready(),
    "passport": Passport(device=DEVICE, os=OS),
    "progress": Progress(doing="measuring 2 in turns", done=0, of=2, left_s=12.5),
    "row-done": RowDone(row=ROW),
    "row-done-crashed": RowDone(row=UNMEASURED),
    "note": Note(text="waiting until the device is cool, at most 300 s — “warm”"),
    "refused": Refused.of(HostError("the device is too hot to measure", hint="let it cool down")),
    "refused-missing": Refused.of(MissingExtraError("ai_edge_litert", "litert-runtime")),
    "done": Done(),
}


def files() -> dict[str, str]:
    """Name → content of every file."""
    found = {f"job-{name}.json": f"{job.to_json()}\n" for name, job in JOBS.items()}
    found |= {f"event-{name}.json": EVENTS.to_line(event).decode() for name, event in EVENTS_BY_NAME.items()}
    found["accepted.jsonl"] = _lines(accepted())
    found["refused.jsonl"] = _lines(refused())
    return found


def _lines(records: list[dict[str, str]]) -> str:
    return "".join(f"{canonical(record)}\n" for record in records)


def accepted() -> list[dict[str, str]]:
    burst = encode(JOBS["burst"])
    required = ("kind", "cells", "bundle_sha256", "runs", "seconds", "limit_s", "seed")
    whole = {**burst, "seconds": 3, "limit_s": 10}
    row = {"is": "RowDone", "row": {**encode(ROW), "samples_ms": [4, 4.25, 4.5, 4.75]}}
    return [
        {"what": "job", "same_as": "job-burst.json", "text": canonical({name: burst[name] for name in required})},
        {"what": "job", "same_as": "job-burst.json", "text": json.dumps(burst, indent=1)},
        {"what": "job", "same_as": "job-burst.json", "text": canonical(whole)},
        {"what": "event", "same_as": "event-row-done.json", "text": canonical(row)},
        {"what": "event", "same_as": "event-done.json", "text": ' { "is" : "Done" } '},
    ]


def refused() -> list[dict[str, str]]:
    """Every kind of fault once, in a job and in an event."""
    job, cell = encode(JOBS["burst"]), encode(SMALL)
    row = encode(ROW)

    def change(document: dict[str, Any], **changes: Any) -> str:
        return canonical({**document, **changes})

    def less(document: dict[str, Any], name: str) -> str:
        return canonical({key: value for key, value in document.items() if key != name})

    def row_with(**changes: Any) -> str:
        return canonical({"is": "RowDone", "row": {**row, **changes}})

    progress = {"is": "Progress", **encode(EVENTS_BY_NAME["progress"])}
    jobs = [
        ("not-json", ""),
        ("not-json", "{"),
        ("not-json", change(job)[:-1] + ",}"),
        ("not-json", change(job).replace('"seconds":3.0', '"seconds":NaN')),
        ("not-an-object", "[]"),
        ("twice", change(job)[:-1] + ',"kind":"burst"}'),
        ("missing", less(job, "runs")),
        ("missing", change(job, cells=[{key: value for key, value in cell.items() if key != "artifact"}])),
        ("unknown", change(job, speed=1)),
        ("unknown", change(job, cells=[{**cell, "permille": 750}])),
        ("wrong-type", change(job, runs=50.0)),
        ("wrong-type", change(job, runs="50")),
        ("wrong-type", change(job, seconds=True)),
        ("wrong-type", change(job, kind="long")),
        ("wrong-type", change(job, cells={})),
        ("wrong-type", change(job, cells=[{**cell, "input_shape": "1,3,192,192"}])),
        ("range", change(job, cells=[])),
        ("range", change(job, runs=0)),
        ("range", change(job, seconds=-1)),
        ("range", change(job, limit_s=0)),
        ("range", change(job, seed=1 << 54)),
        ("range", change(job, cells=[{**cell, "threads": 0}])),
        ("range", change(job, cells=[{**cell, "artifact": "0750"}])),
    ]
    events = [
        ("not-json", "INSTRUMENTATION_STATUS: class=x"),
        ("not-an-object", '"Done"'),
        ("unknown-kind", "{}"),
        ("unknown-kind", '{"is":"Turn"}'),
        ("unknown-kind", '{"is":["Done"]}'),
        ("unknown", '{"is":"Done","at":1}'),
        ("missing", '{"is":"Note"}'),
        ("wrong-type", '{"is":"Note","text":null}'),
        ("wrong-type", canonical({**progress, "done": 0.5})),
        ("missing", canonical({key: value for key, value in progress.items() if key != "left_s"})),
        ("wrong-type", '{"is":"RowDone","row":null}'),
        ("range", row_with(artifact="0750")),
        ("range", row_with(net="0500")),
        ("range", row_with(schema_version=2)),
        ("range", row_with(p50_ms=4.0)),
        ("range", row_with(runs=5)),
        ("range", row_with(valid=True)),
        ("wrong-type", row_with(kind="long")),
    ]
    return [
        {"what": what, "reason": reason, "text": text}
        for what, cases in (("job", jobs), ("event", events))
        for reason, text in cases
    ]


def main() -> None:
    if sys.argv[1:] == ["--check"]:
        there = {path.name: path.read_text() for path in FOLDER.glob("*.json*")}
        sys.exit(0 if there == files() else 1)
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.json*"):
        path.unlink()
    for name, text in files().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
