"""What a bundle and its artifacts say about a net, in the words of the manifest and of the targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeslim.core.manifest import InputContract, ModelInfo, Quality, TensorInfo
from edgeslim.core.pixels import ImageContract
from edgeslim.core.width import Width
from edgeslim.errors import UsageError
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.press.build import NetInfo, VariantInfo
from edgeslim.targets.base import Artifact, Metadata, TensorSpec

NORMALISATIONS = {"coreml": "coreml-1", "litert": "litert-1"}  # what was done to the exporter's files; else "none"


def net_info(
    checkpoint: Checkpoint,
    *,
    labels: Sequence[str] | None,
    policy: dict[str, Any] | None,
    about: Mapping[str, str],
    checkpoint_sha256: str,
) -> NetInfo:
    """The manifest's facts about the net.

    Raises:
        UsageError: another number of labels than classes.
    """
    spec, contract = checkpoint.spec, image_input(checkpoint)
    return NetInfo(
        model=ModelInfo(
            id=about.get("name", spec.name),
            version=about.get("version", "1"),
            task="image-classification",
            author=about.get("author", ""),
            licence=about.get("licence", ""),
            description=about.get("description", ""),
            spec=spec.to_json(),
        ),
        input=InputContract(
            channels=spec.in_channels,
            height=spec.input_size,
            width=spec.input_size,
            channel_order=contract.order,
            mean=contract.mean,
            std=contract.std,
        ),
        labels=_labels(checkpoint, labels) or None,
        low=spec.low,
        high=spec.high,
        policy=policy,
        checkpoint_sha256=checkpoint_sha256,
        calibration_sha256=checkpoint.calibration_sha256,
    )


def image_input(checkpoint: Checkpoint) -> ImageContract:
    """What the net sees.

    Raises:
        UsageError: no image.
    """
    if checkpoint.input is None:
        raise UsageError(f"{checkpoint.spec.name} with {checkpoint.spec.in_channels} channels does not see images")
    return checkpoint.input


def metadata_for(
    checkpoint: Checkpoint, width: Width, *, labels: Sequence[str] | None, about: Mapping[str, str]
) -> Metadata:
    """What the artifact of ``width`` says about itself."""
    contract = image_input(checkpoint)
    return Metadata(
        model=about.get("name", checkpoint.spec.name),
        width=width,
        version=about.get("version", "1"),
        mean=tuple(map(float, contract.mean)),
        std=tuple(map(float, contract.std)),
        channel_order=contract.order,
        labels=_labels(checkpoint, labels),
        author=about.get("author", ""),
        licence=about.get("licence", ""),
        description=about.get("description", ""),
    )


def _labels(checkpoint: Checkpoint, labels: Sequence[str] | None) -> tuple[str, ...]:
    chosen = tuple(labels if labels is not None else checkpoint.labels or ())
    if chosen and len(chosen) != checkpoint.spec.num_classes:
        raise UsageError(f"{len(chosen)} labels for {checkpoint.spec.num_classes} classes", hint="one label per line")
    return chosen


def quality_of(checkpoint: Checkpoint, names: Sequence[Width]) -> Quality | None:
    """The accuracy that ``edgeslim evaluate --write`` stored under one of a net's ``names``, if any."""
    row = checkpoint.accuracies.get(checkpoint.selection(names[0]))
    if row is None:
        return None
    agreement = row.get("agreement")
    return Quality(
        metric="top1",
        value=decimal_text(row["top1"]),
        images=row["images"],
        data_sha256=row.get("data_sha256"),
        agreement=None if agreement is None else decimal_text(agreement),
    )


def variant_info(artifact: Artifact) -> VariantInfo:
    """What the manifest says once about all artifacts like ``artifact``."""
    return VariantInfo(
        target=artifact.target,
        name=artifact.variant,
        precision=artifact.precision,
        backend=artifact.backend,
        input_option=str(artifact.input_option),
        suffix=artifact.root.suffix,
        directory=artifact.root.is_dir(),
        normalisation=NORMALISATIONS.get(artifact.target, "none"),
        inputs=tuple(map(_tensor, artifact.inputs)),
        outputs=tuple(map(_tensor, artifact.outputs)),
        requires=dict(artifact.requires),
        exporters=dict(artifact.exporters),
    )


def _tensor(spec: TensorSpec) -> TensorInfo:
    return TensorInfo(name=spec.name, shape=spec.shape, dtype=spec.dtype, layout=spec.layout)


def decimal_text(value: float) -> str:
    """``value`` as the manifest writes numbers that are not whole: at most nine places, no trailing zeros."""
    text = f"{value:.9f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
