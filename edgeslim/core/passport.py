"""Where a number comes from: the machine, its system, the runtime, and how warm, charged, fast and busy it was."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceInfo:
    """The machine; null where it does not say."""

    manufacturer: str | None
    model: str
    soc: str | None
    cores: int
    ram_bytes: int | None
    cpu_max_khz: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OsInfo:
    """The system on it."""

    name: str
    version: str
    build: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeInfo:
    """What ran the artifact.

    ``delegate_actual`` is what the runtime reports after loading, so that a silent fallback shows. ``threads``: in a
    row those asked for, from ``Runner.describe`` those in use (0: it does not say). ``note``: what a reader must know.
    """

    name: str
    version: str
    delegate_requested: str | None
    delegate_actual: str | None
    threads: int
    load_mode: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalSpan:
    """Heat before, after and at worst: controller levels 0..4, headroom 1.0 = SEVERE, degrees Celsius."""

    level_start: int | None = None
    level_end: int | None = None
    level_max: int | None = None
    headroom_start: float | None = None
    headroom_end: float | None = None
    zone_c_start: float | None = None
    zone_c_end: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatterySpan:
    """Charge before and after."""

    permille_start: int | None = None
    permille_end: int | None = None
    charging: bool | None = None
    low_power: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSpan:
    """How fast the processor was: a fixed piece of work timed on a quiet device and around the samples, and kHz."""

    baseline_ms_reference: float | None = None
    baseline_ms_start: float | None = None
    baseline_ms_end: float | None = None
    khz_start: int | None = None
    khz_end: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSpan:
    """What else ran while the samples were taken: shares of the processor time of all cores, 0..1.

    ``waited_share`` is the part of the measured process's own time in which a thread was ready but had no core.
    """

    others_share: float | None = None
    steal_share: float | None = None
    waited_share: float | None = None
    preemptions: int | None = None
