"""What a bundle and its artifacts say about a net, in the words of the manifest and of the targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from edgeslim import models, targets, tasks
from edgeslim.core.manifest import Images, InputInfo, InputTensor, ModelInfo, Quality, Variant
from edgeslim.core.pixels import ImageContract
from edgeslim.deploy.pack_plan import PackedNet, input_id
from edgeslim.deploy.task_of import said_in_bundle, task_of
from edgeslim.errors import UsageError
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.models.selection import Selection
from edgeslim.press.build import BundleInfo
from edgeslim.registry import OWN
from edgeslim.targets.base import INPUT_NAME, Artifact, Metadata


def bundle_info(
    checkpoint: Checkpoint,
    *,
    sizes: Sequence[int],
    labels: Sequence[str] | None,
    policy: dict[str, Any] | None,
    about: Mapping[str, str],
    checkpoint_sha256: str,
) -> BundleInfo:
    """The manifest's facts about the net.

    Args:
        sizes: pixels of the (square) inputs that artifacts are made for.

    Raises:
        UsageError: another number of labels than classes.
    """
    spec, contract = checkpoint.spec, image_input(checkpoint)
    task, task_spec = said_in_bundle(task_of(checkpoint))
    return BundleInfo(
        model=ModelInfo(
            id=about.get("name", spec.name),
            version=about.get("version", "1"),
            author=about.get("author", ""),
            licence=about.get("licence", ""),
            source=about.get("source", ""),
            attribution=about.get("attribution", ""),
            description=about.get("description", ""),
            spec=spec.to_json(),
        ),
        task=task,
        task_spec=task_spec,
        inputs=tuple(_input_info(contract, size) for size in sorted(set(sizes))),
        labels=_labels(checkpoint, labels) or None,
        low=spec.low,
        high=spec.high,
        policy=policy,
        checkpoint_sha256=checkpoint_sha256,
        calibration=_calibration(checkpoint),
    )


def _input_info(contract: ImageContract, size: int) -> InputInfo:
    image = dataclasses.replace(contract, height=size, width=size)
    return InputInfo(id=input_id((size, size)), tensors=(InputTensor(name=INPUT_NAME, image=image, tensor=None),))


def _calibration(checkpoint: Checkpoint) -> Images | None:
    """The images behind the statistics, where they are the same for all nets."""
    notes = checkpoint.provenance.get("calibration")
    counts = {note.get("images") for note in notes.values()} if isinstance(notes, dict) else set()
    (count,) = counts if len(counts) == 1 else (None,)
    if not isinstance(count, int) or count < 1:
        return None
    return Images(images=count, data_sha256=checkpoint.calibration_sha256)


def image_input(checkpoint: Checkpoint) -> ImageContract:
    """What the net sees.

    Raises:
        UsageError: no image.
    """
    if checkpoint.input is None:
        raise UsageError(f"{checkpoint.spec.name} with {checkpoint.spec.in_channels} channels does not see images")
    return checkpoint.input


def metadata_for(
    checkpoint: Checkpoint, net: PackedNet, *, labels: Sequence[str] | None, about: Mapping[str, str]
) -> Metadata:
    """What the artifact of ``net`` says about itself."""
    contract = image_input(checkpoint)
    return Metadata(
        model=about.get("name", checkpoint.spec.name),
        net=net.id,
        version=about.get("version", "1"),
        mean=tuple(map(float, contract.mean)),
        std=tuple(map(float, contract.std)),
        channel_order=contract.order,
        labels=_labels(checkpoint, labels),
        author=about.get("author", ""),
        licence=about.get("licence", ""),
        description=about.get("description", ""),
        meanings={output.name: output.meaning for output in task_of(checkpoint).outputs},
    )


def _labels(checkpoint: Checkpoint, labels: Sequence[str] | None) -> tuple[str, ...]:
    chosen = tuple(labels if labels is not None else checkpoint.labels or ())
    if chosen and len(chosen) != checkpoint.spec.num_classes:
        raise UsageError(f"{len(chosen)} labels for {checkpoint.spec.num_classes} classes", hint="one label per line")
    return chosen


def quality_of(checkpoint: Checkpoint, net: Selection) -> Quality | None:
    """The measurement that ``edgeslim evaluate --write`` stored for ``net``, if any."""
    row = checkpoint.accuracies.get(net)
    if row is None:
        return None
    agreement = row.get("agreement")
    return Quality(
        metric=row["metric"],
        value=decimal_text(row[row["metric"]]),
        larger_is_better=row["larger_is_better"],
        count=row["images"],
        data_sha256=row.get("data_sha256"),
        agreement=None if agreement is None else decimal_text(agreement),
    )


def variant_of(checkpoint: Checkpoint, artifact: Artifact, size: tuple[int, int]) -> Variant:
    """What the manifest says once about all artifacts like ``artifact``, for an input of (height, width).

    Packages that brought the target, the network or the task are among its exporters.
    """
    entries = (
        targets.REGISTRY.entry(artifact.target),
        models.REGISTRY.entry(checkpoint.spec.name),
        tasks.REGISTRY.entry(checkpoint.task),
    )
    brought = {entry.origin.distribution: entry.origin.version for entry in entries if entry.origin != OWN}
    return Variant(
        id=f"{artifact.target}-{artifact.variant}",
        target=artifact.target,
        precision=artifact.precision,
        backend=artifact.backend,
        input=input_id(size),
        form=str(artifact.input_option),
        suffix=artifact.root.suffix,
        directory=artifact.root.is_dir(),
        normalisation=targets.get(artifact.target).info.normalisation,
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        exporters={**artifact.exporters, **brought},
        artifacts=(),
    )


def decimal_text(value: float) -> str:
    """``value`` as the manifest writes numbers that are not whole: at most nine places, no trailing zeros."""
    text = f"{value:.9f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
