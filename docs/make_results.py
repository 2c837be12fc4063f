"""Writes docs/results.md from profiling/records: ``python docs/make_results.py [--check]``.

    profiling/records/*.json ─► one table of everything promised ─► a short section per benchmark

The text here holds no figure: those stand in the records, beside machine, versions and date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "profiling"))
import record
from record import Record

PAGE = Path(__file__).with_name("results.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What a benchmark is about: its room, a title, and what was measured."""

    room: str
    title: str
    about: str


# In the order of the page. A record file "<name>-<variant>.json" belongs to <name>.
SECTIONS = {
    "train_speed": Section(
        room="training",
        title="A training step",
        about="One sandwich step (the widest, the narrowest and two widths between) against its multiply-adds' share "
        "of one full-width step of the static twin: plain layers, same optimiser, same images, in turns.",
    ),
    "train_digits": Section(
        room="training",
        title="Training on digits",
        about="`edgeslim train` with its default settings, calibration and the test split included.",
    ),
    "digits_seeds": Section(
        room="training",
        title="One net for all widths against nets trained alone",
        about="US-MobileNetV2 on `digits` with the default settings: top-1 on the test scans, mean and standard "
        "deviation over the seeds of one fixed split.",
    ),
    "cifar_table": Section(
        room="training",
        title="What each part of training is worth",
        about="US-ResNet-18 with a quarter of its channels and less on 32 px photographs scaled to 20 px (10 classes, "
        "lossy JPEG: not to be compared with published CIFAR-10 figures), 8,000 training and 5,000 test images, 3 "
        "epochs, with the same seeds, augmentation and calibration for all; mean and standard deviation of top-1.",
    ),
    "calibrate_speed": Section(
        room="calibration",
        title="Exact calibration",
        about="Calibrating every width against the bare forward of the same plain nets over the same images, in turns.",
    ),
    "bundle_size": Section(
        room="deploy",
        title="One bundle for all widths and runtimes",
        about="US-MobileNetV2, 224 px, 1000 classes, 16 widths of 0.35 to 1.0, BatchNorms as training leaves them "
        "(dead, tiny and negative gammas), Core ML in fp16. The weights are those of the full-width net in float32, "
        "BatchNorm's gamma and beta included.",
    ),
    "pack_speed": Section(
        room="deploy",
        title="Packing",
        about="`edgeslim pack` with two worker processes against the same exports one after another in one process.",
    ),
    "closeness": Section(
        room="deploy",
        title="How close the rebuilt files run",
        about="SQNR of the logits against the folded PyTorch net on the worst image; fp32 is ExecuTorch and LiteRT, "
        "fp16 is Core ML.",
    ),
    "rebuild_speed": Section(
        room="core",
        title="Rebuilding a file",
        about="From the bundle to the exporter's file at full width, hashed and fsynced, against writing and fsyncing "
        "the same bytes with numpy, in turns.",
    ),
    "controller_step": Section(
        room="core",
        title="A step of the controller",
        about="Golden readings, in which every branch occurs, through one controller per scenario.",
    ),
    "controller_score": Section(
        room="simulation",
        title="Whether the controller is worth it",
        about="Every policy on the device model in three rooms, mean over seeds. [The controller](controller.md) says "
        "how the model and the score are made, and where the controller loses.",
    ),
    "bench_overhead": Section(
        room="benchmark",
        title="What measuring adds",
        about="The measured loop of `edgeslim bench` against a bare loop over the runtime's own call.",
    ),
    "bench_vs_vendor": Section(
        room="benchmark",
        title="Against the vendor's benchmark",
        about="The same file by `edgeslim bench` and by LiteRT's own program.",
    ),
    "bench_repeat": Section(
        room="benchmark",
        title="Whether a table repeats",
        about="A table, the same table again, and the same while every core runs a busy loop half of the time.",
    ),
    "session_overhead": Section(
        room="runtime",
        title="What a session adds to a frame",
        about="The whole of `session.run` less the runtime's own call, one thread, frames without a pause.",
    ),
    "switching": Section(
        room="runtime",
        title="Switching",
        about="Frames at 30 per second, one thread, a bundle of 16 widths; a frame's delay is what it took less the "
        "median of undisturbed frames.",
    ),
    "soak": Section(
        room="runtime",
        title="Soak",
        about="Two processes on one cache, with damage, deletions and kills; every output compared with that of a file "
        "rebuilt outside any cache.",
    ),
    "demo": Section(
        room="cli",
        title="The demo",
        about="`edgeslim demo` from training to the report, on two cores.",
    ),
    "no_slower": Section(
        room="cli",
        title="No slower than before",
        about="The same work by this version and by an earlier one, in turns.",
    ),
}  # fmt: skip


def page(records: Mapping[str, Sequence[Record]]) -> str:
    """The whole page.

    Args:
        records: by the name of their file.

    Raises:
        SystemExit: a file of records that no section is about.
    """
    known = [(name, rows) for section in SECTIONS for name, rows in sorted(records.items()) if _owner(name) == section]
    if lost := records.keys() - {name for name, _ in known}:
        raise SystemExit(f"no section for {', '.join(sorted(lost))}: add one to SECTIONS in docs/make_results.py")
    promised = [(name, row) for name, rows in known for row in rows if row.promised is not None]
    kept = sum(row.kept is True for _, row in promised)
    parts = [
        "# Results",
        "Made from `profiling/records` by `python docs/make_results.py`; do not edit.",
        "What was promised, what was measured, on which machine and how to redo it. A promise is kept when every "
        f"number keeps it: {kept} of {len(promised)} are, and the others stay in, with what there is to say about them "
        "further down. Take ratios, not seconds, to your own machine.",
        _overview(promised),
    ]
    for room, sections in groupby(SECTIONS.items(), key=lambda item: item[1].room):
        described = [
            _section(section, [rows for name, rows in known if _owner(name) == owner]) for owner, section in sections
        ]
        if any(described):
            parts += [f"## {room.capitalize()}", *filter(None, described)]
    return "\n\n".join(parts) + "\n"


def _owner(name: str) -> str:
    return name.partition("-")[0]


def _overview(promised: Sequence[tuple[str, Record]]) -> str:
    lines = ["| room | aim | promised | measured | kept | machine | command |", "|---|---|---|---|---|---|---|"]
    for name, row in promised:
        assert row.promised is not None
        cells = (
            SECTIONS[_owner(name)].room, row.aim, row.promised.text, _measured(row), "yes" if row.kept else "**no**",
            _machine(row), f"`{row.command}`",
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return "\n".join(lines)


def _section(section: Section, files: Sequence[Sequence[Record]]) -> str:
    """Title, what was measured, and per file its command, tables, remarks and passport; nothing without a record."""
    if not files:
        return ""
    return "\n\n".join((f"### {section.title}", section.about, *(part for rows in files for part in _file(rows))))


def _file(rows: Sequence[Record]) -> Iterator[str]:
    for command, group in groupby(rows, key=lambda row: row.command):
        same = list(group)
        yield f"```bash\n{command}\n```"
        for (names, unit), alike in groupby(same, key=lambda row: (row.of, row.unit)):
            yield _table(names, unit, list(alike))
        if notes := _notes(same):
            yield notes
        yield "\n\n".join(dict.fromkeys(_passport(row) for row in same))


def _table(names: tuple[str, ...], unit: str, rows: Sequence[Record]) -> str:
    """Figures with the same names and unit, one line each; a column per name."""
    heads = names or ("measured",)
    lines = [f"| {unit} | {' | '.join(map(_cell, heads))} |", "|---|" + "---|" * len(heads)]
    for row in rows:
        cells = _numbers(row) if names else [" / ".join(_numbers(row))]
        lines.append(f"| {' | '.join(map(_cell, (row.aim, *cells)))} |")
    return "\n".join(lines)


def _notes(rows: Sequence[Record]) -> str:
    """Every remark once, with the figures it is about unless it is about all."""
    said: dict[str, list[str]] = {}
    for row in rows:
        for remark in row.notes:
            said.setdefault(remark, []).append(row.aim)
    general = [f"* {remark}" for remark, aims in said.items() if len(aims) == len(rows)]
    special = [f"* {'; '.join(aims)}: {remark}" for remark, aims in said.items() if len(aims) < len(rows)]
    return "\n".join([*special, *general])


def _passport(row: Record) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in row.versions.items())
    return f"{row.date}, {_machine(row)}; {versions}."


def _machine(row: Record) -> str:
    return f"{row.processor}, {row.cores} {'core' if row.cores == 1 else 'cores'}"


def _measured(row: Record) -> str:
    numbers = _numbers(row)
    if row.of:
        numbers = [f"{name}: {number}" for name, number in zip(row.of, numbers, strict=True)]
    return f"{('; ' if row.of else ' / ').join(numbers)} {row.unit}".rstrip()


def _numbers(row: Record) -> list[str]:
    if not row.spread:
        return [record.number(value) for value in row.measured]
    pairs = zip(row.measured, row.spread, strict=True)
    return [f"{record.number(value)} ± {record.number(spread)}" for value, spread in pairs]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: Iterable[str]) -> int:
    text = page(record.read_all())
    if "--check" in arguments:
        if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
            return 0
        print("docs/results.md is not what the records say; run: python docs/make_results.py", file=sys.stderr)
        return 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
