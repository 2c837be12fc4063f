"""Loss and accuracy of every width, of a checkpoint or of a bundle's rebuilt files.

    CalibratedModel ─► static net of a width ─┐
    SlimBundle ─► rebuilt file ─► runtime ────┴─► score ─► WidthScore ─► with_accuracies ─► Checkpoint

Each net is measured once, whatever the number of names asked for it. The nets of a checkpoint are also watched while
they run: a BatchNorm whose statistics do not fit is named (``WidthScore.misfits``).
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgeslim import targets
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.width import Width
from edgeslim.data.images import ImageSet
from edgeslim.deploy.calibration.calibrate import CalibratedModel, normalised_for
from edgeslim.deploy.calibration.check import NormFit, fits, watched
from edgeslim.errors import CheckpointError, DataError, UsageError
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.models.count import count
from edgeslim.models.devices import exact
from edgeslim.targets.base import Runner
from edgeslim.tasks.evaluation import score


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthScore:
    """How good one net is; shares in [0, 1].

    ``aliases``: other asked widths that are the same net. ``agreement``: share of images on which it answers as the
    widest trained width does, where that was measured too. ``misfits``: BatchNorms with statistics that do not fit.
    """

    width: Width
    aliases: tuple[Width, ...]
    macs: int
    loss: float
    top1: float
    top5: float
    agreement: float | None
    misfits: tuple[NormFit, ...] = ()


def evaluate_checkpoint(
    model: CalibratedModel,
    data: ImageSet,
    widths: Sequence[Width],
    *,
    batch_size: int = 128,
    device: torch.device | str = "cpu",
    on_width: Callable[[Width], None] = lambda width: None,
) -> list[WidthScore]:
    """Score every net among ``widths``, ascending; images are normalised as the checkpoint says.

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
    data = normalised_for(checkpoint, data).decoded()
    scores: list[WidthScore] = []
    widest: Tensor | None = None
    for width in sorted(nets, reverse=True):
        net = model.static(width)
        macs = count(net, width, checkpoint.spec.input_size).macs
        net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        with watched(net) as found, exact(torch.device(device)):
            result = score(net, data, batch_size=batch_size, device=device)
        _check_finite(result.loss, width)
        if checkpoint.spec.high in (width, *nets[width]):
            widest = result.answers
        scores.append(
            WidthScore(
                width=width,
                aliases=nets[width],
                macs=macs,
                loss=result.loss,
                top1=result.top1,
                top5=result.top5,
                agreement=_agreement(result.answers, widest),
                misfits=tuple(fit for fit in fits(net, found, len(data)) if not fit.fits),
            )
        )
        on_width(width)
    return scores[::-1]


def evaluate_bundle(
    bundle: SlimBundle,
    target: str,
    data: ImageSet,
    widths: Sequence[Width],
    *,
    threads: int = 1,
    on_width: Callable[[Width], None] = lambda width: None,
) -> list[WidthScore]:
    """Rebuild every net among ``widths`` for ``target``, run it in that runtime, score it; ascending.

    Raises:
        WidthError, UsageError: the bundle has no such width or target.
        DataError: the images' size or classes are not the net's.
        MissingExtraError: the runtime is not installed.
    """
    runtime = targets.get(bundle.artifact(target, widths[0])[0].target)
    nets: dict[int, list[Width]] = {}
    for asked in sorted(set(widths)):
        bundle.artifact(target, asked)  # raises before the first run
        nets.setdefault(bundle.resolve(asked).permille, []).append(asked)
    data = data.decoded()
    scores: list[WidthScore] = []
    widest: Tensor | None = None
    for permille in sorted(nets, reverse=True):
        entry = bundle.resolve(permille)
        with tempfile.TemporaryDirectory(prefix="edgeslim-evaluate-") as folder:
            rebuilt = bundle.rebuild(target, permille, Path(folder) / f"model{runtime.info.suffix}")
            runner = runtime.load(rebuilt.path, threads=threads)
            try:
                result = score(_prediction(runner), _as_wanted(runner, bundle, data), batch_size=32)
            finally:
                runner.close()
        _check_finite(result.loss, Width(permille))
        if bundle.manifest.high in (permille, *entry.aliases):
            widest = result.answers
        first, *others = nets[permille]
        scores.append(
            WidthScore(
                width=first,
                aliases=tuple(others),
                macs=entry.macs,
                loss=result.loss,
                top1=result.top1,
                top5=result.top5,
                agreement=_agreement(result.answers, widest),
            )
        )
        on_width(first)
    return scores[::-1]


def with_accuracies(model: CalibratedModel, scores: Sequence[WidthScore], data: ImageSet) -> Checkpoint:
    """The checkpoint with ``scores`` kept under the names its statistics have; ``pack`` takes them from there."""
    checkpoint = model.checkpoint()
    kept = dict(checkpoint.accuracies)
    for one in scores:
        names = {one.width, *one.aliases, *map(Width, checkpoint.statistics), *map(Width, checkpoint.accuracies)}
        same = next(net for net in model.distinct([*names]).items() if one.width in (net[0], *net[1]))
        known = [name.permille for name in (same[0], *same[1]) if name.permille in checkpoint.statistics]
        for name in (same[0], *same[1]):
            kept.pop(name.permille, None)
        kept[known[0] if known else one.width.permille] = {
            "data": data.name,
            "split": data.split,
            "images": len(data),
            "data_sha256": data.data_sha256,
            "loss": one.loss,
            "top1": one.top1,
            "top5": one.top5,
            "agreement": one.agreement,
        }
    return dataclasses.replace(checkpoint, accuracies=dict(sorted(kept.items())))


def _agreement(answers: Tensor, widest: Tensor | None) -> float | None:
    return None if widest is None else float((answers == widest).double().mean())


def _check_classes(data: ImageSet, num_classes: int) -> None:
    if data.num_classes != num_classes:
        raise DataError(
            f"{data.name} has {data.num_classes} classes, the net has {num_classes}",
            hint="evaluate on the data it was trained for",
        )


def _check_finite(loss: float, width: Width) -> None:
    if not math.isfinite(loss):
        raise CheckpointError(f"the net at width {width} does not answer with finite numbers")


def _as_wanted(runner: Runner, bundle: SlimBundle, data: ImageSet) -> ImageSet:
    """``data`` normalised for the file: as the manifest says, or not at all where it takes pixels."""
    (spec,), contract = runner.inputs, bundle.manifest.input
    channels, size = (spec.shape[3], spec.shape[1]) if spec.layout == "NHWC" else (spec.shape[1], spec.shape[2])
    if (data.in_channels, data.input_size) != (channels, size):
        raise DataError(
            f"the images have {data.in_channels} channels of {data.input_size} px, the file takes {channels} of {size}"
        )
    classes = bundle.manifest.model.spec.get("num_classes")
    if isinstance(classes, int):
        _check_classes(data, classes)
    if spec.dtype == "uint8":
        return data.normalised_as([0.0] * channels, [1 / 255] * channels)
    return data.normalised_as([float(value) for value in contract.mean], [float(value) for value in contract.std])


def _prediction(runner: Runner) -> Callable[[Tensor], Tensor]:
    """Runs images one by one, in the layout and dtype of the file's input."""
    (spec,), (answer,) = runner.inputs, runner.outputs
    if spec.dtype not in ("float32", "uint8"):
        raise UsageError(f"cannot feed {spec.dtype} images")

    def predict(images: Tensor) -> Tensor:
        if spec.layout == "NHWC":
            images = images.permute(0, 2, 3, 1)
        if spec.dtype == "uint8":
            images = images.round().to(torch.uint8)
        array = images.contiguous().numpy()
        rows = [runner.run({spec.name: array[index : index + 1]})[answer.name] for index in range(len(array))]
        return torch.from_numpy(np.concatenate(rows).astype(np.float32))

    return predict
