"""Core AI: Apple's successor of Core ML from iOS 27 and macOS 27 on, as an ``.aimodel`` directory.

    torch.export ─► coreai-torch ─► main.mlirb (weights inline), main.hash, metadata.json ─► normalise

Two exports of one net differ in the creation date in ``metadata.json``, in the places of Python source that the
program notes beside its operations, and in the compiler's names of constants, which every process draws anew. The named
normalisation ``coreai-1`` leaves out the places before the conversion, sets a fixed date, sorts the keys, and names
constants after their bytes (``coreai_names``); ``main.hash`` (the SHA-256 of ``main.mlirb``) is made true again.
Metadata: JSON text under ``edgeslim_meta`` and the class labels under ``edgeslim_labels``, in the asset's own metadata.

Where there is no Core AI (Linux), Apple's interpreter in ``coreai-core`` runs the same file: for verification, never
for timing, and the runner says so.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import importlib.metadata
import json
import sys
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from edgeslim.core.passport import RuntimeInfo
from edgeslim.errors import UsageError
from edgeslim.files import replace_directory, temporary_directory_beside
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
from edgeslim.targets.coreai_names import with_stable_names
from edgeslim.targets.exporting import Exporter, Prepared
from edgeslim.targets.info import FP16, FP32, Needs, Precision, TargetInfo

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

_PROGRAM, _HASH, _ABOUT = "main.mlirb", "main.hash", "metadata.json"
_FUNCTION = "main"
_DATE = "19700101T000000Z"


class CoreaiTarget(Exporter):
    """Writes ``.aimodel`` directories; runs them by Core AI on macOS, in Apple's interpreter elsewhere."""

    backend = "coreai"
    distributions = ("coreai-core", "coreai-torch", "torch")
    info = TargetInfo(
        name="coreai",
        suffix=".aimodel",
        directory=True,
        precisions=(FP16, FP32),
        normalisation="coreai-1",
        exporter=Needs(extra="coreai", modules=("torch", "coreai_torch")),
        runtime=Needs(extra="coreai", modules=("coreai",), preload=("coreai.authoring", "coreai.runtime")),
        platforms=("macos", "ios"),
        preference=5,
    )

    def adapted(self, net: torch.nn.Module, precision: Precision) -> torch.nn.Module:
        return _halved(net) if precision is FP16 else net

    def write(
        self, prepared: Prepared, out: Path, *, metadata: Metadata, precision: Precision, options: Mapping[str, Any]
    ) -> dict[str, str]:
        program = _convert(prepared)
        with temporary_directory_beside(out) as folder:
            asset = folder / f"asset{self.info.suffix}"  # the exporter insists on the suffix
            program.save_asset(asset, _described(metadata, prepared))
            _normalise(asset)
            replace_directory(asset, out, overwrite=False)
        return {"ios": "27.0", "macos": "27.0"}

    def load(self, path: Path, *, threads: int = 1) -> Runner:
        self.info.ensure_available(exporting=False)
        if not (path / _PROGRAM).is_file() or not (path / _ABOUT).is_file():
            raise UsageError(f"{path} is not a Core AI asset: no {_PROGRAM} and {_ABOUT}")
        return CoreaiRunner(path)


def _halved(net: torch.nn.Module) -> torch.nn.Module:
    """``net`` with weights and activations in fp16; what goes in and comes out stays float32."""
    import torch

    class Halved(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = copy.deepcopy(net).half()

        def forward(self, *inputs: torch.Tensor) -> Any:
            made = self.net(*(tensor.half() for tensor in inputs))
            return tuple(result.float() for result in made) if isinstance(made, list | tuple) else made.float()

    return Halved()


def _convert(prepared: Prepared) -> Any:
    import torch
    from coreai_torch import TorchConverter, get_decomp_table

    program = torch.export.export(prepared.module, prepared.examples).run_decompositions(get_decomp_table())
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    converter = TorchConverter().add_exported_program(
        program,
        input_names=[spec.name for spec in prepared.inputs],
        output_names=[spec.name for spec in prepared.outputs],
        entrypoint_name=_FUNCTION,
    )
    return converter.to_coreai()


def _described(metadata: Metadata, prepared: Prepared) -> Any:
    from coreai.runtime import AIModelAssetMetadata

    about = AIModelAssetMetadata()
    about.author = metadata.author
    about.license = metadata.licence
    about.model_description = metadata.description
    about.set_custom(METADATA_NAME, prepared.text)
    if metadata.labels:
        about.set_custom(LABELS_NAME, metadata.labels_text())
    return about


def _normalise(asset: Path) -> None:
    program = with_stable_names((asset / _PROGRAM).read_bytes())
    (asset / _PROGRAM).write_bytes(program)
    (asset / _HASH).write_bytes(hashlib.sha256(program).digest())
    about = json.loads((asset / _ABOUT).read_text(encoding="utf-8"))
    about["creationDate"] = _DATE
    text = json.dumps(about, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    (asset / _ABOUT).write_text(text, encoding="utf-8")
    for path in asset.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


class CoreaiRunner:
    """An asset in Core AI (macOS) or in Apple's interpreter; both are asynchronous, so it has a thread of its own."""

    def __init__(self, path: Path) -> None:
        from coreai.authoring import AIModelAsset

        self._about: dict[str, Any] = json.loads((path / _ABOUT).read_text(encoding="utf-8"))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="edgeslim-coreai", daemon=True)
        self._thread.start()
        self._open: Any = AIModelAsset.load(path).executable()
        try:
            self._model: Any = self._wait(self._open.__aenter__())
            self._function: Any = self._model.load_function(_FUNCTION)
        except BaseException:
            self._stop()
            raise
        about, said = self._function.desc, self.metadata
        taken = [_found(name, about.input_descriptor(name)) for name in about.input_names]
        given = [_found(name, about.output_descriptor(name)) for name in about.output_names]
        self.inputs = specs_by_name(said.get("inputs"), taken)
        self.outputs = specs_by_name(said.get("outputs"), given)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def metadata(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self._custom(METADATA_NAME) or "{}")
        return document

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self._custom(LABELS_NAME).splitlines())

    def _custom(self, name: str) -> str:
        return str(self._about.get("creatorDefinedMetadata", {}).get(name, ""))

    def run(self, inputs: Arrays) -> dict[str, Array]:
        from coreai.runtime import NDArray

        check_inputs(self.inputs, inputs)
        found = self._wait(self._function({name: NDArray(array) for name, array in inputs.items()}))
        return {spec.name: np.array(found[spec.name].numpy()) for spec in self.outputs}

    def describe(self) -> RuntimeInfo:
        real = sys.platform == "darwin"
        return RuntimeInfo(
            name="coreai" if real else "coreai-interpreter",
            version=importlib.metadata.version("coreai-core"),
            delegate_requested="coreai",
            delegate_actual="unknown" if real else "interpreter",
            threads=0,
            load_mode="compiled",
            note="" if real else "Apple's interpreter; its speed says nothing about a device",
        )

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self._function = self._model = None
        self._wait(self._open.__aexit__(None, None, None))
        self._stop()


def _found(name: str, about: Any) -> Found:
    return name, tuple(about.shape), str(about.dtype)
