"""Made-up rows of a latency table with samples that look like real ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from edgeslim.core.latency import LatencyRow, LatencyStatistics, LatencyTable, label_of
from edgeslim.core.passport import DeviceInfo, OsInfo, RuntimeInfo
from edgeslim.core.width import net_id

DEVICE = DeviceInfo(manufacturer=None, model="board", soc=None, cores=2, ram_bytes=None, cpu_max_khz=())


def row(centre_ms: float = 10.0, *, seed: int = 0, blocks: int = 20, **changes: Any) -> LatencyRow:
    """Samples around ``centre_ms`` in blocks that share an error of 1 %, as real ones do."""
    rng = np.random.default_rng(seed)
    drawn = [centre_ms * (1 + rng.normal(0, 0.01) + rng.normal(0, 0.005, 15)) for _ in range(blocks)]
    samples = tuple(float(x) for block in drawn for x in block)
    values: dict[str, Any] = {
        "file_sha256": "a" * 64, "bundle_sha256": None, "width_permille": 500, "target": "litert", "precision": "fp32",
        "context": "process",
        "input_shape": (1, 3, 8, 8), "device": DEVICE, "os": OsInfo(name="Linux", version="6", build=None),
        "runtime": RuntimeInfo(name="litert", version="2", delegate_requested="xnnpack", delegate_actual="xnnpack",
                               threads=1, load_mode="mmap"),
        "warmup_runs": 10, "runs": len(samples), "duration_s": 3.0, "samples_ms": samples,
        "block_runs": (15,) * blocks, "kind": "burst", "order": 0, "seed": 0, "valid": True, "reasons": (),
        "started_at": "2026-01-01T00:00:00Z", "edgeslim_version": "0.1.0",
    }  # fmt: skip
    net = net_id(changes.get("width_permille", 500))
    values |= {"artifact": f"litert-fp32-8/{net}", "net": net, "label": label_of(net)}
    return LatencyRow(**values | dataclasses.asdict(LatencyStatistics.of(samples)) | changes)


def failed(**changes: Any) -> LatencyRow:
    empty: dict[str, Any] = dict.fromkeys(field.name for field in dataclasses.fields(LatencyStatistics))
    return row(runs=0, samples_ms=None, block_runs=None, valid=False, reasons=("crashed: x",), **empty | changes)


def table(*rows: LatencyRow) -> LatencyTable:
    return LatencyTable(edgeslim_version="0.1.0", created_at="2026-01-01T00:00:00Z", rows=rows)
