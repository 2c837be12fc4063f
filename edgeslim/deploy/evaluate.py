"""What the task measures of every width, of a checkpoint or of a bundle's rebuilt files.

    CalibratedModel ─► static net of a width ─┐
    SlimBundle ─► rebuilt file ─► runtime ────┴─► measure ─► Score ─► with_accuracies ─► Checkpoint

Each net is measured once, whatever the number of names asked for it. The nets of a checkpoint are also watched while
they run: a BatchNorm whose statistics do not fit is named (``Score.misfits``).
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgeslim import targets
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.latency import label_of
from edgeslim.core.manifest import Variant, artifact_id
from edgeslim.core.width import Width, net_id
from edgeslim.data.images import ImageSet
from edgeslim.deploy.calibration.calibrate import CalibratedModel, prepared_for
from edgeslim.deploy.calibration.check import NormFit, fits, watched
from edgeslim.deploy.reports import ScoreRow
from edgeslim.deploy.task_of import task_of, task_of_bundle
from edgeslim.deploy.verify import image_of
from edgeslim.errors import CheckpointError, DataError, UsageError
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.models.count import count
from edgeslim.models.devices import exact
from edgeslim.targets.base import Runner
from edgeslim.tasks.base import Answers, Metric, Outputs
from edgeslim.tasks.evaluation import measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How good one net, or one ``artifact`` in its runtime, is: what the task measured, and which of these values
    (``metric``) says so.

    ``net``: the id that a bundle gives it. ``widths``: the asked ones that are this net, narrowest first; none of a
    vector of channels. ``agreement``: share of images on which it answers as the widest trained width does, where that
    was measured too. ``misfits``: BatchNorms with statistics that do not fit.
    """

    net: str
    widths: tuple[Width, ...]
    artifact: str | None = None
    precision: str = "fp32"
    macs: int
    values: Mapping[str, float]
    metric: str
    larger_is_better: bool
    agreement: float | None
    misfits: tuple[NormFit, ...] = ()

    @property
    def value(self) -> float:
        return self.values[self.metric]

    @property
    def label(self) -> str:
        return label_of(self.net)


def evaluate_checkpoint(
    model: CalibratedModel,
    data: ImageSet,
    widths: Sequence[Width],
    *,
    batch_size: int = 128,
    device: torch.device | str = "cpu",
    on_width: Callable[[Width], None] = lambda width: None,
) -> list[Score]:
    """Score every net among ``widths``, ascending; images are prepared as the checkpoint says.

    Raises:
        WidthError: a width without statistics.
        DataError: the images' classes are not the net's.
        CheckpointError: a net answers with NaN.
    """
    checkpoint = model.checkpoint()
    _check_classes(data, checkpoint.spec.num_classes)
    nets = model.distinct(widths)
    for width in nets:
        model.check(width)
    task, data = task_of(checkpoint), prepared_for(checkpoint, data).decoded()
    scores: list[Score] = []
    widest: Tensor | None = None
    for width in sorted(nets, reverse=True):
        net = model.static(width)
        macs = count(net, width, checkpoint.spec.input_size).macs
        net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        with watched(net) as found, exact(torch.device(device)):
            metric = measure(task, net, data.batches(batch_size, device))
        answers, values = _answers(metric), metric.result()
        _check_finite(values, width)
        if checkpoint.spec.high in (width, *nets[width]):
            widest = answers
        scores.append(
            Score(
                net=net_id(width.permille),
                widths=(width, *nets[width]),
                macs=macs,
                values=values,
                metric=metric.primary,
                larger_is_better=metric.larger_is_better,
                agreement=_agreement(answers, widest),
                misfits=tuple(fit for fit in fits(net, found, len(data)) if not fit.fits),
            )
        )
        on_width(width)
    return scores[::-1]


def evaluate_bundle(
    bundle: SlimBundle,
    artifacts: Sequence[str],
    data: ImageSet,
    *,
    threads: int = 1,
    on_artifact: Callable[[str], None] = lambda artifact: None,
) -> list[Score]:
    """Rebuild every artifact, by id, run it in its runtime, score it; narrow nets first.

    Raises:
        UsageError: the bundle has no such artifact.
        DataError: the images' size or classes are not the net's.
        MissingExtraError: a runtime is not installed.
    """
    found = {artifact_id(v.id, a.net): (v, a) for v, a in map(bundle.find, artifacts)}
    task, data = task_of_bundle(bundle.manifest), data.decoded()
    scores: list[Score] = []
    widest: dict[str, Tensor] = {}
    for identifier, (variant, artifact) in sorted(found.items(), key=lambda one: one[1][1].macs, reverse=True):
        net = bundle.resolve(artifact.net)
        runtime = targets.get(variant.target)
        with tempfile.TemporaryDirectory(prefix="edgeslim-evaluate-") as folder:
            rebuilt = bundle.rebuild_artifact(identifier, Path(folder) / f"model{variant.suffix}")
            runner = runtime.load(rebuilt.path, threads=threads)
            try:
                images = _as_wanted(runner, bundle, variant, data)
                metric = measure(task, _prediction(runner), images.batches(32))
            finally:
                runner.close()
        answers, values = _answers(metric), metric.result()
        _check_finite(values, label_of(net.id))
        if bundle.manifest.high in net.widths and answers is not None:
            widest[variant.id] = answers
        scores.append(
            Score(
                artifact=identifier,
                net=net.id,
                widths=tuple(map(Width, net.widths)),
                precision=variant.precision,
                macs=artifact.macs,
                values=values,
                metric=metric.primary,
                larger_is_better=metric.larger_is_better,
                agreement=_agreement(answers, widest.get(variant.id)),
            )
        )
        on_artifact(identifier)
    return scores[::-1]


def score_rows(scores: Sequence[Score]) -> tuple[ScoreRow, ...]:
    """A row for every name of every net, from narrow to wide."""
    rows = (
        ScoreRow(
            permille=None if width is None else width.permille,
            net=score.net,
            artifact=score.artifact,
            precision=score.precision,
            metric=score.metric,
            value=score.value,
            values=score.values,
        )
        for score in scores
        for width in score.widths or (None,)
    )
    return tuple(sorted(rows, key=lambda row: (row.permille or 0, row.artifact or "")))


def with_accuracies(model: CalibratedModel, scores: Sequence[Score], data: ImageSet) -> Checkpoint:
    """The checkpoint with ``scores`` kept with their nets; ``pack`` takes them from there."""
    return model.checkpoint().with_accuracies(
        {
            one.widths[0]: {
                "data": data.name,
                "split": data.split,
                "images": len(data),
                "data_sha256": data.data_sha256,
                **one.values,
                "metric": one.metric,
                "larger_is_better": one.larger_is_better,
                "agreement": one.agreement,
            }
            for one in scores
        }
    )


def _answers(metric: Metric) -> Tensor | None:
    return metric.answers if isinstance(metric, Answers) else None


def _agreement(answers: Tensor | None, widest: Tensor | None) -> float | None:
    return None if answers is None or widest is None else float((answers == widest).double().mean())


def _check_classes(data: ImageSet, num_classes: int) -> None:
    if data.num_classes != num_classes:
        raise DataError(
            f"{data.name} has {data.num_classes} classes, the net has {num_classes}",
            hint="evaluate on the data it was trained for",
        )


def class_names(data: ImageSet, labels: Sequence[str] | None) -> str | None:
    """What people should know where the classes of ``data`` and those of the net have other names; None: nothing.

    Answers are compared by their place, so that other names may be the same classes said differently, or other ones.

    Raises:
        DataError: the same names in another order: every answer would be counted for another class.
    """
    if labels is None or len(labels) != data.num_classes or tuple(labels) == data.classes:
        return None
    place = next(i for i, (ours, theirs) in enumerate(zip(labels, data.classes, strict=True)) if ours != theirs)
    words = f"class {place} is {labels[place]!r} for the net and {data.classes[place]!r} in {data.name}"
    if set(labels) == set(data.classes):
        raise DataError(
            f"the classes of {data.name} stand in another order: {words}",
            hint="pack with --labels in the order that the net was trained with",
        )
    common = len(set(labels) & set(data.classes))
    return f"{words}; {common} of {len(labels)} names are the same, and answers are compared by their place"


def _check_finite(values: Mapping[str, float], net: object) -> None:
    if not all(map(math.isfinite, values.values())):
        raise CheckpointError(f"the net at {net} does not answer with finite numbers")


def _as_wanted(runner: Runner, bundle: SlimBundle, variant: Variant, data: ImageSet) -> ImageSet:
    """``data`` normalised for the file: as the manifest says, or not at all where it takes pixels."""
    (spec,), contract = runner.inputs, image_of(bundle, variant.input)
    channels, size = (spec.shape[3], spec.shape[1]) if spec.layout == "NHWC" else (spec.shape[1], spec.shape[2])
    if (data.in_channels, data.input_size) != (channels, size):
        raise DataError(
            f"the images have {data.in_channels} channels of {data.input_size} px, the file takes {channels} of {size}"
        )
    classes = bundle.manifest.model.spec.get("num_classes")
    if isinstance(classes, int):
        _check_classes(data, classes)
    plain = spec.dtype == "uint8"  # then the numbers are the bytes
    return data.prepared_as(
        dataclasses.replace(
            data.contract,
            mean=("0",) * channels if plain else contract.mean,
            std=("0.003921569",) * channels if plain else contract.std,
        )
    )


def _prediction(runner: Runner) -> Callable[[Tensor], Outputs]:
    """Runs images one by one, in the layout and dtype of the file's input."""
    (spec,) = runner.inputs
    if spec.dtype not in ("float32", "uint8"):
        raise UsageError(f"cannot feed {spec.dtype} images")

    def predict(images: Tensor) -> Outputs:
        if spec.layout == "NHWC":
            images = images.permute(0, 2, 3, 1)
        if spec.dtype == "uint8":
            images = images.round().to(torch.uint8)
        array = images.contiguous().numpy()
        rows = [runner.run({spec.name: array[index : index + 1]}) for index in range(len(array))]
        return {
            output.name: torch.from_numpy(np.concatenate([row[output.name] for row in rows]).astype(np.float32))
            for output in runner.outputs
        }

    return predict
