"""The manifest of a bundle: what it holds, for whom, and the hash of everything (FORMAT.md, "Manifest").

    SlimManifest
    ├── ModelInfo, InputContract, labels, policy
    ├── MasterLayer …       full-width weights, in the order in which recipes count them
    ├── WidthEntry …        channels and fold of one net; its aliases, costs and quality
    └── Variant …           one (target, precision, input) with its ArtifactEntry per width

The JSON keys are the field names. ``manifest_rules.parse_manifest`` returns only what obeys every rule.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from edgeslim.core.canonical_json import canonical_bytes
from edgeslim.core.pixels import ImageContract
from edgeslim.core.recipe import Constant
from edgeslim.core.slicing import Cut
from edgeslim.core.strict_json import canonical, encode

JsonObject = dict[str, Any]  # free JSON inside the manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """Which network this is; ``spec`` is free JSON from which edgeslim builds it again."""

    id: str
    version: str
    task: str
    author: str
    licence: str
    description: str
    spec: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class InputContract:
    """What the net wants to see; ``mean`` and ``std`` are decimals per channel for pixels scaled to [0, 1]."""

    channels: int
    height: int
    width: int
    channel_order: str
    mean: tuple[str, ...]
    std: tuple[str, ...]

    @property
    def image(self) -> ImageContract:
        """How pixels become this input.

        Raises:
            ImageError: ``bad-contract``: it is none that images can be fed to.
        """
        return ImageContract(
            channels=self.channels,
            height=self.height,
            width=self.width,
            order=self.channel_order,  # type: ignore[arg-type]
            mean=self.mean,
            std=self.std,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterLayer:
    """One convolution or linear layer at full width.

    ``shape`` is (O, I/groups, KH, KW) or (O, I). ``in_scale``, ``scale`` and ``shift`` say which numbers every
    width's fold holds for it. With ``shift`` the bias is the shift; else a prefix of ``bias/<name>`` where
    ``bias_sha256`` is given; else there is none.
    """

    name: str
    kind: Literal["conv", "linear"]
    shape: tuple[int, ...]
    groups: int
    in_scale: bool
    scale: bool
    shift: bool
    weight_sha256: str
    bias_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How good a width was, on what; ``value`` and ``agreement`` (with the widest) are decimals."""

    metric: str
    value: str
    images: int
    data_sha256: str | None
    agreement: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthEntry:
    """One net. ``channels`` holds (out, in, groups) for every layer; ``aliases`` are widths with the same channels."""

    permille: int
    aliases: tuple[int, ...]
    channels: tuple[tuple[int, ...], ...]
    macs: int
    params: int
    fold_sha256: str | None
    quality: Quality | None
    temperature: str | None
    memory_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """One input or output of an artifact."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of an artifact; ``path`` is relative to the artifact's directory, or the suggested file name."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactEntry:
    """One artifact. ``explained_bytes`` of its constants come from the masters, ``literal_bytes`` do not."""

    permille: int
    files: tuple[FileEntry, ...]
    explained_bytes: int
    literal_bytes: int
    template_bytes: int
    template_sha256: str
    recipe_bytes: int
    recipe_sha256: str

    @property
    def total_bytes(self) -> int:
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Everything that the artifacts of one target, precision and input have in common."""

    id: str
    target: str
    precision: str
    backend: str
    input_option: str
    suffix: str
    directory: bool
    normalisation: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    requires: dict[str, str]
    exporters: dict[str, str]
    artifacts: tuple[ArtifactEntry, ...]

    def artifact(self, permille: int) -> ArtifactEntry | None:
        """The artifact of the net named ``permille``, None where this variant has none."""
        return next((artifact for artifact in self.artifacts if artifact.permille == permille), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlimManifest:
    """A manifest that obeys every rule. ``low`` and ``high`` are the trained range in permille."""

    required_features: tuple[str, ...]
    model: ModelInfo
    input: InputContract
    labels: tuple[str, ...] | None
    low: int
    high: int
    divisor: int
    weights: Literal["f32", "f16"]
    layers: tuple[MasterLayer, ...]
    widths: tuple[WidthEntry, ...]
    variants: tuple[Variant, ...]
    policy: JsonObject | None
    checkpoint_sha256: str | None
    calibration_sha256: str | None
    extra: JsonObject

    def to_bytes(self) -> bytes:
        """The canonical text."""
        return canonical_bytes(encode(self))

    def width(self, permille: int) -> WidthEntry | None:
        """The net called ``permille``, by its own name or an alias; None where there is none."""
        return next((w for w in self.widths if permille == w.permille or permille in w.aliases), None)

    def variant(self, identifier: str) -> Variant | None:
        return next((variant for variant in self.variants if variant.id == identifier), None)

    def constants(self, width: WidthEntry) -> tuple[Constant, ...]:
        """Every layer at ``width``, as recipes see it."""
        return tuple(_constant(layer, cut) for layer, cut in zip(self.layers, self.cuts(width), strict=True))

    def cuts(self, width: WidthEntry) -> tuple[Cut, ...]:
        """Which part of every master ``width`` uses."""
        return tuple(
            Cut(out_channels=out, in_channels=into, groups=groups, full_groups=layer.groups)
            for layer, (out, into, groups) in zip(self.layers, width.channels, strict=True)
        )

    def fold_values(self, width: WidthEntry) -> int:
        """How many float32 numbers the fold of ``width`` holds."""
        return sum(
            layer.in_scale * into + (layer.scale + layer.shift) * out
            for layer, (out, into, _) in zip(self.layers, width.channels, strict=True)
        )


def _constant(layer: MasterLayer, cut: Cut) -> Constant:
    height, width = layer.shape[2:] if layer.kind == "conv" else (1, 1)
    return Constant(cut=cut, kernel=(height, width), has_bias=layer.shift or layer.bias_sha256 is not None)


def artifact_id(variant: str, permille: int) -> str:
    """Name of an artifact's tensors: ``coreml-fp16-224/0500``."""
    return f"{variant}/{permille:04d}"


def artifact_sha256(artifact: ArtifactEntry) -> str:
    """What a row is bound to: the file's own SHA-256, or that of the canonical list ``[[path, sha256], …]``."""
    if len(artifact.files) == 1:
        return artifact.files[0].sha256
    listed = canonical([[file.path, file.sha256] for file in artifact.files])
    return hashlib.sha256(listed.encode()).hexdigest()


def expected_tensors(manifest: SlimManifest) -> dict[str, tuple[str, tuple[int, ...] | None]]:
    """Every tensor that a bundle with this manifest holds: name → (dtype, shape); None: any length, deflated."""
    dtype = manifest.weights.upper()
    tensors: dict[str, tuple[str, tuple[int, ...] | None]] = {"manifest": ("U8", None)}
    for layer in manifest.layers:
        tensors[f"weight/{layer.name}"] = dtype, layer.shape
        if layer.bias_sha256 is not None:
            tensors[f"bias/{layer.name}"] = dtype, layer.shape[:1]
    for width in manifest.widths:
        if width.fold_sha256 is not None:
            tensors[f"fold/{width.permille:04d}"] = "U8", None
    for variant in manifest.variants:
        for artifact in variant.artifacts:
            for kind in ("template", "recipe"):
                tensors[f"{kind}/{artifact_id(variant.id, artifact.permille)}"] = "U8", None
    return tensors
