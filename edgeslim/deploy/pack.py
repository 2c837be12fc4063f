"""``pack``: one calibrated network, every net, every target, one bundle.

    checkpoint ─ (calibrate) ─► plan ─► ExportJob per artifact ─ worker processes ─► Exported
                                 │                                                      │
                                 └─► BundleBuilder ◄── masters, cuts, folds             │
                                          ▲─────────────────────────────────────────────┘
                                          └─► (merge with an earlier bundle) ─► one atomic write

A failed export names its net and target, keeps its output in ``<out>.log`` and leaves no bundle. The bundle holds no
date, host or job count: those go to the log. The same inputs and versions give the same bytes with any ``jobs``.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import edgeslim
from edgeslim import targets as target_table
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.manifest import MasterDtype, SlimManifest, artifact_id
from edgeslim.core.policy import Policy
from edgeslim.deploy.bundle_reports import PackReport, PackRow
from edgeslim.deploy.describe import bundle_info, metadata_for, quality_of, variant_of
from edgeslim.deploy.export_job import Exported, ExportJob
from edgeslim.deploy.masters import content_sha256, folds, part_counts, sources
from edgeslim.deploy.pack_plan import PackedNet, PackOptions, PackPlan, make_plan
from edgeslim.deploy.workers import run_jobs
from edgeslim.errors import EdgeslimError, ExportError, UsageError
from edgeslim.files import check_folder, check_free, replace_directory, temporary_directory_beside
from edgeslim.models.checkpoint import Checkpoint, load_checkpoint
from edgeslim.models.masters import masters_of
from edgeslim.press.build import BundleBuilder, BundleContent, BundleInfo, MasterSet, write_bundle
from edgeslim.press.combine import merge

_EXPORTS = "edgeslim-pack"  # in the temporary folder; a later pack removes what a killed one left there

Progress = Callable[[ExportJob, float], None]  # the job that is done, and its seconds


def pack(
    checkpoint: Checkpoint | str | os.PathLike[str],
    options: PackOptions,
    *,
    progress: Progress = lambda job, seconds: None,
) -> PackReport:
    """Pack ``checkpoint``, a checkpoint or the path of one (published state dicts too), as ``options`` say.

    Args:
        progress: called after every export.

    Raises:
        ExportError: an exporter failed; nothing is written but ``<out>.log``.
        CheckpointError, WidthError, UsageError, OutputError, MissingExtraError: see :func:`make_plan`.
    """
    source = None if isinstance(checkpoint, Checkpoint) else Path(checkpoint)
    loaded = checkpoint if isinstance(checkpoint, Checkpoint) else load_checkpoint(Path(checkpoint))
    if options.out is None and options.into is None and source is None:
        raise UsageError("pack needs out=…, the path of the bundle")
    path = Path(options.out or options.into or (source or Path()).with_suffix(".slim"))
    overwrite = options.overwrite or path == options.into
    check_free(path, overwrite=overwrite)
    log = path.with_name(path.name + ".log")
    check_free(log, overwrite=True)
    if options.keep_artifacts is not None:
        check_folder(options.keep_artifacts.absolute().parent)
        check_free(options.keep_artifacts, overwrite=options.overwrite, ours=_is_kept)
    plan = make_plan(loaded, options)
    info = bundle_info(
        plan.checkpoint,
        sizes=plan.input_sizes,
        labels=options.labels,
        policy=None if options.policy is None else _read_policy(options.policy),
        about=options.about,
        checkpoint_sha256=content_sha256(plan.checkpoint),
    )
    with (
        contextlib.nullcontext() if options.into is None else SlimBundle.open(options.into) as earlier,
        temporary_directory_beside(Path(tempfile.gettempdir(), _EXPORTS), private=True) as exports,
        _logged(log, plan, options.jobs),
    ):
        with ThreadPoolExecutor(1) as beside:  # the workers take seconds to start
            building = beside.submit(_builder, plan, info)
            exported = _export(plan, options, exports, log, progress)
            builder = building.result()
        for job, result in exported:
            builder.add_artifact(
                variant_of(plan.checkpoint, result.artifact, (job.size, job.size)),
                plan.net(job.net).id,
                result.packed,
                macs=result.macs,
                requires=result.artifact.requires,
                quality=quality_of(plan.checkpoint, job.net) if job.size == plan.checkpoint.spec.input_size else None,
            )
        content = builder.content()
        if earlier is not None:
            content = merge(BundleContent.of(earlier), content)
        kept = () if options.keep_artifacts is None else _keep(exported, options.keep_artifacts, options.overwrite)
        write_bundle(content, path, overwrite=overwrite)
        with SlimBundle.open(path) as bundle:
            return _report(bundle, plan, exported, kept)


def _builder(plan: PackPlan, info: BundleInfo) -> BundleBuilder:
    """Masters, and cut and fold of every net."""
    model = plan.model.slimmable
    sliced = {net.id: plan.model.slice(net.selection) for net in plan.nets}
    any_net = next(iter(sliced.values()))
    dtype: MasterDtype = "f32" if plan.weights == "fp32" else "f16"
    masters = MasterSet(sources(model, any_net, plan.checkpoint.state_dict, dtype=dtype))
    builder = BundleBuilder(info, masters)
    specs = masters_of(model)
    for net in plan.nets:
        builder.add_net(
            masters.cut(part_counts(specs, net.selection)),
            folds(sliced[net.id], masters),
            widths=net.widths,
            label=net.label,
            params=sliced[net.id].counts.params,
        )
    return builder


def _read_policy(path: Path) -> dict[str, Any]:
    """The policy at ``path``, checked and complete."""
    document: dict[str, Any] = json.loads(Policy.read(path).to_json())
    return document


def _export(
    plan: PackPlan, options: PackOptions, folder: Path, log: Path, progress: Progress
) -> list[tuple[ExportJob, Exported]]:
    """Run every export in worker processes; in the plan's order."""
    calibrated = folder / "calibrated.pt"
    plan.checkpoint.save(calibrated)
    todo = [
        ExportJob(
            checkpoint=calibrated,
            target=target,
            net=net.selection,
            size=size,
            precision=precision,
            input_option=options.input_option,
            metadata=metadata_for(plan.checkpoint, net, labels=options.labels, about=options.about),
            options=options.target_options.get(target, {}),
            out=folder / f"{target}-{precision}-{size}-{net.id}{target_table.get(target).info.suffix}",
        )
        for target, precisions in plan.precisions.items()
        for precision in precisions
        for size in plan.input_sizes
        for net in _slow_ones_first(plan.nets)
    ]
    results: dict[int, Exported] = {}
    workers = options.jobs or default_jobs(plan.precisions)
    for done in run_jobs("edgeslim.deploy.export_job:run", todo, workers=workers, log=log, kind=lambda j: j.target):
        job = todo[done.index]
        if done.error is not None:
            raise _failed(done.error, job, plan.net(job.net), log)
        results[done.index] = done.value
        progress(job, done.value.seconds)
    return [(todo[index], results[index]) for index in range(len(todo))]


def _slow_ones_first(nets: Sequence[PackedNet]) -> list[PackedNet]:
    return sorted(nets, key=lambda net: net.selection.channels, reverse=True)


def _failed(error: EdgeslimError, job: ExportJob, net: PackedNet, log: Path) -> EdgeslimError:
    """The error of a job, saying which one it was; the exporter's own output is moved into ``log``."""
    own_log = job.out.with_name(job.out.name + ".log")
    what = f"net {net}"
    if own_log.is_file():
        with open(log, "ab") as sink, open(own_log, "rb") as own:
            sink.write(f"\n--- {job.target}, {what} ---\n".encode())
            shutil.copyfileobj(own, sink)
    message = error.message if what in error.message else f"{job.target}, {what}: {error.message}"
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
    header: Mapping[str, Any] = {
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


_KEPT = re.compile(r"[a-z0-9_]+-[a-z0-9]+-[0-9]+-[a-z0-9_.-]+(/.+)?")  # <target>-<precision>-<size>-<net>.<suffix>


def _is_kept(path: str) -> bool:
    """Whether this could be a file of an earlier ``--keep-artifacts``."""
    return _KEPT.fullmatch(path) is not None


def _keep(exported: Sequence[tuple[ExportJob, Exported]], folder: Path, overwrite: bool) -> tuple[Path, ...]:
    """Put the exporters' files into ``folder``, whole or not at all."""
    with temporary_directory_beside(folder) as temporary:
        for job, result in exported:
            shutil.move(result.artifact.root, temporary / job.out.name)
        replace_directory(temporary, folder, overwrite=overwrite, ours=_is_kept)
    return tuple(folder / job.out.name for job, _ in exported)


def _report(
    bundle: SlimBundle,
    plan: PackPlan,
    exported: Sequence[tuple[ExportJob, Exported]],
    kept: tuple[Path, ...],
) -> PackReport:
    rows = []
    for job, result in exported:
        variant = variant_of(plan.checkpoint, result.artifact, (job.size, job.size))
        packed = bundle.find(artifact_id(variant.id, _name_in(bundle.manifest, plan.net(job.net))))
        seconds = round(result.seconds, 3)
        rows.append(PackRow.of(bundle, *packed, sqnr_db=result.sqnr_db, seconds=seconds, reason=result.unchecked))
    return PackReport.of(bundle, sorted(rows, key=lambda row: row.artifact), kept=kept, notes=plan.notes)


def _name_in(manifest: SlimManifest, net: PackedNet) -> str:
    """The id of ``net`` in the bundle: merging may have found a smaller width that names it too."""
    if not net.widths:
        return net.id
    found = manifest.net_of(net.widths[0].permille)
    assert found is not None
    return found.id
