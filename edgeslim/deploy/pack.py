"""``pack``: one calibrated net, every width, every target, one bundle.

    checkpoint ─ (calibrate) ─► plan ─► ExportJob per (target, width) ─ worker processes ─► Exported
                                 │                                                            │
                                 └─► BundleBuilder ◄── masters, cuts, folds, quality          │
                                          ▲───────────────────────────────────────────────────┘
                                          └─► (merge with an earlier bundle) ─► one atomic write

A failed export names its width and target, keeps its output in ``<out>.log`` and leaves no bundle. The bundle holds no
date, host or job count: those go to the log. The same inputs and versions give the same bytes with any ``jobs``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import platform
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import edgeslim
from edgeslim import targets as target_table
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.manifest import artifact_id
from edgeslim.core.policy import Policy
from edgeslim.core.width import Width
from edgeslim.data.images import ImageSet
from edgeslim.deploy.calibration.calibrate import CalibratedModel, calibrate
from edgeslim.deploy.describe import metadata_for, net_info, quality_of, variant_info
from edgeslim.deploy.export_job import Exported, ExportJob
from edgeslim.deploy.masters import content_sha256, cuts_and_folds, masters, with_fp16_masters
from edgeslim.deploy.workers import run_jobs
from edgeslim.errors import CheckpointError, EdgeslimError, ExportError, UsageError
from edgeslim.files import check_free, replace_directory, sha256_file, temporary_directory_beside
from edgeslim.models.checkpoint import Checkpoint, load_checkpoint
from edgeslim.press.build import BundleBuilder, BundleContent, NetInfo, write_bundle
from edgeslim.press.combine import merge
from edgeslim.targets.base import InputOption


@dataclass(frozen=True, slots=True, kw_only=True)
class PackRow:
    """One packed artifact; template and recipe as stored (deflated)."""

    target: str
    permille: int
    artifact_bytes: int
    explained_bytes: int
    literal_bytes: int
    template_bytes: int
    recipe_bytes: int
    sqnr_db: float | None
    seconds: float
    unchecked: str | None = None
    """Why it could not be run or evaluated on this machine; then there is no ``sqnr_db``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackReport:
    """What ``pack`` made."""

    bundle: Path
    bytes: int
    sha256: str
    weights_bytes: int
    rows: tuple[PackRow, ...]
    kept: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The contract's document."""
        return {
            "bundle": str(self.bundle),
            "bytes": self.bytes,
            "sha256": self.sha256,
            "weights_bytes": self.weights_bytes,
            "rows": [_row_document(row) for row in self.rows],
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackPlan:
    """What ``pack`` is about to make: nets with their aliases, and a precision per target."""

    model: CalibratedModel
    widths: Mapping[Width, tuple[Width, ...]]
    precisions: Mapping[str, str]
    options: TargetOptions
    out: Path
    weights: Literal["fp32", "fp16"]
    estimated_bytes: int = field(default=0)

    @property
    def checkpoint(self) -> Checkpoint:
        return self.model.checkpoint()

    @property
    def artifacts(self) -> int:
        return len(self.widths) * len(self.precisions)


TargetOptions = Mapping[str, Mapping[str, Any]]  # target → settings that only it understands
Progress = Callable[[str, Width, float], None]  # target, width, seconds


def make_plan(
    checkpoint: Checkpoint,
    *,
    targets: Sequence[str],
    out: Path,
    widths: Sequence[Width] | None = None,
    weights: Literal["fp32", "fp16"] = "fp32",
    coreml_precision: str = "fp16",
    calibration: ImageSet | None = None,
    options: TargetOptions | None = None,
) -> PackPlan:
    """Check everything that can be checked before the first export; with ``calibration``, calibrate first.

    Raises:
        CheckpointError: a width has no statistics and there is nothing to calibrate with.
        WidthError: a width outside the trained range, or not listed by an S-net.
        UsageError, MissingExtraError: no such target, or its exporter is not installed.
    """
    if weights == "fp16":
        checkpoint = with_fp16_masters(checkpoint)
    model = CalibratedModel.from_checkpoint(checkpoint)
    chosen = tuple(widths) if widths is not None else checkpoint.ladder
    if not chosen:
        raise CheckpointError(
            "this checkpoint has no statistics for any width", hint="name some with --widths and add --calib DATA"
        )
    nets = model.distinct(chosen)
    precisions = {}
    for name in targets:
        info = target_table.get(name).info
        info.ensure_available(exporting=True)
        info.check_options((options or {}).get(info.name, {}))
        precisions[info.name] = coreml_precision if info.name == "coreml" else info.precision().name
    if unused := set(options or {}) - set(precisions):
        raise UsageError(f"options for {', '.join(sorted(unused))}, which is not among the targets")
    if not precisions:
        raise UsageError("no target given", hint=f"choose from {', '.join(target_table.names())}")
    if calibration is not None:
        model = calibrate(checkpoint, calibration, tuple(nets))
        checkpoint = model.checkpoint()
    if missing := [width for width in nets if not model.has(width)]:
        raise CheckpointError(
            f"no BatchNorm statistics for width {', '.join(map(str, missing))}",
            hint="add --calib DATA (for example --calib folder:images), or run edgeslim calibrate first",
        )
    weight_bytes = sum(t.numel() for t in checkpoint.state_dict.values()) * (4 if weights == "fp32" else 2)
    per_artifact = 11_000  # template and recipe of a MobileNetV2, deflated
    per_width = sum(len(mean) for mean, _ in next(iter(checkpoint.statistics.values()), {}).values()) * 8
    return PackPlan(
        model=model,
        widths=nets,
        precisions=precisions,
        options=options or {},
        out=out,
        weights=weights,
        estimated_bytes=weight_bytes + len(nets) * (per_width + len(precisions) * per_artifact),
    )


def pack(
    checkpoint: Checkpoint | str | os.PathLike[str],
    *,
    targets: Sequence[str],
    out: str | os.PathLike[str] | None = None,
    widths: Sequence[Width] | None = None,
    weights: Literal["fp32", "fp16"] = "fp32",
    coreml_precision: Literal["fp16", "fp32"] = "fp16",
    input_option: InputOption = InputOption.NCHW_FLOAT32,
    calibration: ImageSet | None = None,
    options: TargetOptions | None = None,
    labels: Sequence[str] | None = None,
    policy: Path | None = None,
    about: Mapping[str, str] | None = None,
    jobs: int | None = None,
    keep_artifacts: Path | None = None,
    into: Path | None = None,
    overwrite: bool = False,
    progress: Progress = lambda target, width, seconds: None,
) -> PackReport:
    """Pack ``checkpoint`` for ``targets`` at ``widths``.

    Args:
        checkpoint: a checkpoint or the path of one; published state dicts too.
        out: the bundle; by default the checkpoint's path with the suffix ``.slim``, or ``into``.
        widths: by default those the checkpoint has statistics for. Widths with the same channels become one net.
        weights: ``fp16`` rounds the master weights before folding and halves the bundle.
        calibration: images to take statistics from, for every width.
        options: per target, settings that only it understands (``TargetInfo.options``); they travel as they are.
        about: ``name``, ``version``, ``author``, ``licence``, ``description`` for the manifest and the files.
        jobs: worker processes; by default what cores and memory allow.
        keep_artifacts: folder that gets the exporters' files.
        into: an earlier bundle of the same net; the result is what packing everything together gives.
        progress: called after every export.

    Raises:
        ExportError: an exporter failed; nothing is written but ``<out>.log``.
        CheckpointError, WidthError, UsageError, OutputError, MissingExtraError: see :func:`make_plan`.
    """
    source = None if isinstance(checkpoint, Checkpoint) else Path(checkpoint)
    loaded = checkpoint if isinstance(checkpoint, Checkpoint) else load_checkpoint(Path(checkpoint))
    if out is None and into is None and source is None:
        raise UsageError("pack needs out=…, the path of the bundle")
    path = Path(out or into or (source or Path()).with_suffix(".slim"))
    check_free(path, overwrite=overwrite or path == into)
    if keep_artifacts is not None:
        check_free(keep_artifacts, overwrite=overwrite)
    plan = make_plan(
        loaded,
        targets=targets,
        out=path,
        widths=widths,
        weights=weights,
        coreml_precision=coreml_precision,
        calibration=calibration,
        options=options,
    )
    earlier = None if into is None else SlimBundle.open(into)
    info = net_info(
        plan.checkpoint,
        labels=labels,
        policy=None if policy is None else _read_policy(policy),
        about=about or {},
        checkpoint_sha256=content_sha256(plan.checkpoint),
    )
    log = path.with_name(path.name + ".log")
    with tempfile.TemporaryDirectory(prefix="edgeslim-pack-") as name, _logged(log, plan, jobs):
        with ThreadPoolExecutor(1) as beside:  # the workers take seconds to start
            building = beside.submit(_builder, plan, info)
            exported = _export(plan, Path(name), log, input_option, labels, about or {}, jobs, progress)
            builder = building.result()
        for job, result in exported:
            builder.add_artifact(variant_info(result.artifact), job.width, result.packed)
        content = builder.content()
        if earlier is not None:
            content = merge(BundleContent.of(earlier), content)
        kept = () if keep_artifacts is None else _keep(exported, keep_artifacts, overwrite=overwrite)
        size = write_bundle(content, path, overwrite=overwrite or path == into)
    if earlier is not None:
        earlier.close()
    return _report(path, size, content, exported, kept)


def _builder(plan: PackPlan, info: NetInfo) -> BundleBuilder:
    """Masters, and cuts and folds of every width."""
    nets = {width: plan.model.slice(width) for width in plan.widths}
    sources = masters(next(iter(nets.values())).layers, plan.checkpoint.state_dict)
    builder = BundleBuilder(info, sources, weights="f32" if plan.weights == "fp32" else "f16")
    for width, aliases in plan.widths.items():
        cuts, folds = cuts_and_folds(nets[width])
        builder.add_width(
            width,
            cuts,
            folds,
            macs=nets[width].counts.macs,
            params=nets[width].counts.params,
            aliases=aliases,
            quality=quality_of(plan.checkpoint, (width, *aliases)),
        )
    return builder


def _read_policy(path: Path) -> dict[str, Any]:
    """The policy at ``path``, checked and complete."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read policy {path}: {error.strerror}") from error
    document: dict[str, Any] = json.loads(Policy.from_json(text).to_json())
    return document


def _export(
    plan: PackPlan,
    folder: Path,
    log: Path,
    input_option: InputOption,
    labels: Sequence[str] | None,
    about: Mapping[str, str],
    jobs: int | None,
    progress: Progress,
) -> list[tuple[ExportJob, Exported]]:
    """Run every export in worker processes; in the plan's order."""
    calibrated = folder / "calibrated.pt"
    plan.checkpoint.save(calibrated)
    todo = [
        ExportJob(
            checkpoint=calibrated,
            target=target,
            width=width,
            precision=precision,
            input_option=input_option,
            metadata=metadata_for(plan.checkpoint, width, labels=labels, about=about),
            options=plan.options.get(target, {}),
            out=folder / f"{target}-{width.permille:04d}{target_table.get(target).info.suffix}",
        )
        for target, precision in plan.precisions.items()
        for width in sorted(plan.widths, reverse=True)  # the slow ones first
    ]
    results: dict[int, Exported] = {}
    workers = jobs or default_jobs(plan.precisions)
    for done in run_jobs("edgeslim.deploy.export_job:run", todo, workers=workers, log=log, kind=lambda j: j.target):
        job = todo[done.index]
        if done.error is not None:
            raise _failed(done.error, job, log)
        results[done.index] = done.value
        progress(job.target, job.width, done.value.seconds)
    return [(todo[index], results[index]) for index in range(len(todo))]


def _failed(error: EdgeslimError, job: ExportJob, log: Path) -> EdgeslimError:
    """The error of a job, saying which one it was; the exporter's own output is moved into ``log``."""
    own_log = job.out.with_name(job.out.name + ".log")
    if own_log.is_file():
        with open(log, "ab") as sink, open(own_log, "rb") as own:
            sink.write(f"\n--- {job.target} at width {job.width} ---\n".encode())
            shutil.copyfileobj(own, sink)
    what = f"{job.target} at width {job.width}"
    message = error.message if what in error.message else f"{what}: {error.message}"
    if isinstance(error, ExportError):
        return ExportError(message, hint=f"the exporter's output is in {log}; no bundle was written")
    error.message = message
    error.args = (message,)
    return error


def default_jobs(targets: Iterable[str]) -> int:
    """As many workers as there are cores, if each finds memory for one export of any of ``targets``."""
    need = max(target_table.get(name).info.export_bytes for name in targets)
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else need
    return max(1, min(os.cpu_count() or 1, free // need))


@contextlib.contextmanager
def _logged(log: Path, plan: PackPlan, jobs: int | None) -> Iterator[None]:
    """Start the log beside the bundle with all that the bundle itself must not say."""
    began = time.monotonic()
    header = {
        "started_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "edgeslim": edgeslim.__version__,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "jobs": jobs or default_jobs(plan.precisions),
        "artifacts": plan.artifacts,
    }
    with open(log, "w", encoding="utf-8") as text:
        text.write(json.dumps(header, indent=1) + "\n")
    yield
    with open(log, "a", encoding="utf-8") as text:
        text.write(f"done in {time.monotonic() - began:.1f} s\n")


def _keep(exported: Sequence[tuple[ExportJob, Exported]], folder: Path, *, overwrite: bool) -> tuple[Path, ...]:
    """Put the exporters' files into ``folder``, whole or not at all."""
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    with temporary_directory_beside(folder) as temporary:
        for job, result in exported:
            shutil.move(result.artifact.root, temporary / job.out.name)
        replace_directory(temporary, folder, overwrite=overwrite)
    return tuple(folder / job.out.name for job, _ in exported)


def _row_document(row: PackRow) -> dict[str, Any]:
    document = dataclasses.asdict(row)
    reason = document.pop("unchecked")
    return document if reason is None else {**document, "reason": reason}


def _report(
    path: Path,
    size: int,
    content: BundleContent,
    exported: Sequence[tuple[ExportJob, Exported]],
    kept: tuple[Path, ...],
) -> PackReport:
    rows = []
    for job, result in exported:
        identifier = artifact_id(variant_info(result.artifact).id, job.width.permille)
        rows.append(
            PackRow(
                target=job.target,
                permille=job.width.permille,
                artifact_bytes=sum(file.size_bytes for file in result.artifact.files),
                explained_bytes=result.packed.explained_bytes,
                literal_bytes=result.packed.literal_bytes,
                template_bytes=len(content.stored[f"template/{identifier}"]),
                recipe_bytes=len(content.stored[f"recipe/{identifier}"]),
                sqnr_db=result.sqnr_db,
                seconds=round(result.seconds, 3),
                unchecked=result.unchecked,
            )
        )
    rows.sort(key=lambda row: (row.target, row.permille))
    weights = sum(len(data) for name, data in content.stored.items() if name.startswith(("weight/", "bias/")))
    return PackReport(
        bundle=path, bytes=size, sha256=sha256_file(path), weights_bytes=weights, rows=tuple(rows), kept=kept
    )
