"""Core ML: an ML Program (fp16 or fp32) for iOS 16 and macOS 13, as a deterministic ``.mlpackage``.

    torch.export ─► coremltools ─► spec + weight.bin ─► normalise ─► model.mlmodel, weights/weight.bin, Manifest.json

coremltools writes today's date, protobuf maps in random order, random UUIDs and mode 0600. The named normalisation
``coreml-1`` replaces them: fixed date, maps sorted by key, UUIDs from the content, mode 0644; nothing else changes.
Metadata: JSON under ``edgeslim_meta`` and the class labels, one per line, under ``edgeslim_labels`` in the user-defined
metadata. coremltools' own classifier is not used: it replaces the logits by a dictionary of probabilities.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeslim.core.passport import RuntimeInfo
from edgeslim.errors import ExportError, UsageError
from edgeslim.targets.base import (
    INPUT_NAME,
    LABELS_NAME,
    METADATA_NAME,
    OUTPUT_NAME,
    Artifact,
    InputOption,
    Metadata,
    Runner,
    hash_files,
)
from edgeslim.targets.exporting import Prepared, chosen_precision, exporting, prepare, require
from edgeslim.targets.mlpackage import MODEL_PATH, describe_input, write_package

if TYPE_CHECKING:
    import torch

NORMALISATION = "coreml-1"
_DATE_KEY = "com.github.apple.coremltools.conversion_date"
_DATE = "1970-01-01"


class CoremlTarget:
    """Writes ``.mlpackage`` directories; runs them by Core ML on macOS, op by op in torch elsewhere."""

    name = "coreml"
    suffix = ".mlpackage"
    precisions: tuple[str, ...] = ("fp16", "fp32")

    def ensure_available(self, *, exporting: bool) -> None:
        if exporting or sys.platform != "darwin":
            require("torch", "coreml")
        require("coremltools", "coreml")

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
        self.ensure_available(exporting=True)
        precision = chosen_precision(self, precision)
        with exporting(self.name, metadata.width, out) as log:
            prepared = prepare(net, example, input_option, metadata)
            model = _convert(prepared, precision)
            spec = model.get_spec()
            _describe(spec, metadata, prepared)
            write_package(out, spec, Path(model.weights_dir))
        return Artifact(
            target=self.name,
            width=metadata.width,
            precision=precision,
            backend="mlprogram",
            input_option=input_option,
            inputs=(prepared.input,),
            outputs=(prepared.output,),
            requires={"ios": "16.0", "macos": "13.0"},
            exporters={
                "coremltools": importlib.metadata.version("coremltools"),
                "torch": importlib.metadata.version("torch"),
            },
            files=hash_files(out, self.suffix),
            root=out,
            log=log,
        )

    def load(self, path: Path, *, threads: int = 1) -> Runner:
        self.ensure_available(exporting=False)
        if not (path / "Data" / MODEL_PATH).is_file():
            raise UsageError(f"{path} is not a Core ML package: no Data/{MODEL_PATH}")
        if sys.platform == "darwin":
            return CoremlRunner(path)
        from edgeslim.targets.mil import MilRunner

        return MilRunner(path)


def _convert(prepared: Prepared, precision: str) -> Any:
    import coremltools as ct
    import torch

    shape = prepared.nchw_shape
    if (
        prepared.input.dtype == "uint8"
    ):  # Core ML's uint8 image is a pixel buffer, which reaches the program as NCHW floats in [0, 255]
        layouts = {1: ct.colorlayout.GRAYSCALE, 3: ct.colorlayout.RGB}
        if shape[1] not in layouts:
            raise ExportError(f"Core ML takes images of 1 or 3 channels, this net takes {shape[1]}")
        image = ct.ImageType(name=INPUT_NAME, shape=shape, color_layout=layouts[shape[1]])
    else:
        image = ct.TensorType(name=INPUT_NAME, shape=shape, dtype=np.float32)
    program = torch.export.export(prepared.nchw_module, (torch.zeros(shape),)).run_decompositions({})
    return ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=ct.precision.FLOAT16 if precision == "fp16" else ct.precision.FLOAT32,
        inputs=[image],
        outputs=[ct.TensorType(name=OUTPUT_NAME, dtype=np.float32)],
        skip_model_load=True,
    )


def _describe(spec: Any, metadata: Metadata, prepared: Prepared) -> None:
    """Put the metadata into the spec, and the normalisation's fixed date."""
    described = spec.description.metadata
    described.author = metadata.author
    described.license = metadata.licence
    described.shortDescription = metadata.description
    described.versionString = metadata.version
    described.userDefined[_DATE_KEY] = _DATE
    described.userDefined[METADATA_NAME] = metadata.to_text()
    if metadata.labels:
        described.userDefined[LABELS_NAME] = metadata.labels_text()
    spec.description.input[0].shortDescription = metadata.input_words(prepared.input)
    spec.description.output[0].shortDescription = "one score per class, before softmax"


class CoremlRunner:
    """A package in the real Core ML (macOS)."""

    def __init__(self, path: Path) -> None:
        import coremltools as ct

        self._model: Any = ct.models.MLModel(str(path), compute_units=ct.ComputeUnit.ALL)
        self.input = describe_input(self._model.get_spec())

    @property
    def metadata(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self._model.user_defined_metadata[METADATA_NAME])
        return document

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self._model.user_defined_metadata.get(LABELS_NAME, "").splitlines())

    def run(self, image: NDArray[Any]) -> NDArray[np.float32]:
        self.input.check(image)
        value: Any = image
        if self.input.dtype == "uint8":
            from PIL import Image

            value = Image.fromarray(image[0, :, :, 0] if image.shape[3] == 1 else image[0])
        logits = self._model.predict({INPUT_NAME: value})[OUTPUT_NAME]
        return np.asarray(logits, dtype=np.float32)

    def describe(self) -> RuntimeInfo:
        import platform

        return RuntimeInfo(
            name="coreml",
            version=platform.mac_ver()[0],
            delegate_requested="all",
            delegate_actual="unknown",
            threads=0,
            load_mode="compiled",
            note="Core ML chooses compute units and threads itself and does not report them",
        )

    def close(self) -> None:
        self._model = None
