"""What ``pack`` is asked for, and what it is about to make: everything that can be checked before the first export.

PackOptions + Checkpoint ─► make_plan ─► PackPlan(nets, jobs' targets, precisions and input sizes)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgeslim import targets as target_table
from edgeslim.core.width import Width, net_id
from edgeslim.data.images import ImageSet
from edgeslim.deploy.bundle_reports import PlannedRow, PlanReport
from edgeslim.deploy.calibration.calibrate import CalibratedModel, calibrate
from edgeslim.deploy.masters import with_fp16_masters, with_input_size
from edgeslim.errors import CheckpointError, UsageError
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.models.selection import Net, Selection
from edgeslim.targets.base import InputOption


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackOptions:
    """What to pack, and how; the command line fills it, and Python callers do.

    Args:
        targets: names of runtimes.
        out: the bundle; by default the checkpoint's path with the suffix ``.slim``, or ``into``.
        nets: widths, or selections of channels; None takes all that the checkpoint has statistics for. Nets with the
            same channels become one.
        precisions: for every target that has them (``fp32``, ``fp16``, …); none takes each target's first.
        target_precisions: the same for single targets.
        weights: ``fp16`` rounds the master weights before folding and halves the bundle.
        input_sizes: pixels of square inputs; none takes the checkpoint's own.
        calibration: images to take statistics from, for every net.
        about: ``name``, ``version``, ``author``, ``licence``, ``source``, ``attribution``, ``description`` for the
            manifest and the files.
        policy: a controller policy that travels along.
        target_options: settings that only one target understands, by its name.
        jobs: worker processes; by default what cores and memory allow.
        keep_artifacts: folder that gets the exporters' files.
        into: an earlier bundle of the same net; the result is what packing everything together gives.
    """

    targets: Sequence[str]
    out: Path | None = None
    nets: Sequence[Net] | None = None
    precisions: Sequence[str] = ()
    target_precisions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    weights: Literal["fp32", "fp16"] = "fp32"
    input_sizes: Sequence[int] = ()
    input_option: InputOption = InputOption.NCHW_FLOAT32
    calibration: ImageSet | None = None
    labels: Sequence[str] | None = None
    policy: Path | None = None
    about: Mapping[str, str] = field(default_factory=dict)
    target_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    jobs: int | None = None
    keep_artifacts: Path | None = None
    into: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedNet:
    """One net, and the widths it is known by (none of a vector of channels)."""

    selection: Selection
    widths: tuple[Width, ...]

    @property
    def label(self) -> str | None:
        return None if self.widths else self.selection.label

    @property
    def id(self) -> str:
        """As it will stand in the bundle."""
        return net_id(self.widths[0].permille) if self.widths else self.selection.label

    def __str__(self) -> str:
        return f"{self.widths[0]}x" if self.widths else self.selection.label


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackPlan:
    """What ``pack`` is about to make. ``notes`` are for people: what a target has not and gets its default instead."""

    model: CalibratedModel
    nets: tuple[PackedNet, ...]
    precisions: Mapping[str, tuple[str, ...]]
    input_sizes: tuple[int, ...]
    weights: Literal["fp32", "fp16"]
    notes: tuple[str, ...]

    @property
    def checkpoint(self) -> Checkpoint:
        return self.model.checkpoint()

    def net(self, selection: Selection) -> PackedNet:
        """The net with these channels."""
        return next(net for net in self.nets if net.selection == selection)

    @property
    def artifacts(self) -> int:
        return len(self.nets) * sum(map(len, self.precisions.values())) * len(self.input_sizes)

    def report(self, bundle: Path) -> PlanReport:
        """What a dry run shows, with ``bundle`` as the path."""
        rows = (
            PlannedRow(
                target=target,
                permille=net.widths[0].permille if net.widths else None,
                net=net.id,
                precision=precision,
                input=input_id((size, size)),
            )
            for target, chosen in self.precisions.items()
            for precision in chosen
            for size in self.input_sizes
            for net in self.nets
        )
        return PlanReport(bundle=bundle, bytes=self.weights_bytes, rows=tuple(rows), notes=self.notes)

    @property
    def weights_bytes(self) -> int:
        """Of the full-size masters: nearly all of a bundle."""
        return sum(t.numel() for t in self.checkpoint.state_dict.values()) * (4 if self.weights == "fp32" else 2)


def input_id(size: tuple[int, int]) -> str:
    """What an input of (height, width) is called: ``224``, or ``320x192`` where it is not square."""
    height, width = size
    return f"{height}" if height == width else f"{height}x{width}"


def make_plan(checkpoint: Checkpoint, options: PackOptions) -> PackPlan:
    """Check everything that can be checked before the first export; with ``calibration``, calibrate first.

    Raises:
        CheckpointError: a net has no statistics and there is nothing to calibrate with.
        WidthError: a width outside the trained range, or not listed by an S-net.
        UsageError, MissingExtraError: no such target, precision or input size, or an exporter is not installed.
    """
    precisions, notes = _precisions(options)
    sizes = tuple(dict.fromkeys(options.input_sizes or (checkpoint.spec.input_size,)))
    for size in sizes:
        with_input_size(checkpoint, size)
    if options.weights == "fp16":
        checkpoint = with_fp16_masters(checkpoint)
    model = CalibratedModel.from_checkpoint(checkpoint)
    nets = _nets(model, options.nets)
    if options.calibration is not None:
        model = calibrate(checkpoint, options.calibration, [net.selection for net in nets])
    if missing := [str(net) for net in nets if not model.has(net.selection)]:
        raise CheckpointError(
            f"no BatchNorm statistics for {', '.join(missing)}",
            hint="add --calib DATA (for example --calib folder:images), or run edgeslim calibrate first",
        )
    return PackPlan(
        model=model,
        nets=nets,
        precisions=precisions,
        input_sizes=sizes,
        weights=options.weights,
        notes=notes,
    )


def _precisions(options: PackOptions) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Per target the precisions to export, and what people should know about them."""
    chosen: dict[str, tuple[str, ...]] = {}
    notes = []
    met: set[str] = set()
    for name in options.targets:
        info = target_table.get(name).info
        info.ensure_available(exporting=True)
        info.check_options(options.target_options.get(info.name, {}))
        own = tuple(precision.name for precision in info.precisions)
        wanted = options.target_precisions.get(info.name)
        for precision in wanted or ():
            info.precision(precision)
        there = tuple(p for p in wanted or options.precisions if p in own)
        met.update(there)
        if options.precisions and wanted is None and not there:
            notes.append(f"{info.name} has none of {', '.join(options.precisions)}: it gets {own[0]}")
        chosen[info.name] = there or own[:1]
    if unused := set(options.target_options) - set(chosen):
        raise UsageError(f"options for {', '.join(sorted(unused))}, which is not among the targets")
    if not chosen:
        raise UsageError("no target given", hint=f"choose from {', '.join(target_table.names())}")
    if options.precisions and (nowhere := set(options.precisions) - met):
        raise UsageError(f"no target here has precision {', '.join(sorted(nowhere))}")
    return chosen, tuple(notes)


def _nets(model: CalibratedModel, wanted: Sequence[Net] | None) -> tuple[PackedNet, ...]:
    """The different nets among ``wanted``, each with all widths it was asked for by."""
    checkpoint = model.checkpoint()
    if wanted is None:
        wanted = tuple(checkpoint.statistics) or checkpoint.ladder
    if not wanted:
        raise CheckpointError(
            "this checkpoint has no statistics for any width", hint="name some with --widths and add --calib DATA"
        )
    widths: dict[Selection, set[Width]] = {}
    for net in wanted:
        selection = model.selection(net)
        names = widths.setdefault(selection, set())
        if selection.width is not None:
            names.add(selection.width)
    return tuple(PackedNet(selection=net, widths=tuple(sorted(names))) for net, names in widths.items())
