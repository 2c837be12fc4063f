"""LiteRT (TensorFlow Lite): a ``.tflite`` with the standard TFLITE_METADATA entry and its label file.

``export`` needs litert-torch; ``load`` needs only ``ai-edge-litert`` (no torch) and runs the stock interpreter, whose
default delegate is XNNPACK.
"""

from __future__ import annotations

import importlib.metadata
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeslim.core.passport import RuntimeInfo
from edgeslim.errors import UsageError
from edgeslim.files import write_atomically
from edgeslim.targets.base import (
    INPUT_NAME,
    LABELS_NAME,
    METADATA_NAME,
    Artifact,
    InputOption,
    Metadata,
    Runner,
    TensorSpec,
    hash_files,
)
from edgeslim.targets.exporting import chosen_precision, exporting, prepare, require

if TYPE_CHECKING:
    import torch

_IDENTIFIER = b"TFL3"  # at byte 4 of every .tflite
_INPUT_LAYOUTS = {"float32": "NCHW", "uint8": "NHWC"}


class LitertTarget:
    """Writes and runs ``.tflite`` files."""

    name = "litert"
    suffix = ".tflite"
    precisions: tuple[str, ...] = ("fp32",)

    def ensure_available(self, *, exporting: bool) -> None:
        if exporting:
            require("torch", "litert")
            require("litert_torch", "litert")
        else:
            require("ai_edge_litert", "litert-runtime")

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
            import litert_torch

            from edgeslim.targets.front import Named
            from edgeslim.targets.tflite_metadata import add_metadata, minimum_runtime

            prepared = prepare(net, example, input_option, metadata)
            named = Named(prepared.module).eval()
            converted = litert_torch.convert(named, sample_kwargs={INPUT_NAME: prepared.example})
            stock = converted.model_content()
            model = add_metadata(stock, metadata, prepared.input, prepared.output)
            runtime = minimum_runtime(stock)
            with write_atomically(out, overwrite=False) as file:
                file.write(model)
        return Artifact(
            target=self.name,
            width=metadata.width,
            precision=precision,
            backend="builtin",
            input_option=input_option,
            inputs=(prepared.input,),
            outputs=(prepared.output,),
            requires={"tflite": runtime} if runtime else {},
            exporters={
                "litert-torch": importlib.metadata.version("litert-torch"),
                "torch": importlib.metadata.version("torch"),
            },
            files=hash_files(out, self.suffix),
            root=out,
            log=log,
        )

    def load(self, path: Path, *, threads: int = 1) -> Runner:
        self.ensure_available(exporting=False)
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
        (taken,) = self._interpreter.get_input_details()
        (given,) = self._interpreter.get_output_details()
        self._taken, self._given = taken["index"], given["index"]
        dtype = np.dtype(taken["dtype"]).name
        shape = tuple(int(size) for size in taken["shape"])
        self.input = TensorSpec(name=INPUT_NAME, shape=shape, dtype=dtype, layout=_INPUT_LAYOUTS[dtype])

    @property
    def metadata(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self._associated(f"{METADATA_NAME}.json"))
        return document

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self._associated(f"{LABELS_NAME}.txt").splitlines())

    def _associated(self, name: str) -> str:
        with zipfile.ZipFile(self._path) as archive:
            return archive.read(name).decode() if name in archive.namelist() else ""

    def run(self, image: NDArray[Any]) -> NDArray[np.float32]:
        self.input.check(image)
        self._interpreter.set_tensor(self._taken, image)
        self._interpreter.invoke()
        logits: NDArray[np.float32] = self._interpreter.get_tensor(self._given)
        return logits

    def bind(self, image: NDArray[Any]) -> Callable[[], object]:
        self.input.check(image)
        self._interpreter.set_tensor(self._taken, image)
        invoke: Callable[[], object] = self._interpreter.invoke
        return invoke

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
