"""Another device's latency table as a first guess for this one.

table of device A ─┐
two probes here ───┴─► one factor ─► rows of kind ``prior``
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from edgeslim.core.ladder import one_per_artifact
from edgeslim.core.latency import LatencyRow, LatencyStatistics, LatencyTable, Prior, Probe
from edgeslim.core.passport import BatterySpan, ClockSpan, DeviceInfo, LoadSpan, OsInfo, RuntimeInfo, ThermalSpan
from edgeslim.errors import TableError


def scale_prior(
    table: LatencyTable,
    here_ms: Mapping[str, float],
    *,
    device: DeviceInfo,
    os: OsInfo,
    runtime: RuntimeInfo,
    created_at: str,
    target: str | None = None,
    precision: str | None = None,
) -> LatencyTable:
    """Another device's burst rows, scaled by a quick probe of (best: two far apart) artifacts on this one.

    One factor for all, the geometric mean of the probes' ratios. Rows are marked ``kind="prior"`` and the header
    keeps the other device and the probes; energy, heat and samples of the other device do not come along.

    Raises:
        TableError: no probe is an artifact of the table, or a probe is not a positive time.
    """
    rows = one_per_artifact(table.select(target=target, precision=precision))
    there = {row.artifact: row for row in rows if row.p50_ms is not None and row.valid}
    probes = []
    for artifact in sorted(here_ms):
        if artifact not in there:
            raise TableError(f"the probed {artifact} is not in the prior table")
        if not here_ms[artifact] > 0:
            raise TableError(f"the probe of {artifact} is {here_ms[artifact]} ms, expected a positive time")
        there_ms = there[artifact].p50_ms
        assert there_ms is not None
        probes.append(Probe(artifact=artifact, there_ms=there_ms, here_ms=here_ms[artifact]))
    if not probes:
        raise TableError("a prior needs at least one probed artifact", hint="time the narrowest and the widest")
    scale = math.exp(sum(math.log(probe.here_ms / probe.there_ms) for probe in probes) / len(probes))
    scaled = (_scaled(row, scale, device, os, runtime, created_at) for row in there.values())
    return LatencyTable(
        edgeslim_version=table.edgeslim_version,
        created_at=created_at,
        quality=table.quality,
        prior=Prior(device=rows[0].device, probes=tuple(probes), scale=scale),
        rows=tuple(scaled),
    )


_TIMES = tuple(field.name for field in dataclasses.fields(LatencyStatistics))
_LOADS = ("rebuild_ms", "load_cold_ms", "load_warm_ms", "first_inference_ms")


def _scaled(
    row: LatencyRow, scale: float, device: DeviceInfo, os: OsInfo, runtime: RuntimeInfo, created_at: str
) -> LatencyRow:
    times = {name: getattr(row, name) * scale for name in _TIMES}
    times |= {name: None if getattr(row, name) is None else getattr(row, name) * scale for name in _LOADS}
    return dataclasses.replace(
        row,
        **times,
        kind="prior",
        device=device,
        os=os,
        runtime=runtime,
        samples_ms=None,
        samples_file=None,
        block_runs=None,
        peak_rss_bytes=None,
        thermal=ThermalSpan(),
        battery=BatterySpan(),
        clock=ClockSpan(),
        load=LoadSpan(),
        energy_mj_per_inference=None,
        energy_method="none",
        started_at=created_at,
    )
