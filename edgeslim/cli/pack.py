"""``edgeslim pack``: every net, for every runtime, in one bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click
from rich.table import Table

from edgeslim import targets
from edgeslim.cli.amounts import KEPT, size
from edgeslim.cli.checkpoint_options import checkpoint_options
from edgeslim.cli.console import WIDTHS, Console, common_options, resolve_widths
from edgeslim.cli.data_options import DATA_HELP
from edgeslim.cli.next_step import again, fresh, step
from edgeslim.cli.option_types import COUNT, PATH, PIXELS, Whole
from edgeslim.deploy.bundle_reports import PackReport, PlanReport
from edgeslim.errors import DataError, ExportError, MissingExtraError, UsageError
from edgeslim.files import read_file
from edgeslim.verbs.checkpoints import load_named

_MOST_LABEL_BYTES = 1 << 22
COREML_HELP = "of Core ML alone; auto: fp16, but fp32 for the first operations, up to 1 % of the weights [fp16]"
TARGETS_HELP = f"{targets.words()}, separated by commas; or all"


@click.command()
@click.argument("checkpoint", type=PATH)
@click.option("--target", "wanted", required=True, help=TARGETS_HELP)
@click.option("--widths", type=WIDTHS, help="0.35,0.5,1.0 or 0.35:1.0:0.05 or a count [the calibrated ones]")
@click.option("-o", "--out", type=PATH, help="the bundle [CHECKPOINT with suffix .slim]")
@click.option(
    "--weights", type=click.Choice(["fp32", "fp16"]), default="fp32", show_default=True, help="master weights"
)
@click.option(
    "--precision", "precisions", multiple=True, help="fp32, fp16 …, repeatable or with commas [each target's first]"
)
@click.option("--coreml-precision", type=click.Choice(["fp16", "auto", "fp32"]), help=COREML_HELP)
@click.option(
    "--input-size",
    "input_sizes",
    type=PIXELS,
    multiple=True,
    help="pixels, repeatable: an artifact for each [what the checkpoint was made for]",
)
@click.option("--input", "input_option", type=click.Choice(["nchw-float32", "nhwc-uint8"]), default="nchw-float32")
@click.option("--calib", help=f"to take BatchNorm statistics from, for every net; {DATA_HELP}")
@click.option("--calib-images", type=COUNT, help="how many of them")
@click.option("--labels", type=PATH, help="class names, one per line")
@click.option("--policy", type=PATH, help="controller policy (JSON) that travels in the bundle")
@checkpoint_options
@click.option("--name", help="name of the net in the manifest [the network's]")
@click.option("--model-version", help="its version [1]")
@click.option("--author", help="its author")
@click.option("--licence", help="its licence")
@click.option("--jobs", type=Whole(1, 1024), help="worker processes [cores and memory decide]")
@click.option("--keep-artifacts", type=PATH, help="folder for the exporters' own files")
@click.option("--into", type=PATH, help="add to this bundle of the same net")
@click.option("--dry-run", is_flag=True, help="say what would be made and how big")
@click.option("--overwrite", is_flag=True, help="replace an existing bundle")
@common_options
def command(
    *,
    checkpoint: Path,
    wanted: str,
    widths: str | None,
    out: Path | None,
    weights: Literal["fp32", "fp16"],
    precisions: tuple[str, ...],
    coreml_precision: Literal["fp16", "auto", "fp32"] | None,
    input_sizes: tuple[int, ...],
    input_option: str,
    calib: str | None,
    calib_images: int | None,
    labels: Path | None,
    policy: Path | None,
    model: str | None,
    trained_widths: str | None,
    jobs: int | None,
    keep_artifacts: Path | None,
    into: Path | None,
    dry_run: bool,
    overwrite: bool,
    console: Console,
    **about: str | None,
) -> None:
    """Export every net of CHECKPOINT for every target and keep one bundle that rebuilds each file byte for byte."""
    from edgeslim.data.named import load_data
    from edgeslim.deploy.export_job import ExportJob
    from edgeslim.deploy.pack import default_jobs, pack
    from edgeslim.deploy.pack_plan import PackOptions, make_plan
    from edgeslim.targets.base import InputOption

    names = _installed() if wanted == "all" else tuple(name.strip() for name in wanted.split(","))
    loaded = load_named(checkpoint, console, model=model, trained_widths=trained_widths)
    path = out or into or checkpoint.with_suffix(".slim")
    spec = loaded.spec
    calibration = None
    if calib is not None:
        calibration = load_data(
            calib, "calib", input_size=spec.input_size, in_channels=spec.in_channels, images=calib_images
        )
    options = PackOptions(
        targets=names,
        out=path,
        nets=None if widths is None else resolve_widths(widths, loaded.trained),
        precisions=tuple(name.strip() for text in precisions for name in text.split(",")),
        target_precisions={} if coreml_precision is None else {"coreml": (coreml_precision,)},
        weights=weights,
        input_sizes=input_sizes,
        input_option=InputOption(input_option),
        calibration=calibration,
        labels=None if labels is None else _read_labels(labels),
        policy=policy,
        about={key.removeprefix("model_"): value for key, value in about.items() if value is not None},
        jobs=jobs,
        keep_artifacts=keep_artifacts,
        into=into,
        overwrite=overwrite,
    )
    if dry_run:
        plan = make_plan(loaded, options)
        for note in plan.notes:
            console.warn(note)
        console.say(f"would write {path}: a little more than {size(plan.weights_bytes)}, {plan.artifacts} artifacts")
        planned = plan.report(path)
        console.result(planned, _plan_table(planned))
        return
    blind = _not_run_here(names)
    for name, error in blind.items():
        console.warn(f"{name} is packed but not run here: {error.message} ({error.hint})")
    console.say(f"packing {checkpoint} for {', '.join(names)} with {jobs or default_jobs(names)} worker processes")
    with console.progress("last") as bar:
        task = bar.add_task("exporting", total=None, last="")

        def progress(job: ExportJob, seconds: float) -> None:
            bar.update(task, advance=1, last=f"{job.target} {job.net}: {seconds:.1f} s")
            console.detail(f"{job.target} {job.precision} {job.net} at {job.size} px exported in {seconds:.1f} s")

        report = pack(loaded, options, progress=progress)
    for note in report.notes:
        console.warn(note)
    console.result(report, _table(console, report))
    for one in report.failed:
        console.warn(f"{one.target} is not in the bundle: {one.message}" + (f" ({one.hint})" if one.hint else ""))
    told = {error.message for error in blind.values()}
    for reason in dict.fromkeys(row.reason for row in report.rows if row.reason and row.reason not in told):
        console.warn(f"packed but not run: {reason}")
    separate = sum(row.artifact_bytes for row in report.rows)
    console.say(
        f"{report.bundle}: {size(report.bytes)}, {report.bytes / report.weights_bytes:.3f}x the full-width weights; "
        f"the {len(report.rows)} files packed now have {size(separate)}"
    )
    last = report.rows[-1]
    suffix = targets.get(last.target).info.suffix
    if report.failed:
        rest = ",".join(one.target for one in report.failed)
        words = again(without=("--target", "--out", "--into", "--keep-artifacts"))
        console.next_commands(step(words, "--target", rest, "--into", report.bundle))
        raise click.exceptions.Exit(ExportError.exit_code)
    console.next_commands(
        step("verify", report.bundle),
        *(
            step("bench", report.bundle, "--target", name, "-o", fresh("table.json"))
            for name in _measured_here(names)[:1]
        ),
        step("export", report.bundle, "--artifact", last.artifact, "-o", fresh(f"model{suffix}")),
    )


def _not_run_here(names: Sequence[str]) -> dict[str, MissingExtraError]:
    """Targets that can be exported for and whose files cannot be run: known before the exports."""
    found = {}
    for name in names:
        try:
            targets.get(name).info.ensure_available(exporting=False)
        except MissingExtraError as error:
            found[name] = error
    return found


def _measured_here(names: Sequence[str]) -> list[str]:
    return [name for name in names if targets.get(name).info.runs_here]


def _installed() -> tuple[str, ...]:
    """Every target whose exporter is installed.

    Raises:
        MissingExtraError: none is.
    """
    there, missing = [], None
    for name in targets.names():
        try:
            targets.get(name).info.ensure_available(exporting=True)
        except MissingExtraError as error:
            missing = missing or error
        else:
            there.append(name)
    if not there and missing is not None:
        raise missing
    return tuple(there)


def _read_labels(path: Path) -> list[str]:
    try:
        return read_file(path, most_bytes=_MOST_LABEL_BYTES).decode("utf-8").splitlines()
    except OSError as error:
        raise DataError(f"cannot read labels {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"labels {path} are not UTF-8 text") from error


def _plan_table(plan: PlanReport) -> Table:
    table = Table("target", "precision", "input", "nets")
    nets: dict[tuple[str, str, str], list[str]] = {}
    for row in plan.rows:
        nets.setdefault((row.target, row.precision, row.input), []).append(row.net)
    for key, names in nets.items():
        table.add_row(*key, ", ".join(names))
    return table


def _table(console: Console, report: PackReport) -> Table:
    heads = ("artifact", "file", "kept", "from weights", "SQNR dB", "export s")
    rows = (
        (
            row.artifact,
            size(row.artifact_bytes),
            size(row.kept_bytes),
            f"{100 * row.explained_share:.2f} %",
            "not run" if row.sqnr_db is None else f"{row.sqnr_db:.1f}",
            "" if row.seconds is None else f"{row.seconds:.1f}",
        )
        for row in report.rows
    )
    return console.artifact_table(str(report.bundle), heads, rows, note=KEPT)
