"""What ``pack``, ``subset`` and ``inspect`` report of a bundle; see ``reports`` for the others.

PlannedRow ─► ArtifactRow ─┬─► PackRow ─► PackReport          what will be, what it costs, what was made
                           └─► InspectRow ─► InspectReport    what is there
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from edgeslim.core.bundle import SlimBundle
from edgeslim.core.header import FORMAT_VERSION
from edgeslim.core.manifest import (
    ArtifactEntry,
    FileEntry,
    InputInfo,
    ModelInfo,
    Net,
    Quality,
    SlimManifest,
    Variant,
    artifact_id,
)
from edgeslim.core.pixels import ImageContract
from edgeslim.core.strict_json import IN_TEXT, LEFT_OUT
from edgeslim.files import sha256_file


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRow:
    """One artifact that ``pack --dry-run`` would make."""

    target: str
    """Name of the runtime it is for."""
    permille: int | None
    """Smallest width of its net; null: a vector of channels."""
    net: str
    """Id of its net."""
    precision: str
    """Of its numbers: fp32, fp16, auto (both), w8 or int8."""
    input: str
    """Id of its input: pixels of a side, or ``<height>x<width>``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """What ``pack --dry-run`` would make."""

    bundle: Path
    """Where it would lie."""
    bytes: int
    """Of the full-size masters, nearly all of a bundle."""
    rows: tuple[PlannedRow, ...]
    """Every artifact."""
    notes: tuple[str, ...]
    """For people: what a target has not, and gets its default instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRow(PlannedRow):
    """What one artifact costs in its bundle."""

    artifact: str
    """Its id, ``<variant>/<net>``."""
    artifact_bytes: int
    """Of its files, as the exporter wrote them."""
    explained_bytes: int
    """Of its constants: come from the masters."""
    literal_bytes: int
    """Of its constants: do not."""
    template_bytes: int
    """Of its template as stored, deflated."""
    recipe_bytes: int
    """Of its recipe as stored, deflated."""

    @property
    def kept_bytes(self) -> int:
        """What the bundle has for this artifact alone."""
        return self.template_bytes + self.recipe_bytes

    @property
    def explained_share(self) -> float:
        """Of its constants."""
        return self.explained_bytes / max(1, self.explained_bytes + self.literal_bytes)

    @classmethod
    def of(cls, bundle: SlimBundle, variant: Variant, artifact: ArtifactEntry, /, **more: Any) -> Self:
        """The row of an artifact of ``bundle``; ``more``: what a kind of row has besides."""
        identifier = artifact_id(variant.id, artifact.net)
        return cls(
            target=variant.target,
            artifact=identifier,
            permille=bundle.resolve(artifact.net).permille,
            net=artifact.net,
            precision=variant.precision,
            input=variant.input,
            artifact_bytes=artifact.total_bytes,
            explained_bytes=artifact.explained_bytes,
            literal_bytes=artifact.literal_bytes,
            template_bytes=len(bundle.stored(f"template/{identifier}")),
            recipe_bytes=len(bundle.stored(f"recipe/{identifier}")),
            **more,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PackRow(ArtifactRow):
    """One packed artifact."""

    sqnr_db: float | None
    """Against the folded PyTorch net on one image; null: it was not run."""
    seconds: float | None
    """That exporting took; null: it was there before."""
    reason: str | None = field(default=None, metadata=LEFT_OUT)
    """Why it could not be run on this machine, where that is so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedTarget:
    """A runtime that is not in the bundle, because one of its exports failed."""

    target: str
    """Its name."""
    message: str
    """What went wrong first, and with which net."""
    hint: str | None
    """What to look at, where the exporter or edgeslim knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackReport:
    """What ``pack`` or ``subset`` wrote."""

    bundle: Path
    """The file."""
    bytes: int
    """Of the whole file."""
    sha256: str
    """Of the whole file."""
    weights_bytes: int
    """Of the full-size masters in it."""
    rows: tuple[PackRow, ...]
    """Every artifact that was packed now, or that the subset has."""
    kept: tuple[Path, ...]
    """The exporters' own files, where ``--keep-artifacts`` asked for them."""
    notes: tuple[str, ...]
    """For people: what a target has not, and gets its default instead."""
    failed: tuple[FailedTarget, ...]
    """Targets that are not in it; ``--into`` adds them later."""

    @classmethod
    def of(
        cls,
        bundle: SlimBundle,
        rows: Sequence[PackRow],
        *,
        kept: Sequence[Path] = (),
        notes: Sequence[str] = (),
        failed: Sequence[FailedTarget] = (),
    ) -> PackReport:
        """The report on ``bundle``, just written."""
        return cls(
            bundle=bundle.path,
            bytes=bundle.size_bytes,
            sha256=sha256_file(bundle.path),
            weights_bytes=bundle.parts()["weights"],
            rows=tuple(rows),
            kept=tuple(kept),
            notes=tuple(notes),
            failed=tuple(failed),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectRow(ArtifactRow):
    """One artifact of a bundle."""

    variant: str
    """Id of its variant."""
    backend: str
    """What of its runtime it was exported for."""
    macs: int
    """Multiply-adds of one image at its input."""
    requires: Mapping[str, str]
    """Lowest version of the runtime and of systems that it runs on."""
    quality: Quality | None
    """How good it is; null: not measured."""
    files: tuple[FileEntry, ...]
    """With their paths inside the artifact, where that is a directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetRow:
    """One net of a bundle."""

    net: str
    """Its id."""
    permille: int | None
    """Smallest width that names it; null: a vector of channels."""
    aliases: tuple[int, ...]
    """Permille of the other widths that name it."""
    macs: int | None
    """Multiply-adds at its largest input; null: it has no artifact."""
    macs_at: Mapping[str, int]
    """Multiply-adds by the id of the input."""
    params: int
    """After BatchNorms are folded."""
    top1: float | None
    """Accuracy, 0 to 1; null: not measured, or not the same for all its artifacts."""
    fold_bytes: int
    """Of its BatchNorm statistics as stored."""

    @classmethod
    def of(cls, bundle: SlimBundle, net: Net) -> NetRow:
        mine = [(v.input, a) for v in bundle.manifest.variants for a in v.artifacts if a.net == net.id]
        scores = {a.quality.value for _, a in mine if a.quality is not None and a.quality.metric == "top1"}
        macs_at = {name: a.macs for name, a in mine}
        fold = f"fold/{net.id}"
        return cls(
            net=net.id,
            permille=net.permille,
            aliases=net.widths[1:],
            macs=max(macs_at.values(), default=None),
            macs_at=macs_at,
            params=net.params,
            top1=float(scores.pop()) if len(scores) == 1 else None,
            fold_bytes=len(bundle.stored(fold)) if fold in bundle.header.tensors else 0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedRange:
    """Widths in permille, both included."""

    low: int
    """The narrowest."""
    high: int
    """The widest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartBytes:
    """Bytes of a bundle by kind of part; they add up to the file."""

    header: int
    """Where every part lies."""
    weights: int
    """The full-size masters, once for all artifacts."""
    folds: int
    """BatchNorm statistics of every net."""
    templates: int
    """What exporters add to the constants of each artifact."""
    recipes: int
    """Where each artifact takes its constants from."""
    manifest: int
    """What this report tells, labels and policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectReport:
    """What is in a bundle, and what each part costs."""

    bundle: Path
    """The file."""
    bytes: int
    """Of the whole file."""
    format_version: int
    """Of FORMAT.md."""
    model: ModelInfo
    """Which network this is."""
    task: str
    """What its outputs mean."""
    input: ImageContract | None
    """The first image that goes in; null: nothing that goes in is an image."""
    inputs: tuple[InputInfo, ...]
    """All that its variants take."""
    labels: int | None
    """How many classes have names; null: none has."""
    trained: TrainedRange
    """Widths that the network was trained over, permille."""
    widths: tuple[NetRow, ...]
    """The nets that have a width, from narrow to wide."""
    nets: tuple[NetRow, ...]
    """All nets."""
    targets: Mapping[str, tuple[InspectRow, ...]]
    """Artifacts by target."""
    parts: PartBytes
    """Bytes by kind of part; they add up to the file."""

    @classmethod
    def of(cls, bundle: SlimBundle) -> InspectReport:
        manifest = bundle.manifest
        nets = tuple(NetRow.of(bundle, net) for net in manifest.nets)
        return cls(
            bundle=bundle.path,
            bytes=bundle.size_bytes,
            format_version=FORMAT_VERSION,
            model=manifest.model,
            task=manifest.task,
            input=_first_image(manifest),
            inputs=manifest.inputs,
            labels=None if manifest.labels is None else len(manifest.labels),
            trained=TrainedRange(low=manifest.low, high=manifest.high),
            widths=tuple(net for net in nets if net.permille is not None),
            nets=nets,
            targets={
                target: tuple(
                    InspectRow.of(
                        bundle, variant, artifact, variant=variant.id, backend=variant.backend, macs=artifact.macs,
                        requires=artifact.requires, quality=artifact.quality, files=artifact.files,
                    )
                    for variant in manifest.variants if variant.target == target
                    for artifact in variant.artifacts
                )
                for target in dict.fromkeys(variant.target for variant in manifest.variants)
            },
            parts=PartBytes(**bundle.parts()),
        )  # fmt: skip


def _first_image(manifest: SlimManifest) -> ImageContract | None:
    return next((t.image for info in manifest.inputs for t in info.tensors if t.image is not None), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What ``inspect --check`` found right; anything wrong is an error document."""

    ok: Literal[True] = field(default=True, metadata=IN_TEXT)
    """Everything is what the manifest says."""
    depth: Literal["parts", "files"]
    """Every part was read and hashed, or also every file rebuilt and hashed."""
