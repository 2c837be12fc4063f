"""What a target is: one runtime, one file format, one small protocol.

    net ── Target.export ──► Artifact   files on disk, hashed, normalised, with metadata inside
                                │
    {name: array} ──► Runner.run ──► {name: array}   ◄── Target.load(path)

``export`` needs torch and the exporter; ``load`` needs only the runtime's own wheel. A new runtime is one file
with these two methods and a ``TargetInfo``, and one entry in a registry.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgeslim.core.latency import label_of
from edgeslim.core.manifest import TensorInfo, artifact_id
from edgeslim.core.passport import RuntimeInfo
from edgeslim.errors import UsageError
from edgeslim.files import sha256_file
from edgeslim.targets.info import TargetInfo

if TYPE_CHECKING:
    import torch

INPUT_NAME = "image"
OUTPUT_NAME = "logits"
METADATA_NAME = "edgeslim_meta"  # JSON text, in every artifact
LABELS_NAME = "edgeslim_labels"  # class labels, one per line, in every artifact that has them

Array = NDArray[Any]
Arrays = Mapping[str, Array]  # by the names of inputs or outputs


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

    ``net`` is the id of the net in its bundle: ``0500``, or the label of a vector of channels. ``mean`` and ``std`` are
    per channel for pixels scaled to [0, 1] (the torchvision convention). ``meanings``: of outputs, by their names, in a
    word or two.
    """

    model: str
    net: str
    version: str = "1"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    channel_order: str = "rgb"
    labels: tuple[str, ...] = ()
    author: str = ""
    licence: str = ""
    description: str = ""
    meanings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for label in self.labels:
            if not label or label != label.strip() or len(label.splitlines()) != 1:
                raise UsageError(f"label {label!r} is not one line of text without spaces around it")

    @property
    def label(self) -> str:
        """What people call the net: ``0.5x``, or the label of its vector."""
        return label_of(self.net)

    def to_text(self, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> str:
        """The JSON text that every artifact holds under the name ``edgeslim_meta``.

        ``inputs`` and ``outputs`` stand in the order of the file's own: where a format has no names (``.pte``), this is
        where they are kept.
        """
        document = {
            "format": "edgeslim",
            "model": self.model,
            "version": self.version,
            "net": self.net,
            "label": self.label,
            "input": {"mean": list(self.mean), "std": list(self.std), "channel_order": self.channel_order},
            "author": self.author,
            "licence": self.licence,
            "description": self.description,
            "inputs": [{**asdict(tensor), "description": self.input_words(tensor)} for tensor in inputs],
            "outputs": [{**asdict(tensor), "description": self.output_words(tensor)} for tensor in outputs],
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def labels_text(self) -> str:
        """The class labels, one per line: the same bytes in every artifact, so a bundle can keep them once."""
        return "".join(f"{label}\n" for label in self.labels)

    def input_words(self, spec: TensorInfo) -> str:
        """What to feed, in words, for the file's own description of its input."""
        if spec.name != INPUT_NAME:
            return f"{spec.dtype} {spec.layout}"
        if spec.dtype == "uint8":
            return f"{self.channel_order.upper()} pixels, 0 to 255"
        mean, std = (", ".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        return (
            f"{self.channel_order.upper()} pixels as {spec.layout}: (pixel / 255 - mean) / std, mean {mean}, std {std}"
        )

    def output_words(self, spec: TensorInfo) -> str:
        """What comes out, in words, for the file's own description of its output."""
        if spec.name == OUTPUT_NAME:
            return "one score per class, before softmax: any number, the largest is the answer"
        return self.meanings.get(spec.name, f"{spec.dtype} {spec.layout}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFile:
    """One file of an artifact: ``path`` inside the package, or ``model<suffix>`` where the root itself is the file."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What one exporter wrote for one net, after normalisation; ``root`` is a file or a package directory."""

    target: str
    net: str  # its id: "0500", or the label of a vector of channels
    precision: str  # the name of one of the target's
    backend: str  # "xnnpack" | "mlprogram" | "builtin" …
    input_option: InputOption
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    requires: dict[str, str]  # minimum operating system or runtime → version
    exporters: dict[str, str]  # package → version
    files: tuple[ArtifactFile, ...]
    root: Path = field(compare=False)
    log: Path | None = field(compare=False, default=None)

    @property
    def variant(self) -> str:
        """Tells artifacts of one target and net apart: ``fp16-224``, ``fp32-224-u8``, ``fp32-4`` (a vector of 4)."""
        spec = self.inputs[0]
        if self.input_option is InputOption.NHWC_UINT8:
            return f"{self.precision}-{spec.shape[1]}-u8"
        return f"{self.precision}-{spec.shape[min(2, len(spec.shape) - 1)]}"

    @property
    def id(self) -> str:
        """Name inside a bundle: ``coreml-fp16-224/0500``."""
        return artifact_id(f"{self.target}-{self.variant}", self.net)

    def path_of(self, file: ArtifactFile) -> Path:
        """Where ``file`` lies on this disk."""
        return self.root / file.path if self.root.is_dir() else self.root

    def to_json(self) -> dict[str, Any]:
        """Everything but where it lies."""
        document = asdict(self)
        del document["root"], document["log"]
        document["input_option"] = str(self.input_option)
        return document


NO_OPTIONS: Mapping[str, Any] = {}


class Runner(Protocol):
    """A loaded artifact. Not thread-safe: one thread at a time."""

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """What ``run`` takes, by name."""

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """What ``run`` gives, by name."""

    @property
    def metadata(self) -> dict[str, Any]:
        """What the file says about itself: ``Metadata.to_text``, parsed; empty in a file that is not edgeslim's."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The class labels inside the file; empty if it has none."""

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """Every output of one inference; the arrays are the caller's.

        Args:
            inputs: an array for every one of ``self.inputs``, with its shape and dtype.

        Raises:
            UsageError: a name is missing or unknown, or an array has another shape or dtype.
        """

    def describe(self) -> RuntimeInfo: ...

    def close(self) -> None:
        """Give memory and file mappings back; running afterwards is an error. Closing twice is not."""


@runtime_checkable
class InPlaceRunner(Protocol):
    """A runner that can keep its input where the runtime reads it, so that the inference alone can be timed."""

    def bind(self, inputs: Arrays) -> Callable[[], object]:
        """Put ``inputs`` in place; each call of what comes back is one inference on them, nothing else.

        Raises:
            UsageError: as ``Runner.run``.
        """


class Target(Protocol):
    """One runtime."""

    @property
    def info(self) -> TargetInfo:
        """Everything the rest of edgeslim knows about it."""

    def export(
        self,
        net: torch.nn.Module,
        examples: Mapping[str, torch.Tensor],
        out: Path,
        *,
        metadata: Metadata,
        outputs: Sequence[str] = (OUTPUT_NAME,),
        input_option: InputOption = InputOption.NCHW_FLOAT32,
        precision: str | None = None,
        options: Mapping[str, Any] = NO_OPTIONS,
    ) -> Artifact:
        """Write ``net`` to ``out`` and hash it; same net, same versions → same bytes.

        Args:
            net: in eval mode, batch norms folded; takes ``examples`` in their order and returns one tensor or a tuple
                of them, float32. Not changed.
            examples: float32, by the names that the inputs are to have in the file; only names and shapes matter. The
                one called ``image`` is ``[1, C, H, W]`` and the first.
            out: the artifact's root; must not exist. What the exporter prints goes to ``<out>.log``.
            outputs: the names that the net's results are to have in the file, in their order.
            precision: the name of one of ``info.precisions``; None takes the first.
            options: settings that only this target understands (``info.options``).

        Raises:
            ExportError: the exporter failed, or did not make what was asked; names target, net and log.
            MissingExtraError: the exporter is not installed.
            UsageError: no such precision or option.
            OutputError: ``out`` exists.
        """

    def load(self, path: Path, *, threads: int = 1) -> Runner:
        """Load an artifact into the runtime.

        Raises:
            MissingExtraError: the runtime is not installed.
            CannotCheckError: the file may be right, but it cannot be run or evaluated on this machine.
            UsageError: ``path`` is not such an artifact.
        """


def layout_of(shape: Sequence[int]) -> str:
    """The layout that PyTorch gives a tensor of that many axes; L runs over tokens, D over depth."""
    return {1: "N", 2: "NC", 3: "NLC", 4: "NCHW", 5: "NCDHW"}.get(len(shape), "")


def check_inputs(specs: Sequence[TensorInfo], inputs: Arrays) -> None:
    """Refuse arrays that a runner with these inputs cannot take.

    Raises:
        UsageError: a name is missing or unknown, or a value is no array, or of another shape or dtype.
    """
    if len(inputs) != len(specs):
        known = {spec.name for spec in specs}
        raise UsageError(f"inputs {sorted(inputs)} were given, expected {sorted(known)}")
    for spec in specs:
        array = inputs.get(spec.name)
        if array is None:
            raise UsageError(f"no input {spec.name!r} among {sorted(inputs)}")
        if not isinstance(array, np.ndarray):
            raise UsageError(f"input {spec.name!r} takes a numpy array, got {type(array).__name__}")
        if array.shape != spec.shape or array.dtype != spec.dtype:
            raise UsageError(
                f"input {spec.name!r} takes {spec.dtype} {list(spec.shape)} ({spec.layout}), "
                f"got {array.dtype} {list(array.shape)}"
            )


Found = tuple[str, tuple[int, ...], str]  # name, shape and dtype of a tensor as a runtime reports it


def specs_by_place(said: Any, found: Sequence[Found]) -> tuple[TensorInfo, ...]:
    """What a runner says about its inputs or outputs where the format keeps no names, only an order.

    Args:
        said: the list in the file's own ``edgeslim_meta``, if it has one: names and layouts, in the file's order.
    """
    told = said if isinstance(said, list) and len(said) == len(found) else [{}] * len(found)
    return tuple(_spec(entry.get("name", tensor[0]), tensor, entry) for entry, tensor in zip(told, found, strict=True))


def specs_by_name(said: Any, found: Sequence[Found]) -> tuple[TensorInfo, ...]:
    """The same where the format keeps names: in the order of ``said``, whatever order the file has."""
    told = {entry["name"]: entry for entry in said} if isinstance(said, list) else {}
    ordered = sorted(found, key=lambda tensor: [*told, tensor[0]].index(tensor[0]))
    return tuple(_spec(tensor[0], tensor, told.get(tensor[0], {})) for tensor in ordered)


def _spec(name: str, found: Found, told: Mapping[str, Any]) -> TensorInfo:
    _, shape, dtype = found
    return TensorInfo(name=name, shape=shape, dtype=dtype, layout=told.get("layout", layout_of(shape)))


def hash_files(root: Path, suffix: str) -> tuple[ArtifactFile, ...]:
    """Every file of the artifact at ``root``, sorted by path."""
    if root.is_file():
        return (_hash_file(root, f"model{suffix}"),)
    return tuple(
        _hash_file(path, path.relative_to(root).as_posix()) for path in sorted(root.rglob("*")) if path.is_file()
    )


def _hash_file(path: Path, name: str) -> ArtifactFile:
    return ArtifactFile(path=name, size_bytes=path.stat().st_size, sha256=sha256_file(path))
