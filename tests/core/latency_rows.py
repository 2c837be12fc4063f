"""Latency rows and tables for tests; every value can be overridden."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from edgeslim.core.latency import ArtifactValue, LatencyRow, LatencyStatistics, LatencyTable, Quality, label_of
from edgeslim.core.passport import BatterySpan, DeviceInfo, OsInfo, RuntimeInfo, ThermalSpan
from edgeslim.core.width import net_id

VARIANT = "litert-fp32-224"
SAMPLES = (6.0, 6.5, 6.25, 7.0, 6.125)


def artifact(permille: int) -> str:
    """The id of the rows below."""
    return f"{VARIANT}/{net_id(permille)}"


def row(**changes: Any) -> LatencyRow:
    values: dict[str, Any] = {
        "file_sha256": "ab" * 32,
        "bundle_sha256": None,
        "target": "litert",
        "precision": "fp32",
        "input_shape": (1, 3, 224, 224),
        "device": DeviceInfo(manufacturer=None, model="bench", soc=None, cores=2, ram_bytes=None, cpu_max_khz=(2000,)),
        "os": OsInfo(name="Linux", version="6.1", build=None),
        "runtime": RuntimeInfo(
            name="ai-edge-litert",
            version="2.3.0",
            delegate_requested=None,
            delegate_actual="xnnpack",
            threads=1,
            load_mode=None,
        ),
        "context": "process",
        "warmup_runs": 10,
        "runs": len(SAMPLES),
        "duration_s": 0.1,
        "samples_ms": SAMPLES,
        **dataclasses.asdict(LatencyStatistics.of(SAMPLES)),
        "kind": "burst",
        "order": 0,
        "seed": 0,
        "valid": True,
        "reasons": (),
        "started_at": "2026-01-01T00:00:00Z",
        "edgeslim_version": "0.1.0",
    }
    width = changes.pop("width_permille", 500)
    net = changes.pop("net", None) or net_id(width)
    label = label_of(net) if width else net
    known = values | changes
    variant = changes.pop("variant", f"{known['target']}-{known['precision']}-224")
    values |= {"artifact": f"{variant}/{net}", "net": net, "label": label, "width_permille": width}
    return LatencyRow(**values | changes)


def table(*rows: LatencyRow, **changes: Any) -> LatencyTable:
    values: dict[str, Any] = {"edgeslim_version": "0.1.0", "created_at": "2026-01-01T00:00:00Z", "rows": rows}
    return LatencyTable(**values | changes)


def full_table() -> LatencyTable:
    return table(
        row(thermal=ThermalSpan(level_start=0, zone_c_start=41.5), battery=BatterySpan(charging=True)),
        row(width_permille=1000, samples_ms=None, samples_file="w1000.samples", energy_method="rapl",
            energy_mj_per_inference=12.5),
        row(kind="sustained", valid=False, reasons=("thermal level rose",)),
        failed_row(),
        quality=quality({"0500": 64.0}),
    )  # fmt: skip


def quality(values: Mapping[str, float], metric: str = "top1", *, larger: bool = True) -> Quality:
    """By net, of the rows above."""
    return Quality(
        metric=metric,
        source="test",
        larger_is_better=larger,
        values=tuple(ArtifactValue(artifact=f"{VARIANT}/{net}", value=value) for net, value in values.items()),
    )


def failed_row() -> LatencyRow:
    nothing = dict.fromkeys(field.name for field in dataclasses.fields(LatencyStatistics))
    return row(
        width_permille=250, runs=0, samples_ms=None, valid=False, reasons=("the runtime crashed: signal 11",), **nothing
    )


def timed(permille: int, ms: float, **changes: Any) -> LatencyRow:
    """A row whose every inference took ``ms``."""
    samples = (ms,) * 3
    figures = dataclasses.asdict(LatencyStatistics.of(samples))
    return row(**{"width_permille": permille, "samples_ms": samples, "runs": 3, **figures, **changes})
