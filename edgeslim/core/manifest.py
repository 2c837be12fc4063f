"""The manifest of a bundle: what it holds, for whom, and the hash of everything (FORMAT.md, "Manifest").

    SlimManifest
    ├── ModelInfo, InputInfo …, labels, policy
    ├── Part …, Master …    what is cut together; full-size constants, in the order in which recipes count them
    ├── Net …               how many of every part, and its statistics
    └── Variant …           one (target, precision, input) with its ArtifactEntry per net

The JSON keys are the field names. ``manifest_rules.parse_manifest`` returns only what obeys every rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from edgeslim.core.canonical_json import canonical_bytes
from edgeslim.core.pixels import ImageContract
from edgeslim.core.strict_json import IN_TEXT, canonical, encode

JsonObject = dict[str, Any]  # free JSON inside the manifest
TaskName = Literal["classify", "detect", "segment", "pose", "upscale", "policy", "other"]
Role = Literal["weight", "tensor", "own"]
MasterDtype = Literal["f32", "f16", "i8", "i32"]
Integers = Literal["none", "shared", "own"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """Which network this is; ``spec`` is free JSON from which edgeslim builds it again."""

    id: str
    version: str
    author: str
    licence: str
    source: str
    attribution: str
    description: str
    spec: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainInput:
    """A tensor that is no image."""

    shape: tuple[int, ...]
    dtype: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InputTensor:
    """One named value that goes into the net; exactly one of ``image`` and ``tensor``."""

    name: str
    image: ImageContract | None
    tensor: PlainInput | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InputInfo:
    """What goes into the net, before a variant gives it its form."""

    id: str
    tensors: tuple[InputTensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A named run of ``size`` positions along axes of masters: channels that are cut together."""

    name: str
    size: int
    optional: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Master:
    """One constant of the full-size network; ``axes`` are lists of indices into the manifest's parts.

    ``rows`` is the axis of output channels. ``in_scale``, ``scale`` and ``shift`` say which numbers every fold holds
    for a weight; ``integers`` how an int8 net gets it, ``correction`` whether its int32 bias has corrections. ``of`` is
    the master whose tensor it shares.
    """

    name: str
    role: Role
    dtype: MasterDtype
    axes: tuple[tuple[int, ...], ...]
    rows: int
    groups: int
    in_scale: bool
    scale: bool
    shift: bool
    bias: str | None
    integers: Integers
    correction: bool
    of: str | None
    sha256: str | None
    step_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Net:
    """How many positions of every part one net uses, and its statistics; ``widths`` are its names in permille."""

    id: str
    widths: tuple[int, ...]
    cut: tuple[int, ...]
    params: int
    fold_sha256: str | None
    quant_sha256: str | None

    @property
    def permille(self) -> int | None:
        """The smallest width that names it; None of a vector of channels."""
        return self.widths[0] if self.widths else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How good an artifact was, on what; ``value`` and ``agreement`` (with the widest net) are decimals."""

    metric: str
    value: str
    larger_is_better: bool
    count: int
    data_sha256: str | None
    agreement: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantised:
    """real = (integer − ``zero_point``) · scale; ``scale_bits`` are the hex digits of the float32."""

    scale_bits: str
    zero_point: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """One input or output of an artifact; ``shape`` is static, ``layout`` such as ``NCHW``, ``NHWC`` or ``NC``."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str
    meaning: str = field(default="", metadata=IN_TEXT)
    quantised: Quantised | None = field(default=None, metadata=IN_TEXT)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of an artifact; ``path`` is relative to the artifact's directory, or the suggested file name."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """What statistics or input scales were taken from."""

    images: int
    data_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactEntry:
    """One artifact. ``explained_bytes`` of its constants come from the masters, ``literal_bytes`` do not."""

    net: str
    base: str | None
    macs: int
    requires: dict[str, str]
    quality: Quality | None
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
    """Everything that the artifacts of one target, precision and input have in common, and those artifacts."""

    id: str
    target: str
    precision: str
    backend: str
    input: str
    form: str
    suffix: str
    directory: bool
    normalisation: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    exporters: dict[str, str]
    artifacts: tuple[ArtifactEntry, ...]

    def artifact(self, net: str) -> ArtifactEntry | None:
        """The artifact of ``net``, None where this variant has none."""
        return next((artifact for artifact in self.artifacts if artifact.net == net), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlimManifest:
    """A manifest that obeys every rule. ``low`` and ``high`` are the trained range in permille."""

    required_features: tuple[str, ...]
    model: ModelInfo
    task: TaskName
    task_spec: JsonObject
    labels: tuple[str, ...] | None
    low: int
    high: int
    inputs: tuple[InputInfo, ...]
    parts: tuple[Part, ...]
    masters: tuple[Master, ...]
    nets: tuple[Net, ...]
    variants: tuple[Variant, ...]
    policy: JsonObject | None
    checkpoint_sha256: str | None
    calibration: Images | None
    ranges: Images | None
    extra: JsonObject

    def to_bytes(self) -> bytes:
        """The canonical text."""
        return canonical_bytes(encode(self))

    def net(self, identifier: str) -> Net | None:
        return next((net for net in self.nets if net.id == identifier), None)

    def net_of(self, permille: int) -> Net | None:
        """The net that has the width ``permille`` among its names; None where there is none."""
        return next((net for net in self.nets if permille in net.widths), None)

    def variant(self, identifier: str) -> Variant | None:
        return next((variant for variant in self.variants if variant.id == identifier), None)

    def input_info(self, identifier: str) -> InputInfo | None:
        return next((info for info in self.inputs if info.id == identifier), None)


def artifact_id(variant: str, net: str) -> str:
    """What addresses an artifact: ``coreml-fp16-224/0500``."""
    return f"{variant}/{net}"


def artifact_sha256(artifact: ArtifactEntry) -> str:
    """What a row is bound to: the file's own SHA-256, or that of the canonical list ``[[path, sha256], …]``."""
    if len(artifact.files) == 1:
        return artifact.files[0].sha256
    listed = canonical([[file.path, file.sha256] for file in artifact.files])
    return hashlib.sha256(listed.encode()).hexdigest()


def full_shape(master: Master, parts: Sequence[Part]) -> tuple[int, ...]:
    """The shape of ``master`` in the full-size network."""
    return tuple(sum(parts[index].size for index in axis) for axis in master.axes)


def full_outputs(master: Master, parts: Sequence[Part]) -> int:
    """Output channels of a weight in the full-size network."""
    shape = full_shape(master, parts)
    return shape[0] if master.rows == 0 else shape[1] * master.groups


def expected_tensors(manifest: SlimManifest) -> dict[str, tuple[str, tuple[int, ...] | None]]:
    """Every tensor that a bundle with this manifest holds: name → (dtype, shape); None: one dimension, any length."""
    tensors: dict[str, tuple[str, tuple[int, ...] | None]] = {"manifest": ("U8", None)}
    for master in manifest.masters:
        if master.role != "own" and master.of is None:
            tensors[f"master/{master.name}"] = master.dtype.upper(), full_shape(master, manifest.parts)
        if master.step_sha256 is not None:
            tensors[f"step/{master.name}"] = "F32", (full_outputs(master, manifest.parts),)
    for net in manifest.nets:
        if net.fold_sha256 is not None:
            tensors[f"fold/{net.id}"] = "U8", None
        if net.quant_sha256 is not None:
            tensors[f"quant/{net.id}"] = "U8", None
    for variant in manifest.variants:
        for artifact in variant.artifacts:
            for kind in ("template", "recipe"):
                tensors[f"{kind}/{artifact_id(variant.id, artifact.net)}"] = "U8", None
    return tensors
