"""What a bundle and its artifacts say about a net, in the words of the manifest and of the targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeslim import targets
from edgeslim.core.manifest import InputContract, ModelInfo, Quality
from edgeslim.core.width import Width
from edgeslim.errors import UsageError
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.press.build import NetInfo, VariantInfo
from edgeslim.registry import OWN
from edgeslim.targets.base import Artifact, Metadata


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
    spec, contract = checkpoint.spec, checkpoint.input_contract
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
            channel_order=contract.channel_order,
            mean=tuple(map(decimal_text, contract.mean)),
            std=tuple(map(decimal_text, contract.std)),
        ),
        labels=_labels(checkpoint, labels) or None,
        low=spec.low,
        high=spec.high,
        policy=policy,
        checkpoint_sha256=checkpoint_sha256,
        calibration_sha256=checkpoint.calibration_sha256,
    )


def metadata_for(
    checkpoint: Checkpoint, width: Width, *, labels: Sequence[str] | None, about: Mapping[str, str]
) -> Metadata:
    """What the artifact of ``width`` says about itself."""
    contract = checkpoint.input_contract
    return Metadata(
        model=about.get("name", checkpoint.spec.name),
        width=width,
        version=about.get("version", "1"),
        mean=tuple(contract.mean),
        std=tuple(contract.std),
        channel_order=contract.channel_order,
        labels=_labels(checkpoint, labels),
        author=about.get("author", ""),
        licence=about.get("licence", ""),
        description=about.get("description", ""),
    )


def _labels(checkpoint: Checkpoint, labels: Sequence[str] | None) -> tuple[str, ...]:
    chosen = tuple(labels if labels is not None else checkpoint.input_contract.labels or ())
    if chosen and len(chosen) != checkpoint.spec.num_classes:
        raise UsageError(f"{len(chosen)} labels for {checkpoint.spec.num_classes} classes", hint="one label per line")
    return chosen


def quality_of(checkpoint: Checkpoint, names: Sequence[Width]) -> Quality | None:
    """The accuracy that ``edgeslim evaluate --write`` stored under one of a net's ``names``, if any."""
    known = [name.permille for name in names if name.permille in checkpoint.accuracies]
    if not known:
        return None
    row = checkpoint.accuracies[known[0]]
    agreement = row.get("agreement")
    return Quality(
        metric="top1",
        value=decimal_text(row["top1"]),
        images=row["images"],
        data_sha256=row.get("data_sha256"),
        agreement=None if agreement is None else decimal_text(agreement),
    )


def variant_info(artifact: Artifact) -> VariantInfo:
    """What the manifest says once about all artifacts like ``artifact``; a plug-in's target is among its exporters."""
    origin = targets.REGISTRY.entry(artifact.target).origin
    brought = {} if origin == OWN else {origin.distribution: origin.version}
    return VariantInfo(
        target=artifact.target,
        name=artifact.variant,
        precision=artifact.precision,
        backend=artifact.backend,
        input_option=str(artifact.input_option),
        suffix=artifact.root.suffix,
        directory=artifact.root.is_dir(),
        normalisation=targets.get(artifact.target).info.normalisation,
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        requires=dict(artifact.requires),
        exporters={**artifact.exporters, **brought},
    )


def decimal_text(value: float) -> str:
    """``value`` as the manifest writes numbers that are not whole: at most nine places, no trailing zeros."""
    text = f"{value:.9f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
