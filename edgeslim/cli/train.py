"""``edgeslim train``: data ─► slimmable net ─► calibrated checkpoint with its accuracy per width.

us.pt             the result
us.log.jsonl      one line per step: learning rate, loss per width
us.pt.resume      while the run is unfinished; ``--resume`` goes on from it
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from edgeslim import models, tasks
from edgeslim.cli.checkpoint_options import trained_widths_option
from edgeslim.cli.console import WIDTH, WIDTHS, Console, common_options, resolve_widths
from edgeslim.cli.data_options import DATA_HELP, device_option
from edgeslim.cli.measured import measured_head, measured_text
from edgeslim.core.width import Width
from edgeslim.deploy.reports import TrainReport
from edgeslim.errors import UsageError
from edgeslim.files import check_free, sha256_file

if TYPE_CHECKING:
    from edgeslim.data.images import ImageSet
    from edgeslim.deploy.evaluate import Score
    from edgeslim.models.layouts import Source
    from edgeslim.models.slimmable import SlimmableModel
    from edgeslim.models.spec import ModelSpec
    from edgeslim.models.warm_start import WarmStart
    from edgeslim.training.config import TrainConfig
    from edgeslim.training.loop import Trainer
    from edgeslim.training.teachers import Teacher


@click.command()
@click.option("--model", help=f"network: {', '.join(models.names())}  [default: that of --init]")
@click.option("--data", default="digits", show_default=True, help=DATA_HELP)
@click.option("--task", default="classify", show_default=True, help=f"what it learns: {tasks.words()}")
@click.option("--data-root", type=click.Path(path_type=Path), help="where downloaded sets are kept")
@click.option("--download", is_flag=True, help="fetch the data set if it is missing")
@click.option("--images", type=click.IntRange(1), help="train on so many images only")
@click.option("--workers", type=click.IntRange(0), default=2, show_default=True, help="processes that decode photos")
@click.option("--widths", help="trained range lo:hi; for an s_ network a list  [default: 0.25:1.0]")
@click.option("--ladder", type=WIDTHS, help="widths to calibrate, and to draw from  [default: 4 over the range]")
@click.option("--input-size", type=click.IntRange(8), help="pixels per side  [default: the data set's]")
@click.option("--norm", type=click.Choice(["batch", "none"]), default="batch", show_default=True)
@click.option("--init", help="start from a checkpoint or state dict FILE, or torchvision:NAME")
@trained_widths_option
@click.option(
    "--teacher", default="none", show_default=True, help="soft targets from: ema, a checkpoint FILE, or the net"
)
@click.option("--epochs", type=click.IntRange(1))
@click.option("--batch-size", type=click.IntRange(2), help="over all processes")
@click.option("--optimizer", type=click.Choice(["sgd", "adamw"]), default="sgd", show_default=True)
@click.option("--lr", type=float, help="peak learning rate")
@click.option("--schedule", type=click.Choice(["cosine", "linear"]), default="cosine", show_default=True)
@click.option("--warmup", type=float, default=1.0, show_default=True, help="epochs")
@click.option("--weight-decay", type=float)
@click.option("--label-smoothing", type=float, help="of the widest")
@click.option("--clip", type=float, default=5.0, show_default=True, help="largest gradient norm, 0: none")
@click.option("--jitter", type=float, default=0.0, show_default=True, help="colour jitter")
@click.option("--n-widths", type=click.IntRange(1), help="widths per step  [default: 4; s_ networks: all]")
@click.option("--sample", type=click.Choice(["ladder", "continuous"]), help="[default: ladder where one is given]")
@click.option("--no-distill", is_flag=True, help="hard labels for every width (ablation)")
@click.option("--plain-distill", is_flag=True, help="soft targets as in the paper, however wrong the teacher is")
@click.option("--no-bounds", is_flag=True, help="all widths random: no widest, no narrowest (ablation)")
@click.option("--alone", type=WIDTH, help="a net of this one width (baseline)")
@click.option("--seed", type=int, default=0, show_default=True)
@device_option
@click.option("--save-seconds", type=float, default=60.0, show_default=True, help="between two resume files")
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="checkpoint to write")
@click.option("--resume", is_flag=True, help="go on with a killed run")
@click.option("--overwrite", is_flag=True)
@common_options
def command(*, console: Console, **o: Any) -> None:
    """Train a slimmable network, calibrate its ladder and measure it on the test images."""
    from edgeslim.data.named import load_data
    from edgeslim.models.devices import pick
    from edgeslim.models.warm_start import open_source, warm_start
    from edgeslim.training.allocator import keep_freed_memory
    from edgeslim.training.distributed import joined
    from edgeslim.training.loop import Trainer
    from edgeslim.training.resume import RunFiles
    from edgeslim.training.start import fresh

    check_free(o["out"], overwrite=o["overwrite"])
    device = pick(o["device"])
    keep_freed_memory()
    data = load_data(o["data"], "train", images=o["images"], **_source(o))
    start = open_source(o["init"], widths=o["trained_widths"]) if o["init"] else None
    if start is not None:
        data = _as_seen(data, start, console)
    spec = _spec(o, data, start)
    ladder = _ladder(o, spec)
    files = RunFiles(out=o["out"])
    with joined(device) as ranks:
        console.quiet = console.quiet or not ranks.first
        model = fresh(spec, o["seed"])
        if start is not None:
            _say_start(warm_start(model, start), console)
        teacher = _teacher(o["teacher"], model, data, o["trained_widths"])
        trainer = Trainer(
            model.to(device),
            data,
            _config(o, spec, data, ladder),
            teacher=teacher,
            ranks=ranks,
            files=files,
            device=device,
            save_seconds=o["save_seconds"],
        )
        _train(trainer, console, resume=o["resume"])
        if ranks.first:
            _finish(trainer, o, ladder, console)
            files.resume.unlink(missing_ok=True)


def _source(o: dict[str, Any]) -> dict[str, Any]:
    """Where images come from, whatever the split."""
    return {
        "input_size": o["input_size"],
        "root": o["data_root"],
        "download": o["download"],
        "workers": o["workers"],
    }


def _spec(o: dict[str, Any], data: ImageSet, start: Source | None) -> ModelSpec:
    from edgeslim.models.registry import make_spec, network
    from edgeslim.training.widths import DEFAULT_RANGE, parse_trained

    name = o["model"] or (start.network if start else None)
    if name is None:
        raise UsageError("no network given", hint="--model us_mobilenet_v2")
    listed = network(name).listed
    widths = (o["alone"],) if o["alone"] else parse_trained(o["widths"]) if o["widths"] else None
    chosen: dict[str, Any] = {}
    if listed:
        chosen = {"widths": widths}
    else:
        low_high = widths or DEFAULT_RANGE
        chosen = {"low": low_high[0], "high": low_high[-1]}
    return make_spec(
        name,
        num_classes=data.num_classes,
        input_size=data.input_size,
        in_channels=data.in_channels,
        norm=o["norm"],
        **chosen,
    )


def _ladder(o: dict[str, Any], spec: ModelSpec) -> tuple[Width, ...]:
    if spec.low == spec.high:
        return (spec.low,)
    if o["ladder"]:
        return resolve_widths(o["ladder"], (spec.low, spec.high))
    return spec.widths or resolve_widths("4", (spec.low, spec.high))


def _config(o: dict[str, Any], spec: ModelSpec, data: ImageSet, ladder: tuple[Width, ...]) -> TrainConfig:
    from edgeslim.data.augment import Augment
    from edgeslim.training.config import TrainConfig, defaults_for
    from edgeslim.training.optim import OptimConfig
    from edgeslim.training.sandwich import Sandwich

    known = defaults_for(data.name, data.input_size)
    batch_size = o["batch_size"] or known.batch_size
    sample = o["sample"] or ("ladder" if o["ladder"] or spec.widths else "continuous")

    def or_default(name: str) -> Any:
        return getattr(known, name) if o[name] is None else o[name]

    return TrainConfig(
        data=data.name,
        data_sha256=data.known_sha256,
        task=o["task"],
        epochs=or_default("epochs"),
        batch_size=batch_size,
        sandwich=Sandwich(
            low=spec.low,
            high=spec.high,
            ladder=(spec.widths or ladder) if sample == "ladder" else None,
            per_step=o["n_widths"] or len(spec.widths) or 4,
            bounds=not o["no_bounds"],
        ),
        optim=OptimConfig(
            optimizer=o["optimizer"],
            lr=known.lr_for(o["optimizer"], batch_size) if o["lr"] is None else o["lr"],
            weight_decay=or_default("weight_decay"),
            schedule=o["schedule"],
            warmup=o["warmup"],
            clip=o["clip"],
        ),
        augment=Augment(padding=known.padding_for(data.input_size), flip=data.flips, jitter=o["jitter"]),
        label_smoothing=or_default("label_smoothing"),
        teacher=_teacher_name(o["teacher"]),
        distill="none" if o["no_distill"] else "plain" if o["plain_distill"] else "trusted",
        seed=o["seed"],
    )


def _say_start(done: WarmStart, console: Console) -> None:
    if done.sorted_bundles:
        console.say(f"channels sorted by importance in {done.sorted_bundles} places")
    for note in done.notes:
        console.say(note)


def _as_seen(data: ImageSet, start: Source, console: Console) -> ImageSet:
    """The images as the weights that training starts from are used to see them."""
    for note in start.notes:
        console.say(note)
    known = start.input
    if known is None or known.channels != data.in_channels:
        return data
    contract = dataclasses.replace(data.contract, mean=known.mean, std=known.std, interpolation=known.interpolation)
    if contract != data.contract:
        console.say(
            f"images as {start.what} saw them: {known.interpolation}, mean {', '.join(known.mean)}, "
            f"standard deviation {', '.join(known.std)}"
        )
    return data.prepared_as(contract)


def _teacher_name(name: str) -> str:
    """What the settings of a run say of its teacher: a file by its content, as a path says little."""
    return {"none": "inplace", "ema": "ema"}.get(name) or sha256_file(Path(name))


def _teacher(
    name: str, model: SlimmableModel, data: ImageSet, trained_widths: tuple[Width, ...] | None
) -> Teacher | None:
    from edgeslim.training.teachers import EmaTeacher, teacher_from_file

    if name == "none":
        return None
    return EmaTeacher(model, model.spec.high) if name == "ema" else teacher_from_file(name, data, widths=trained_widths)


def _train(trainer: Trainer, console: Console, *, resume: bool) -> None:
    """Run to the end under a progress bar (rank 0 only)."""
    from edgeslim.training.loop import Progress

    first = trainer.ranks.first
    if resume and trainer.resume() and first:
        console.say(f"resuming at step {trainer.step} of {trainer.steps}")
    with console.progress("losses", "speed") as bar:
        task = bar.add_task("training", total=trainer.steps, completed=trainer.step, losses="", speed="")

        def show(progress: Progress) -> None:
            losses = "  ".join(f"{Width(int(p))}x {loss:.3f}" for p, loss in progress.losses.items())
            bar.update(task, completed=progress.step, losses=losses, speed=f"{progress.images_per_s:.0f} images/s")

        trainer.report = show
        trainer.run()


def _finish(trainer: Trainer, o: dict[str, Any], ladder: tuple[Width, ...], console: Console) -> None:
    """Calibrate, measure, write the checkpoint, say what comes next."""
    from edgeslim.data.named import load_data
    from edgeslim.deploy.calibration.calibrate import calibrate
    from edgeslim.deploy.evaluate import evaluate_checkpoint, score_rows, with_accuracies

    data, source = trainer.data, {**_source(o), "in_channels": trainer.data.in_channels}
    calib, test = (
        load_data(o["data"], split, **{**source, "input_size": data.input_size}) for split in ("calib", "test")
    )
    with console.progress() as bar:
        task = bar.add_task("calibrating", total=len(ladder))
        calibrated = calibrate(
            trainer.checkpoint(), calib, ladder, device=trainer.device, on_net=lambda net: bar.advance(task)
        )
    scores = evaluate_checkpoint(calibrated, test, ladder, device=trainer.device)
    with_accuracies(calibrated, scores, test).save(o["out"], overwrite=o["overwrite"])
    report = TrainReport(
        checkpoint=o["out"],
        epochs=trainer.config.epochs,
        task=trainer.config.task,
        metric=scores[0].metric,
        rows=score_rows(scores),
    )
    console.result(report, _table(scores))
    console.next_commands(
        f"edgeslim evaluate {o['out']} --data {o['data']} --plot spectrum.png",
        f"edgeslim pack {o['out']} --target all",
    )


def _table(scores: list[Score]) -> Table:
    measured = tuple(scores[0].values)
    table = Table("width", *map(measured_head, measured))
    for one in scores:
        table.add_row(str(one.widths[0]), *(measured_text(name, one.values[name]) for name in measured))
    return table
