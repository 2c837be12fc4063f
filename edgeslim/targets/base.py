"""What a target is: one runtime, one file format, one small protocol.

    SlicedModel ── Target.export ──► Artifact   files on disk, hashed, normalised, with metadata inside
                                        │
    images ──► Runner.run ──► logits ◄──┴── Target.load(path)

``export`` needs torch and the exporter; ``load`` needs only the runtime's own wheel. A new runtime is one file
with these two methods and one row in the table of ``edgeslim.targets``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgeslim.core.passport import RuntimeInfo
from edgeslim.core.width import Width
from edgeslim.errors import UsageError
from edgeslim.files import sha256_file

if TYPE_CHECKING:
    import torch

INPUT_NAME = "image"
OUTPUT_NAME = "logits"
METADATA_NAME = "edgeslim_meta"  # JSON text, in every artifact
LABELS_NAME = "edgeslim_labels"  # class labels, one per line, in every artifact that has them


class InputOption(StrEnum):
    """What the exported file takes.

    ``NCHW_FLOAT32`` (default): normalised images, ``[1, C, H, W]``. ``NHWC_UINT8``: pixels as cameras give them,
    ``[1, H, W, C]``; cast, permute, mean and std are explicit operations in front of the net, never folded into its
    padded stem (a folded mean is wrong where the padding zeros are).
    """

    NCHW_FLOAT32 = "nchw-float32"
    NHWC_UINT8 = "nhwc-uint8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What an artifact says about itself; goes inside the file in the runtime's own way.

    ``mean`` and ``std`` are per channel for pixels scaled to [0, 1] (the torchvision convention).
    """

    model: str
    width: Width
    version: str = "1"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    channel_order: str = "rgb"
    labels: tuple[str, ...] = ()
    author: str = ""
    licence: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        for label in self.labels:
            if not label or label != label.strip() or len(label.splitlines()) != 1:
                raise UsageError(f"label {label!r} is not one line of text without spaces around it")

    def to_text(self) -> str:
        """The JSON text that every artifact holds under the name ``edgeslim_meta``."""
        document = {
            "format": "edgeslim",
            "model": self.model,
            "version": self.version,
            "width_permille": self.width.permille,
            "input": {"mean": list(self.mean), "std": list(self.std), "channel_order": self.channel_order},
            "author": self.author,
            "licence": self.licence,
            "description": self.description,
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def labels_text(self) -> str:
        """The class labels, one per line: the same bytes in every artifact, so a bundle can keep them once."""
        return "".join(f"{label}\n" for label in self.labels)

    def input_words(self, spec: TensorSpec) -> str:
        """What to feed, in words, for the file's own description of its input."""
        if spec.dtype == "uint8":
            return f"{self.channel_order.upper()} pixels, 0 to 255"
        return f"{self.channel_order.upper()} pixels as {spec.layout}: (pixel / 255 - mean) / std"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output: ``shape`` is static, ``layout`` is ``NCHW``, ``NHWC`` or ``NC``."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str

    def check(self, array: NDArray[Any]) -> None:
        """Refuse an array that this input cannot take.

        Raises:
            UsageError: another shape or dtype.
        """
        if array.shape != self.shape or array.dtype != self.dtype:
            raise UsageError(
                f"input {self.name!r} takes {self.dtype} {list(self.shape)} ({self.layout}), "
                f"got {array.dtype} {list(array.shape)}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFile:
    """One file of an artifact: ``path`` inside the package, or ``model<suffix>`` where the root itself is the file."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What one exporter wrote for one width, after normalisation; ``root`` is a file or a package directory."""

    target: str
    width: Width
    precision: str  # "fp32" | "fp16"
    backend: str  # "xnnpack" | "mlprogram" | "builtin"
    input_option: InputOption
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    requires: dict[str, str]  # minimum operating system or runtime → version
    exporters: dict[str, str]  # package → version
    files: tuple[ArtifactFile, ...]
    root: Path = field(compare=False)
    log: Path | None = field(compare=False, default=None)

    @property
    def variant(self) -> str:
        """Tells artifacts of one target and width apart: ``fp16-224``, ``fp32-224-u8``."""
        (spec,) = self.inputs
        if self.input_option is InputOption.NHWC_UINT8:
            return f"{self.precision}-{spec.shape[1]}-u8"
        return f"{self.precision}-{spec.shape[2]}"

    @property
    def id(self) -> str:
        """Name inside a bundle: ``coreml-fp16-224/0500``."""
        return f"{self.target}-{self.variant}/{self.width.permille:04d}"

    def path_of(self, file: ArtifactFile) -> Path:
        """Where ``file`` lies on this disk."""
        return self.root / file.path if self.root.is_dir() else self.root

    def to_json(self) -> dict[str, Any]:
        """Everything but where it lies."""
        document = asdict(self)
        del document["root"], document["log"]
        document["width"] = self.width.permille
        document["input_option"] = str(self.input_option)
        return document


class Runner(Protocol):
    """A loaded artifact. Not thread-safe: one thread at a time."""

    input: TensorSpec

    @property
    def metadata(self) -> dict[str, Any]:
        """What the file says about itself: ``Metadata.to_text``, parsed."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The class labels inside the file; empty if it has none."""

    def run(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Logits ``[1, classes]`` of one input with the shape and dtype of ``self.input``; the array is the caller's.

        Raises:
            UsageError: another shape or dtype.
        """

    def describe(self) -> RuntimeInfo: ...

    def close(self) -> None:
        """Give memory and file mappings back; running afterwards is an error. Closing twice is not."""


@runtime_checkable
class InPlaceRunner(Protocol):
    """A runner that can keep its input where the runtime reads it, so that the inference alone can be timed."""

    def bind(self, image: NDArray[Any]) -> Callable[[], object]:
        """Put ``image`` in place; each call of what comes back is one inference on it, nothing else.

        Raises:
            UsageError: another shape or dtype.
        """


class Target(Protocol):
    """One runtime."""

    name: str
    suffix: str  # of the artifact's root: ".pte", ".mlpackage", ".tflite"
    precisions: tuple[str, ...]  # the first is the default

    def ensure_available(self, *, exporting: bool) -> None:
        """Raises MissingExtraError if this Python cannot export (or, with ``exporting=False``, run)."""

    def export(
        self,
        net: torch.nn.Module,
        example: torch.Tensor,
        out: Path,
        *,
        metadata: Metadata,
        input_option: InputOption = InputOption.NCHW_FLOAT32,
        precision: str | None = None,
    ) -> Artifact:
        """Write ``net`` to ``out`` and hash it; same net, same versions → same bytes.

        Args:
            net: plain convolutions with bias and linear layers (a SlicedModel); not changed.
            example: float32 ``[1, C, H, W]``; only its shape matters.
            out: the artifact's root; must not exist. What the exporter prints goes to ``<out>.log``.
            precision: one of ``precisions``; None takes the first.

        Raises:
            ExportError: the exporter failed, or did not make what was asked; names target, width and log.
            MissingExtraError: the exporter is not installed.
            OutputError: ``out`` exists.
        """

    def load(self, path: Path, *, threads: int = 1) -> Runner:
        """Load an artifact into the runtime.

        Raises:
            MissingExtraError: the runtime is not installed.
            UsageError: ``path`` is not such an artifact.
        """


def hash_files(root: Path, suffix: str) -> tuple[ArtifactFile, ...]:
    """Every file of the artifact at ``root``, sorted by path."""
    if root.is_file():
        return (_hash_file(root, f"model{suffix}"),)
    return tuple(
        _hash_file(path, path.relative_to(root).as_posix()) for path in sorted(root.rglob("*")) if path.is_file()
    )


def _hash_file(path: Path, name: str) -> ArtifactFile:
    return ArtifactFile(path=name, size_bytes=path.stat().st_size, sha256=sha256_file(path))
