"""Latency tables: no number without its passport.

    samples ─► LatencyStatistics ─┐
    passport.py ──────────────────┴─► LatencyRow (one artifact, device, runtime) ─► LatencyTable ─► ladder.py
                                                                                      │
                                                      JSON (canonical, strict) · latency_table.schema.json

A row says what was measured (``file_sha256``), where, with which runtime, how warm the device was, and whether the
number counts (``valid``, ``reasons``). A row without any run (a crash, a hang) has no statistics and is not valid.
Nothing is trimmed; samples stay in the order they happened. Field names carry their units.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from edgeslim.core.passport import BatterySpan, ClockSpan, DeviceInfo, LoadSpan, OsInfo, RuntimeInfo, ThermalSpan
from edgeslim.core.strict_json import MAX_TEXT_BYTES, StrictJsonError, canonical, decode, encode, parse
from edgeslim.core.width import MAX_PERMILLE, Width, net_id
from edgeslim.errors import TableError
from edgeslim.files import kind_of_file, read_file, write_atomically

SCHEMA_VERSION = 1
PRIOR = "latency_table"
"""Where ``manifest.extra`` of a bundle may hold another device's table, as its JSON text."""
SCHEMA_FILE = Path(__file__).with_name("latency_table.schema.json")

Kind = Literal["burst", "sustained", "prior"]
EnergyMethod = Literal["rapl", "odpm", "power_supply", "current_now", "other", "none"]
"""``other``: somebody else's meter, of an imported table."""
Context = Literal["app", "shell", "process"]
"""Who ran it: the app itself, a program in the device's shell, a process of its own on a computer or board."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_WIDTH_NET = re.compile(r"[0-9]{4,6}")
_ARTIFACT = re.compile(r"[^/\s]{1,128}/[^/\s]{1,128}")
_TOLERANCE = 1e-6  # relative; a statistic that does not follow from its samples was edited


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyStatistics:
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
    def of(cls, samples_ms: Sequence[float]) -> LatencyStatistics:
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


_STATISTICS = tuple(item.name for item in fields(LatencyStatistics))


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRow:
    """How long one artifact takes on one device with one runtime.

    ``artifact`` is the id ``<variant>/<net>``, ``net`` its second half, ``label`` its name for people (``int8 0.75x
    @192``) and ``width_permille`` the net's width where it is one. ``qos`` is the scheduling class asked for, where a
    system has some.

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
    artifact: str
    net: str
    label: str
    width_permille: int | None
    target: str
    precision: str
    input_shape: tuple[int, ...]
    device: DeviceInfo
    os: OsInfo
    runtime: RuntimeInfo
    context: Context
    qos: str | None = None
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
    thermal: ThermalSpan = field(default_factory=ThermalSpan)
    battery: BatterySpan = field(default_factory=BatterySpan)
    clock: ClockSpan = field(default_factory=ClockSpan)
    load: LoadSpan = field(default_factory=LoadSpan)
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
                raise TableError(f"row of {self.artifact}: {message}")

    @property
    def statistics(self) -> LatencyStatistics | None:
        """The figures together; None for a row without any run."""
        if self.p50_ms is None:
            return None
        return LatencyStatistics(**{name: getattr(self, name) for name in _STATISTICS})


def _row_faults(row: LatencyRow) -> Iterable[tuple[bool, str]]:
    """Every rule a row keeps, as (broken, what is wrong)."""
    yield row.schema_version != SCHEMA_VERSION, f"schema_version is {row.schema_version}, expected {SCHEMA_VERSION}"
    hashes = [row.file_sha256] + ([] if row.bundle_sha256 is None else [row.bundle_sha256])
    yield not all(_SHA256.fullmatch(text) for text in hashes), "a SHA-256 is 64 lower-case hexadecimal digits"
    yield not _ARTIFACT.fullmatch(row.artifact), f"artifact {row.artifact!r} is not <variant>/<net>"
    yield row.artifact.partition("/")[2] != row.net, f"net {row.net!r} is not that of artifact {row.artifact!r}"
    yield not row.label.strip(), "label is empty"
    width = row.width_permille
    yield width is not None and not 1 <= width <= MAX_PERMILLE, f"width_permille is outside [1, {MAX_PERMILLE}]"
    yield width is not None and row.net != net_id(width), f"width_permille is {width}, but net is {row.net!r}"
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
            true = LatencyStatistics.of(row.samples_ms)
            wrong = [n for n in _STATISTICS if abs(getattr(true, n) - getattr(row, n)) > slack]
            yield bool(wrong), f"{', '.join(wrong)} do not follow from samples_ms"


def label_of(net: str, *, precision: str | None = None, input: str | None = None) -> str:
    """A net's name for people: ``0.75x``, ``int8 0.75x @192``; a net that is no width has its own id.

    Args:
        precision, input: what else tells artifacts apart, where there are several.
    """
    width = f"{Width(int(net))}x" if _WIDTH_NET.fullmatch(net) else net
    return " ".join([*([precision] if precision else []), width, *([f"@{input}"] if input else [])])


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactValue:
    """How good one artifact is."""

    artifact: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What artifacts are worth: an accuracy as a fraction (``top1``), an error, or ``macs`` standing in for them."""

    metric: str
    source: str
    larger_is_better: bool
    values: tuple[ArtifactValue, ...]

    def __post_init__(self) -> None:
        if len({item.artifact for item in self.values}) != len(self.values):
            raise TableError("quality names an artifact twice")

    def as_dict(self) -> dict[str, float]:
        """By artifact id."""
        return {item.artifact: item.value for item in self.values}


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One artifact timed here to scale another device's table."""

    artifact: str
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
            where = (row.device, row.os, row.runtime, row.context, row.qos)
            key = (row.artifact, row.kind, row.file_sha256, where)
            if key in seen:
                raise TableError(f"{row.artifact} stands twice with the same file, device, runtime and kind")
            seen.add(key)

    def select(
        self,
        *,
        target: str | None = None,
        precision: str | None = None,
        kind: Kind | None = None,
        threads: int | None = None,
        device: str | None = None,
        context: str | None = None,
    ) -> tuple[LatencyRow, ...]:
        """The rows that match everything given, in the table's order; ``device`` is a model's name."""
        return tuple(
            row
            for row in self.rows
            if (target is None or row.target == target)
            and (precision is None or row.precision == precision)
            and (kind is None or row.kind == kind)
            and (threads is None or row.runtime.threads == threads)
            and (device is None or row.device.model == device)
            and (context is None or row.context == context)
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
            data = read_file(path, most_bytes=MAX_TEXT_BYTES)
        except OSError as error:
            raise TableError(
                f"cannot read the table {path}: {error.strerror}", hint=f"edgeslim bench BUNDLE -o {path} measures one"
            ) from None
        try:
            return cls.from_json(data)
        except TableError as error:
            if data[:1] != b"{":
                what, verb = kind_of_file(data[:64])
                raise TableError(f"{path} is {what}, not a latency table", hint=verb or error.hint) from None
            raise TableError(f"{path}: {error.message}", hint=error.hint) from None

    def write(self, path: Path, *, overwrite: bool = False) -> None:
        """Whole or not at all; ``OutputError`` if it is there and ``overwrite`` is not given."""
        with write_atomically(path, overwrite=overwrite) as file:
            file.write(self.to_json().encode())
