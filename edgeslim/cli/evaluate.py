"""``edgeslim evaluate``: loss and accuracy of the nets of a checkpoint, or of a bundle's artifacts in their runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from edgeslim.cli.checkpoint_options import checkpoint_options, load_named
from edgeslim.cli.console import Console, common_options, resolve_widths
from edgeslim.cli.data_options import data_options, device_option, load
from edgeslim.cli.measured import measured_head, measured_text
from edgeslim.core.width import Width
from edgeslim.deploy.reports import EvaluateReport
from edgeslim.errors import CheckpointError, UsageError
from edgeslim.files import check_free

if TYPE_CHECKING:
    from edgeslim.core.bundle import SlimBundle
    from edgeslim.core.manifest import Net
    from edgeslim.data.images import ImageSet
    from edgeslim.deploy.evaluate import Score
    from edgeslim.models.checkpoint import Checkpoint


@click.command("evaluate")
@click.argument("source", metavar="CKPT|BUNDLE", type=click.Path(path_type=Path))
@data_options(split="test", images="measure on so many only, evenly spread")
@click.option("--widths", help="[default: those with statistics; all of a bundle]")
@click.option("--artifact", "artifacts", multiple=True, help="of a bundle: one artifact by its id (repeatable)")
@checkpoint_options
@click.option("--target", help="runtime that a bundle's files run in  [default: its only target]")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="of a bundle's runtime")
@click.option("--batch-size", type=click.IntRange(1), default=128, show_default=True, help="of a checkpoint")
@device_option
@click.option("--plot", type=click.Path(path_type=Path), help="PNG of accuracy against multiply-adds")
@click.option("--write", is_flag=True, help="keep the accuracies in the checkpoint; pack takes them from there")
@click.option("--overwrite", is_flag=True, help="replace an existing plot")
@common_options
def command(
    *,
    source: Path,
    widths: str | None,
    artifacts: tuple[str, ...],
    model: str | None,
    trained_widths: tuple[Width, ...] | None,
    target: str | None,
    threads: int,
    batch_size: int,
    device: str,
    plot: Path | None,
    write: bool,
    overwrite: bool,
    console: Console,
    **options: Any,
) -> None:
    """Measure every net, or every artifact of a bundle, on the test images.

    That gives loss, top-1 and top-5, or what the task of the net measures.
    """
    if plot is not None:
        check_free(plot, overwrite=overwrite)
    from edgeslim.deploy.evaluate import score_rows

    scores: Sequence[Score]
    if _is_bundle(source):
        if write:
            raise UsageError("--write keeps accuracies in a checkpoint, not in a bundle", hint="evaluate CKPT --write")
        if device != "auto":
            raise UsageError("--device is for checkpoints: a bundle's files run in their runtime", hint="leave it out")
        if model is not None or trained_widths is not None:
            raise UsageError("--model and --trained-widths are for published state dicts", hint="leave it out")
        title, images, scores = _bundle(source, widths, target, artifacts, threads, options, console)
    else:
        if target is not None or artifacts:
            raise UsageError(
                "--target and --artifact are for bundles: a checkpoint is measured in PyTorch", hint="leave it out"
            )
        loaded = load_named(source, console, model=model, trained_widths=trained_widths)
        title, images, scores = _checkpoint(
            loaded, source, widths, batch_size, device, options, write=write, console=console
        )
    report = EvaluateReport(data=images.name, images=len(images), rows=score_rows(scores))
    console.result(report, _table(console, title, scores))
    if plot is not None:
        from edgeslim.deploy.spectrum import write_spectrum

        write_spectrum(scores, title, plot, overwrite=overwrite)
        console.say(f"{plot}: accuracy against multiply-adds")
    if write:
        console.say(f"{source}: accuracies of {len(scores)} nets kept")
        console.next_commands(f"edgeslim pack {source} --target all")


_BUNDLE = b'{"__metadata__":{"format":"edgeslim"'


def _is_bundle(path: Path) -> bool:
    """A safetensors file of ours: after eight bytes of length its JSON begins, and says so first."""
    try:
        with open(path, "rb") as file:
            return file.read(8 + len(_BUNDLE))[8:] == _BUNDLE
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path}: {error.strerror or error}",
            hint="edgeslim train makes a checkpoint, edgeslim pack a bundle",
        ) from error


def _checkpoint(
    checkpoint: Checkpoint,
    path: Path,
    widths: str | None,
    batch_size: int,
    device: str,
    options: dict[str, Any],
    *,
    write: bool,
    console: Console,
) -> tuple[str, ImageSet, list[Score]]:
    from edgeslim.deploy.calibration.calibrate import CalibratedModel
    from edgeslim.deploy.evaluate import evaluate_checkpoint, with_accuracies
    from edgeslim.models.devices import pick

    chosen_device = pick(device)
    if write and "imported_from" in checkpoint.provenance:
        raise UsageError(
            f"{path} is a state dict, which stays as it is",
            hint=f"edgeslim calibrate {path} --data {options['data']} -o calibrated.pt, then evaluate that",
        )
    chosen = resolve_widths(widths, checkpoint.trained) if widths else checkpoint.ladder
    if not chosen:
        raise CheckpointError(
            f"{path} has no BatchNorm statistics for any width",
            hint=f"edgeslim calibrate {path} --data {options['data']} -o calibrated.pt",
        )
    images = load(options, checkpoint.spec)
    model = CalibratedModel.from_checkpoint(checkpoint)
    with console.progress() as bar:
        task = bar.add_task("evaluating", total=len(model.distinct(chosen)))
        scores = evaluate_checkpoint(
            model,
            images,
            chosen,
            batch_size=batch_size,
            device=chosen_device,
            on_width=lambda width: bar.advance(task),
        )
    for one in scores:
        if one.misfits:
            worst = max(one.misfits, key=lambda fit: max(fit.shift, fit.spread))
            width = one.widths[0]
            console.warn(
                f"width {width}: statistics of {len(one.misfits)} BatchNorms do not fit these images ({worst}); "
                f"edgeslim calibrate {path} --data DATA --widths {width}"
            )
            for fit in one.misfits:
                console.detail(f"  {fit}")
    if write:
        with_accuracies(model, scores, images).save(path, overwrite=True)
    return f"{checkpoint.spec.name} on {images.name}", images, scores


def _bundle(
    path: Path,
    widths: str | None,
    target: str | None,
    artifacts: tuple[str, ...],
    threads: int,
    options: dict[str, Any],
    console: Console,
) -> tuple[str, ImageSet, list[Score]]:
    from edgeslim.cli.bundle_options import chosen_nets, target_name
    from edgeslim.core.addressing import artifacts as addressed
    from edgeslim.core.bundle import SlimBundle
    from edgeslim.core.manifest import artifact_id
    from edgeslim.deploy.evaluate import evaluate_bundle
    from edgeslim.models.spec import ModelSpec

    with SlimBundle.open(path) as bundle:
        manifest = bundle.manifest
        there = sorted({variant.target for variant in manifest.variants})
        if target is None and len(there) != 1 and not artifacts:
            raise UsageError(
                f"{path} has files for {', '.join(there) or 'no target'}", hint=f"--target {(there or ['TARGET'])[0]}"
            )
        names = None if artifacts and target is None else [target_name(manifest, target or there[0])]
        fitting = addressed(manifest, targets=names, nets=_resolved(bundle, chosen_nets(bundle, widths)))
        chosen = list(artifacts) or [artifact_id(variant.id, artifact.net) for variant, artifact in fitting]
        images = load(options, ModelSpec.from_json(manifest.model.spec))
        with console.progress() as bar:
            task = bar.add_task("running", total=len(chosen))
            scores = evaluate_bundle(
                bundle, chosen, images, threads=threads, on_artifact=lambda artifact: bar.advance(task)
            )
    return f"{manifest.model.id} on {images.name}", images, scores


def _resolved(bundle: SlimBundle, widths: list[Width | str] | None) -> list[Net] | None:
    return None if widths is None else [bundle.resolve(width) for width in widths]


def _table(console: Console, title: str, scores: Sequence[Score]) -> Table:
    measured = tuple(scores[0].values)
    return console.artifact_table(
        title,
        ("net", "MACs", *map(measured_head, measured), "agreement %", "also called"),
        (
            (
                one.artifact or one.label,
                f"{one.macs:,}",
                *(measured_text(name, one.values[name]) for name in measured),
                "" if one.agreement is None else f"{100 * one.agreement:.1f}",
                " ".join(f"{name}x" for name in one.widths[1:]),
            )
            for one in scores
        ),
        note="agreement: share of the answers that the widest net gives too",
    )
