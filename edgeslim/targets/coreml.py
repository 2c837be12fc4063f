"""Core ML: an ML Program (fp16, fp32 or both) for iOS 16 and macOS 13, as a deterministic ``.mlpackage``.

    torch.export ─► coremltools ─► spec + weight.bin ─► normalise ─► model.mlmodel, weights/weight.bin, Manifest.json

coremltools writes today's date, protobuf maps in random order, random UUIDs and mode 0600. The named normalisation
``coreml-1`` replaces them: fixed date, maps sorted by key, UUIDs from the content, mode 0644; nothing else changes.
Metadata: JSON under ``edgeslim_meta`` and the class labels, one per line, under ``edgeslim_labels`` in the user-defined
metadata. coremltools' own classifier is not used: it replaces the logits by a dictionary of probabilities.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeslim.core.passport import RuntimeInfo
from edgeslim.core.recipe import Rule
from edgeslim.errors import ExportError, UsageError
from edgeslim.targets.base import (
    INPUT_NAME,
    LABELS_NAME,
    METADATA_NAME,
    Array,
    Arrays,
    Metadata,
    Runner,
    check_inputs,
)
from edgeslim.targets.exporting import Exporter, Prepared
from edgeslim.targets.info import FP16, FP32, Needs, Precision, TargetInfo
from edgeslim.targets.mlpackage import MODEL_PATH, describe_inputs, describe_outputs, write_package

_DATE_KEY = "com.github.apple.coremltools.conversion_date"
_DATE = "1970-01-01"

_FP16 = replace(FP16, stored=(Rule.F16, Rule.F16_COREML, Rule.F32), remedy="--coreml-precision auto, or fp32")
_AUTO = replace(_FP16, name="auto", remedy="--coreml-precision fp32")
# Rounding one operation of EfficientNet-Lite0 at a time (6 photographs): its first 28 of 99 operations make 84 % of the
# squared error of its logits and hold 1 % of its weights, and what comes after them is spread evenly.
_FP32_SHARE = 0.01


class CoremlTarget(Exporter):
    """Writes ``.mlpackage`` directories; runs them by Core ML on macOS, op by op in torch elsewhere."""

    backend = "mlprogram"
    distributions = ("coremltools", "torch")
    info = TargetInfo(
        name="coreml",
        suffix=".mlpackage",
        directory=True,
        precisions=(_FP16, _AUTO, FP32),
        normalisation="coreml-1",
        exporter=Needs(extra="coreml", modules=("torch", "coremltools")),
        runtime=Needs(
            extra="coreml", modules=("coremltools",) if sys.platform == "darwin" else ("torch", "coremltools")
        ),
        platforms=("macos", "ios"),
        preference=10,
    )

    def write(
        self, prepared: Prepared, out: Path, *, metadata: Metadata, precision: Precision, options: Mapping[str, Any]
    ) -> dict[str, str]:
        model = _convert(prepared, precision)
        spec = model.get_spec()
        _describe(spec, metadata, prepared)
        write_package(out, spec, Path(model.weights_dir))
        return {"ios": "16.0", "macos": "13.0"}

    def load(self, path: Path, *, threads: int = 1) -> Runner:
        self.info.ensure_available(exporting=False)
        if not (path / "Data" / MODEL_PATH).is_file():
            raise UsageError(f"{path} is not a Core ML package: no Data/{MODEL_PATH}")
        if sys.platform == "darwin":
            return CoremlRunner(path)
        from edgeslim.targets.mil import MilRunner

        return MilRunner(path)


def _convert(prepared: Prepared, precision: Precision) -> Any:
    import coremltools as ct
    import torch

    inputs = [
        _image(shape) if spec.dtype == "uint8" else ct.TensorType(name=spec.name, shape=shape, dtype=np.float32)
        for spec, shape in zip(prepared.inputs, prepared.plane_shapes, strict=True)
    ]
    examples = tuple(torch.zeros(shape) for shape in prepared.plane_shapes)
    program = torch.export.export(prepared.planes, examples).run_decompositions({})
    return ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=_compute_precision(precision),
        inputs=inputs,
        outputs=[ct.TensorType(name=spec.name, dtype=np.float32) for spec in prepared.outputs],
        skip_model_load=True,
    )


def _compute_precision(precision: Precision) -> Any:
    import coremltools as ct

    if precision is _AUTO:
        return ct.transform.FP16ComputePrecision(op_selector=_Fp16Selector())
    return ct.precision.FLOAT16 if precision is _FP16 else ct.precision.FLOAT32


class _Fp16Selector:
    """Says of every operation whether it may be fp16: not the first ones, up to ``_FP32_SHARE`` of all weights.

    They stay together, so that a device changes its precision once. The program is looked at as it is when coremltools
    asks for the first time: its operations are the final ones then, but for casts.
    """

    def __init__(self) -> None:
        self._kept: set[str] | None = None

    def __call__(self, op: Any) -> bool:
        if self._kept is None:
            self._kept = _first_operations(op.enclosing_block.operations)
        return op.name not in self._kept


def _first_operations(operations: Any) -> set[str]:
    steps = [op for op in operations if op.op_type != "const"]
    weights = [sum(_size(value) for value in op.inputs.values()) for op in steps]
    left = _FP32_SHARE * sum(weights)
    kept = set()
    for op, size in zip(steps, weights, strict=True):
        left -= size
        if left < 0:
            break
        kept.add(op.name)
    return kept


def _size(value: Any) -> int:
    """Numbers in a constant argument of an operation; 0 for what is computed."""
    constant = getattr(value, "val", None)  # a list of variables has none
    return int(constant.size) if isinstance(constant, np.ndarray) and constant.dtype.kind == "f" else 0


def _image(shape: tuple[int, ...]) -> Any:
    """Core ML's uint8 image is a pixel buffer, which reaches the program as NCHW floats in [0, 255]."""
    import coremltools as ct

    layouts = {1: ct.colorlayout.GRAYSCALE, 3: ct.colorlayout.RGB}
    if shape[1] not in layouts:
        raise ExportError(f"Core ML takes images of 1 or 3 channels, this net takes {shape[1]}")
    return ct.ImageType(name=INPUT_NAME, shape=shape, color_layout=layouts[shape[1]])


def _describe(spec: Any, metadata: Metadata, prepared: Prepared) -> None:
    """Put the metadata into the spec, and the normalisation's fixed date."""
    described = spec.description.metadata
    described.author = metadata.author
    described.license = metadata.licence
    described.shortDescription = metadata.description
    described.versionString = metadata.version
    described.userDefined[_DATE_KEY] = _DATE
    described.userDefined[METADATA_NAME] = prepared.text
    if metadata.labels:
        described.userDefined[LABELS_NAME] = metadata.labels_text()
    given = {feature.name for feature in (*spec.description.input, *spec.description.output)}
    asked = {tensor.name for tensor in (*prepared.inputs, *prepared.outputs)}
    if given != asked:  # words of the MIL language, such as "state", are renamed by coremltools
        raise ExportError(
            f"Core ML cannot have inputs or outputs called {', '.join(sorted(asked - given))}",
            hint="give them other names",
        )
    words = {tensor.name: metadata.input_words(tensor) for tensor in prepared.inputs}
    words |= {tensor.name: metadata.output_words(tensor) for tensor in prepared.outputs}
    for feature in (*spec.description.input, *spec.description.output):
        feature.shortDescription = words[feature.name]


class CoremlRunner:
    """A package in the real Core ML (macOS)."""

    def __init__(self, path: Path) -> None:
        import coremltools as ct

        self._model: Any = ct.models.MLModel(str(path), compute_units=ct.ComputeUnit.ALL)
        self.inputs = describe_inputs(self._model.get_spec())
        self.outputs = describe_outputs(self._model.get_spec())

    @property
    def metadata(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self._model.user_defined_metadata.get(METADATA_NAME, "{}"))
        return document

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self._model.user_defined_metadata.get(LABELS_NAME, "").splitlines())

    def run(self, inputs: Arrays) -> dict[str, Array]:
        check_inputs(self.inputs, inputs)
        values: dict[str, Any] = dict(inputs)
        for spec in self.inputs:
            if spec.dtype == "uint8":
                from PIL import Image

                image = inputs[spec.name]
                values[spec.name] = Image.fromarray(image[0, :, :, 0] if image.shape[3] == 1 else image[0])
        found = self._model.predict(values)
        return {spec.name: np.asarray(found[spec.name], dtype=np.float32) for spec in self.outputs}

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
