"""LiteRT (TensorFlow Lite): a ``.tflite`` with the standard TFLITE_METADATA entry and its label file.

``export`` needs litert-torch; ``load`` needs only ``ai-edge-litert`` (no torch) and runs the stock interpreter, whose
default delegate is XNNPACK.
"""

from __future__ import annotations

import importlib.metadata
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeslim.core.passport import RuntimeInfo
from edgeslim.errors import UsageError
from edgeslim.files import write_atomically
from edgeslim.targets.base import (
    LABELS_NAME,
    METADATA_NAME,
    Array,
    Arrays,
    Found,
    Metadata,
    Runner,
    check_inputs,
    specs_by_name,
)
from edgeslim.targets.exporting import Exporter, Prepared
from edgeslim.targets.info import EVERYWHERE, Needs, Precision, TargetInfo

if TYPE_CHECKING:
    pass

_IDENTIFIER = b"TFL3"  # at byte 4 of every .tflite


class LitertTarget(Exporter):
    """Writes and runs ``.tflite`` files."""

    backend = "builtin"
    distributions = ("litert-torch", "torch")
    info = TargetInfo(
        name="litert",
        aliases=("tflite",),
        suffix=".tflite",
        normalisation="litert-1",
        exporter=Needs(extra="litert", modules=("torch", "litert_torch")),
        runtime=Needs(extra="litert-runtime", modules=("ai_edge_litert",), preload=("ai_edge_litert.interpreter",)),
        platforms=EVERYWHERE,
        preference=30,
    )

    def write(
        self, prepared: Prepared, out: Path, *, metadata: Metadata, precision: Precision, options: Mapping[str, Any]
    ) -> dict[str, str]:
        import litert_torch

        from edgeslim.targets.front import Named
        from edgeslim.targets.tflite_metadata import add_metadata, minimum_runtime

        named = Named(prepared.module, [spec.name for spec in prepared.outputs]).eval()
        arguments = {spec.name: example for spec, example in zip(prepared.inputs, prepared.examples, strict=True)}
        stock = litert_torch.convert(named, sample_kwargs=arguments).model_content()
        model = add_metadata(stock, metadata, prepared.inputs, prepared.outputs)
        runtime = minimum_runtime(stock)
        with write_atomically(out, overwrite=False) as file:
            file.write(model)
        return {"tflite": runtime} if runtime else {}

    def load(self, path: Path, *, threads: int = 1) -> Runner:
        self.info.ensure_available(exporting=False)
        return LitertRunner(path, threads=threads)


class LitertRunner:
    """A ``.tflite`` in the LiteRT interpreter."""

    def __init__(self, path: Path, *, threads: int) -> None:
        with path.open("rb") as file:
            if file.read(8)[4:] != _IDENTIFIER:
                raise UsageError(f"{path} is not a TFLite model: no {_IDENTIFIER.decode()} at byte 4")
        from ai_edge_litert.interpreter import Interpreter

        self._path = path
        self._threads = threads
        self._interpreter: Any = Interpreter(model_path=str(path), num_threads=threads)
        self._interpreter.allocate_tensors()
        self._taken, taken = self._bound("inputs", self._interpreter.get_input_details())
        self._given, given = self._bound("outputs", self._interpreter.get_output_details())
        said = self.metadata
        self.inputs, self.outputs = specs_by_name(said.get("inputs"), taken), specs_by_name(said.get("outputs"), given)

    def _bound(self, way: str, details: list[dict[str, Any]]) -> tuple[dict[str, int], list[Found]]:
        """Tensor index by name, and what is there, in the names of the signature where there is one."""
        names = {}
        if len(self._interpreter.get_signature_list()) == 1:
            runner = self._interpreter.get_signature_runner()
            signed = runner.get_input_details() if way == "inputs" else runner.get_output_details()
            names = {detail["index"]: name for name, detail in signed.items()}
        indices, found = {}, []
        for detail in details:
            name = names.get(detail["index"], detail["name"])
            indices[name] = detail["index"]
            found.append((name, tuple(int(size) for size in detail["shape"]), np.dtype(detail["dtype"]).name))
        return indices, found

    @property
    def metadata(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self._associated(f"{METADATA_NAME}.json") or "{}")
        return document

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self._associated(f"{LABELS_NAME}.txt").splitlines())

    def _associated(self, name: str) -> str:
        if not zipfile.is_zipfile(self._path):
            return ""
        with zipfile.ZipFile(self._path) as archive:
            return archive.read(name).decode() if name in archive.namelist() else ""

    def run(self, inputs: Arrays) -> dict[str, Array]:
        self._set(inputs)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._given.items()}

    def bind(self, inputs: Arrays) -> Callable[[], object]:
        self._set(inputs)
        invoke: Callable[[], object] = self._interpreter.invoke
        return invoke

    def _set(self, inputs: Arrays) -> None:
        check_inputs(self.inputs, inputs)
        for name, index in self._taken.items():
            self._interpreter.set_tensor(index, inputs[name])

    def describe(self) -> RuntimeInfo:
        names = [details["op_name"] for details in self._interpreter._get_ops_details()]
        return RuntimeInfo(
            name="litert",
            version=importlib.metadata.version("ai-edge-litert"),
            delegate_requested="xnnpack",
            delegate_actual="xnnpack" if "DELEGATE" in names else "builtin",
            threads=self._threads,
            load_mode="mmap",
        )

    def close(self) -> None:
        self._interpreter = None
