"""Latency tables: no number without its passport.

    samples ─► Statistics ─► LatencyRow (one artifact, one device, one runtime) ─► LatencyTable ─► ladder.py
                                                                                     │
                                                     JSON (canonical, strict) · latency_table.schema.json

A row says what was measured (``file_sha256``), where, with which runtime, how warm the device was, and whether the
number counts (``valid``, ``reasons``). A row without any run (a crash, a hang) has no statistics and is not valid.
Nothing is trimmed; samples stay in the order they happened. Field names carry their units.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeslim.core.strict_json import StrictJsonError, canonical, decode, encode, parse
from edgeslim.core.width import MAX_PERMILLE, Width
from edgeslim.errors import TableError
from edgeslim.files import write_atomically

SCHEMA_VERSION = 1
PRIOR = "latency_table"
"""Where ``manifest.extra`` of a bundle may hold another device's table, as its JSON text."""
SCHEMA_FILE = Path(__file__).with_name("latency_table.schema.json")

Kind = Literal["burst", "sustained", "prior"]
EnergyMethod = Literal["rapl", "odpm", "power_supply", "current_now", "none"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_STATISTICS = ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "mean_ms", "std_ms", "min_ms", "max_ms")
_TOLERANCE = 1e-6  # relative; a statistic that does not follow from its samples was edited


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Figures of one run of samples, in milliseconds; percentiles interpolate linearly between neighbours."""

    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    std_ms: float
    min_ms: float
    max_ms: float

    @classmethod
    def of(cls, samples_ms: Sequence[float]) -> Statistics:
        """Of at least one sample; ``std_ms`` is that of the population."""
        if not samples_ms:
            raise TableError("statistics need at least one sample")
        ordered = sorted(samples_ms)
        count = len(ordered)
        mean = sum(ordered) / count

        def percentile(hundredths: int) -> float:
            position, rest = divmod(hundredths * (count - 1), 100)
            low, high = ordered[position], ordered[min(position + 1, count - 1)]
            return low + (high - low) * rest / 100

        return cls(
            p50_ms=percentile(50),
            p90_ms=percentile(90),
            p95_ms=percentile(95),
            p99_ms=percentile(99),
            mean_ms=mean,
            std_ms=(sum((sample - mean) ** 2 for sample in ordered) / count) ** 0.5,
            min_ms=ordered[0],
            max_ms=ordered[-1],
        )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRow:
    """How long one artifact takes on one device with one runtime.

    ``samples_ms`` holds every timed inference in order, or is null and ``samples_file`` names a file beside the table,
    or both are null. ``block_runs`` says how many of them came from each turn of an interleaved run. ``kind`` ``prior``
    marks a figure scaled from another device's table, not measured here. ``reasons`` say why a row does not count,
    ``notes`` what else is worth knowing (measured again, a runtime without a thread setting).

    Raises:
        TableError: fields that contradict each other, or are out of range.
    """

    schema_version: int = SCHEMA_VERSION
    file_sha256: str
    bundle_sha256: str | None
    width_permille: int
    target: str
    precision: str
    input_shape: tuple[int, ...]
    device: DeviceInfo
    os: OsInfo
    runtime: RuntimeInfo
    rebuild_ms: float | None = None
    load_cold_ms: float | None = None
    load_warm_ms: float | None = None
    first_inference_ms: float | None = None
    warmup_runs: int
    runs: int
    duration_s: float
    p50_ms: float | None = None
    p90_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    mean_ms: float | None = None
    std_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    samples_ms: tuple[float, ...] | None = None
    samples_file: str | None = None
    block_runs: tuple[int, ...] | None = None
    peak_rss_bytes: int | None = None
    thermal: ThermalSpan = ThermalSpan()
    battery: BatterySpan = BatterySpan()
    clock: ClockSpan = ClockSpan()
    load: LoadSpan = LoadSpan()
    energy_mj_per_inference: float | None = None
    energy_method: EnergyMethod = "none"
    kind: Kind
    order: int
    seed: int
    valid: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    started_at: str
    edgeslim_version: str

    def __post_init__(self) -> None:
        for broken, message in _row_faults(self):
            if broken:
                raise TableError(f"row of width {self.width_permille} permille, {self.target}: {message}")

    @property
    def width(self) -> Width:
        return Width(self.width_permille)


def _row_faults(row: LatencyRow) -> Iterable[tuple[bool, str]]:
    """Every rule a row keeps, as (broken, what is wrong)."""
    yield row.schema_version != SCHEMA_VERSION, f"schema_version is {row.schema_version}, expected {SCHEMA_VERSION}"
    hashes = [row.file_sha256] + ([] if row.bundle_sha256 is None else [row.bundle_sha256])
    yield not all(_SHA256.fullmatch(text) for text in hashes), "a SHA-256 is 64 lower-case hexadecimal digits"
    yield not 1 <= row.width_permille <= MAX_PERMILLE, f"width_permille is outside [1, {MAX_PERMILLE}]"
    counts = (row.warmup_runs, row.runs, row.order, row.seed, row.peak_rss_bytes or 0, row.device.ram_bytes or 0)
    yield min(counts) < 0, "a count is negative"
    yield row.runtime.threads < 1 or row.device.cores < 1, "threads and cores are at least 1"
    yield any(size < 1 for size in row.input_shape), "input_shape has a size below 1"
    times = (row.rebuild_ms, row.load_cold_ms, row.load_warm_ms, row.first_inference_ms, row.energy_mj_per_inference)
    yield min(row.duration_s, *(time or 0.0 for time in times)) < 0, "a time or an energy is negative"
    levels = (row.thermal.level_start, row.thermal.level_end, row.thermal.level_max)
    yield any(level is not None and not 0 <= level <= 4 for level in levels), "thermal levels are 0..4"
    charges = (row.battery.permille_start, row.battery.permille_end)
    yield (
        any(charge is not None and not 0 <= charge <= 1000 for charge in charges),
        "battery charge is 0..1000 permille",
    )
    yield (row.energy_method == "none") != (row.energy_mj_per_inference is None), "energy and energy_method disagree"
    yield row.valid == bool(row.reasons), "a valid row has no reasons, another has at least one"
    yield row.samples_ms is not None and row.samples_file is not None, "samples are here or in a file, not both"
    blocks = row.block_runs
    yield (
        blocks is not None and (min(blocks, default=1) < 1 or sum(blocks) != row.runs),
        "block_runs do not sum to runs",
    )
    yield _bad_sibling(row.samples_file), "samples_file is not the plain name of a file beside the table"
    yield from _statistics_faults(row)


def _bad_sibling(name: str | None) -> bool:
    return name is not None and (not name or name.startswith(".") or any(c in name for c in "/\\\0"))


def _statistics_faults(row: LatencyRow) -> Iterable[tuple[bool, str]]:
    values = [getattr(row, name) for name in _STATISTICS]
    if any(value is None for value in values):
        yield any(value is not None for value in values), f"some of {', '.join(_STATISTICS)} are missing"
        yield row.valid or row.runs > 0, "a row with runs has statistics, and a valid row has runs"
        yield bool(row.samples_ms), "samples without statistics"
        return
    p50, p90, p95, p99, mean, std, low, high = values
    yield row.runs < 1, "statistics without runs"
    yield low <= 0 or std < 0, "latencies are above 0 and their deviation is not negative"
    yield not low <= p50 <= p90 <= p95 <= p99 <= high, "percentiles are out of order"
    slack = high * _TOLERANCE
    yield not low - slack <= mean <= high + slack, "the mean is outside the samples"
    if row.samples_ms is not None:
        yield len(row.samples_ms) != row.runs, f"{len(row.samples_ms)} samples but runs is {row.runs}"
        if row.samples_ms:
            true = Statistics.of(row.samples_ms)
            wrong = [n for n in _STATISTICS if abs(getattr(true, n) - getattr(row, n)) > slack]
            yield bool(wrong), f"{', '.join(wrong)} do not follow from samples_ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthValue:
    """How good one width is."""

    permille: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What the widths are worth: an accuracy as a fraction (``top1``), or ``macs`` standing in for it."""

    metric: str
    source: str
    values: tuple[WidthValue, ...]

    def __post_init__(self) -> None:
        if len({item.permille for item in self.values}) != len(self.values):
            raise TableError("quality names a width twice")

    def as_dict(self) -> dict[Width, float]:
        return {Width(item.permille): item.value for item in self.values}


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One width timed here to scale another device's table."""

    permille: int
    there_ms: float
    here_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """Where the rows of kind ``prior`` come from."""

    device: DeviceInfo
    probes: tuple[Probe, ...]
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTable:
    """A header and rows; one JSON file.

    Raises:
        TableError: an unknown version, or two rows for the same artifact, kind, threads and delegate on one device.
    """

    schema_version: int = SCHEMA_VERSION
    edgeslim_version: str
    created_at: str
    quality: Quality | None = None
    prior: Prior | None = None
    rows: tuple[LatencyRow, ...]

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise TableError(
                f"this table has schema_version {self.schema_version}, expected {SCHEMA_VERSION}",
                hint="use the edgeslim version that wrote it",
            )
        seen: set[object] = set()
        for row in self.rows:
            where = (row.device, row.os, row.runtime, row.target, row.precision, row.input_shape)
            key = (row.width_permille, row.kind, row.file_sha256, where)
            if key in seen:
                raise TableError(f"width {row.width} stands twice with the same artifact, device, runtime and kind")
            seen.add(key)

    def select(
        self,
        *,
        target: str | None = None,
        precision: str | None = None,
        kind: Kind | None = None,
        threads: int | None = None,
    ) -> tuple[LatencyRow, ...]:
        """The rows that match everything given, in the table's order."""
        return tuple(
            row
            for row in self.rows
            if (target is None or row.target == target)
            and (precision is None or row.precision == precision)
            and (kind is None or row.kind == kind)
            and (threads is None or row.runtime.threads == threads)
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> LatencyTable:
        """Raises ``TableError`` on anything that is not exactly a table."""
        try:
            return decode(cls, parse(text))
        except StrictJsonError as error:
            raise TableError(f"not a latency table: {error}", hint="`edgeslim bench` writes one") from None

    def to_json(self) -> str:
        """Canonical: sorted keys, one row per line; reading and writing again gives the same bytes."""
        header = encode(self)
        rows = header.pop("rows")
        lines = [f"{canonical(key)}:{canonical(header[key])}," for key in sorted(header)]
        body = ",\n".join(canonical(row) for row in rows)
        return "{" + "\n".join(lines) + '\n"rows":[' + (f"\n{body}\n" if rows else "") + "]}\n"

    @classmethod
    def read(cls, path: Path) -> LatencyTable:
        """Raises ``TableError`` also when the file cannot be read."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise TableError(
                f"cannot read the table {path}: {error.strerror}", hint=f"edgeslim bench BUNDLE -o {path} measures one"
            ) from None
        try:
            return cls.from_json(data)
        except TableError as error:
            raise TableError(f"{path}: {error.message}", hint=error.hint) from None

    def write(self, path: Path, *, overwrite: bool = False) -> None:
        """Whole or not at all; ``OutputError`` if it is there and ``overwrite`` is not given."""
        with write_atomically(path, overwrite=overwrite) as file:
            file.write(self.to_json().encode())
