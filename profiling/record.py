"""What a benchmark measured, beside what was promised: ``profiling/records/<name>.json``.

    begin(…) ─► Passport (machine, versions, what else ran) ─► the benchmark ─► write(name, [Figure …], passport)
                                                                                        │
                              docs/results.md ◄── docs/make_results.py ◄── records/<name>.json

A record says itself whether its promise is kept, and a file in which that is not what its own numbers say is refused.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgeslim.core import strict_json
from edgeslim.errors import UsageError
from edgeslim.files import write_atomically
from edgeslim.host.machine import device

RECORDS = Path(__file__).with_name("records")
QUIET_LOAD = 0.25  # per core, of others, before a benchmark begins; above it the record says so

Comparison = Literal["<=", ">=", "==", ">"]

# "/word" or "C:\" that begins a word: a place on one machine
_ABSOLUTE = re.compile(r"(?:^|[\s\"'=(:])(?:/[\w.-]+/|~/|[A-Za-z]:\\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A limit that every measured number has to keep; ``text`` says it for people."""

    comparison: Comparison
    number: float
    text: str

    def keeps(self, value: float) -> bool:
        """Whether ``value`` stands in the promised comparison to the limit."""
        match self.comparison:
            case "<=":
                return value <= self.number
            case ">=":
                return value >= self.number
            case ">":
                return value > self.number
            case "==":
                return value == self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One thing measured.

    ``measured``: one number, or several (runs, widths, targets) that ``of`` may name; ``spread``: their standard
    deviations, where known; ``notes``: remarks, a sentence each. Several figures in a row with the same ``of`` and
    ``unit`` make one table in the results.
    """

    aim: str
    promised: Promise | None = None
    measured: tuple[float, ...]
    unit: str
    of: tuple[str, ...] = ()
    spread: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def kept(self) -> bool | None:
        """Whether all numbers keep the promise; None where nothing was promised."""
        return None if self.promised is None else all(map(self.promised.keeps, self.measured))


@dataclass(frozen=True, slots=True, kw_only=True)
class Passport:
    """How, where, with what and when; ``notes`` say what disturbed."""

    command: str
    processor: str
    cores: int
    versions: dict[str, str]
    date: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A figure with its passport, as it stands in a file.

    Raises:
        UsageError: no number, lists of different lengths, a verdict that the numbers do not have, no date, a path
            of one machine.
    """

    aim: str
    promised: Promise | None
    measured: tuple[float, ...]
    unit: str
    of: tuple[str, ...]
    spread: tuple[float, ...]
    kept: bool | None
    command: str
    processor: str
    cores: int
    versions: dict[str, str]
    date: str
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        for broken, message in self._faults():
            if broken:
                raise UsageError(f"record {self.aim!r}: {message}", hint=f"measure again: {self.command}")

    def _faults(self) -> Sequence[tuple[bool, str]]:
        count = len(self.measured)
        verdict = Figure(aim=self.aim, promised=self.promised, measured=self.measured, unit=self.unit).kept
        texts = (self.aim, self.command, self.processor, *self.notes, *self.of)
        return (
            (not (self.aim and self.command and self.processor), "aim, command and processor are never empty"),
            (count == 0, "nothing was measured"),
            (len(self.of) not in (0, count), f"{len(self.of)} names for {count} numbers"),
            (len(self.spread) not in (0, count), f"{len(self.spread)} deviations for {count} numbers"),
            (self.kept is not verdict, f"kept is {self.kept}, the numbers say {verdict}"),
            (self.cores < 1, f"{self.cores} cores"),
            (not _is_date(self.date), f"date is {self.date!r}, expected YYYY-MM-DD"),
            (any(_ABSOLUTE.search(text) for text in texts), "a text holds a path of one machine"),
        )


def _is_date(text: str) -> bool:
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def add_option(parser: argparse.ArgumentParser) -> None:
    """``--record``, the same in every benchmark."""
    parser.add_argument("--record", action="store_true", help="write profiling/records/<name>.json")


def begin(*packages: str) -> Passport:
    """The passport of what starts now: call it before anything is measured, so that the load is that of others.

    Args:
        packages: distributions whose versions matter, besides Python and numpy; those not installed are left out.
    """
    here = device()
    load, cores = os.getloadavg()[0], here.cores
    busy = load > QUIET_LOAD * cores
    return Passport(
        command=_command(sys.argv),
        processor=here.soc or "unknown",
        cores=cores,
        versions=_versions(("numpy", *packages)),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        notes=(f"Other work ran beside it: load {load:.1f} on {cores} cores.",) if busy else (),
    )


def _command(argv: Sequence[str]) -> str:
    """As one would type it in the repository's root; of absolute paths only the names."""
    words = [Path(word).name if os.path.isabs(word) else word for word in argv[1:] if word != "--record"]
    return " ".join(["python", f"profiling/{Path(argv[0]).name}", *words])


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def write(name: str, figures: Sequence[Figure], passport: Passport, *, folder: Path = RECORDS) -> Path:
    """Replace ``<name>.json`` by these figures; whole or not at all."""
    records = [_stamped(figure, passport) for figure in figures]
    path = folder / f"{name}.json"
    with write_atomically(path, overwrite=True) as stream:
        stream.write(text_of(records).encode())
    print(f"recorded in profiling/records/{path.name}", file=sys.stderr)
    return path


def _stamped(figure: Figure, passport: Passport) -> Record:
    own: dict[str, Any] = {field.name: getattr(figure, field.name) for field in dataclasses.fields(figure)}
    where: dict[str, Any] = {field.name: getattr(passport, field.name) for field in dataclasses.fields(passport)}
    return Record(**(own | where | {"kept": figure.kept, "notes": (*figure.notes, *passport.notes)}))


def text_of(records: Sequence[Record]) -> str:
    """The file of these records: a JSON list."""
    return json.dumps([strict_json.encode(record) for record in records], indent=1, ensure_ascii=False) + "\n"


def number(value: float) -> str:
    """``value`` for people: four digits, thousands separated."""
    if value == int(value) and abs(value) >= 1000:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def words(figure: Figure) -> str:
    """One line for people: aim, numbers, promise."""
    names = figure.of or ("",) * len(figure.measured)
    numbers = ", ".join(f"{name} {number(value)}".strip() for name, value in zip(names, figure.measured, strict=True))
    limit = "" if figure.promised is None else f" ({figure.promised.text})"
    return f"{figure.aim}: {numbers} {figure.unit}{limit}"


def read(path: Path) -> tuple[Record, ...]:
    """The records of one file.

    Raises:
        UsageError: not such a file, an unknown or missing field, a record that contradicts itself.
    """
    hint = "measure again with --record"
    try:
        rows = strict_json.parse(path.read_bytes())
        if not isinstance(rows, list) or not rows:
            raise strict_json.StrictJsonError("the document is not a list of records")
        return tuple(strict_json.decode(Record, row, f"[{index}]") for index, row in enumerate(rows))
    except OSError as error:
        raise UsageError(f"cannot read {path.name}: {error.strerror or error}", hint=hint) from error
    except strict_json.StrictJsonError as error:
        raise UsageError(f"{path.name}: {error}", hint=hint) from error


def read_all(folder: Path = RECORDS) -> dict[str, tuple[Record, ...]]:
    """Every file of records by its name."""
    return {path.stem: read(path) for path in sorted(folder.glob("*.json"))}
