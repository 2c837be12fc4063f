"""The honest fake: a target without exporter and runtime, for tests of everything that stands on targets.

It is a real one as far as its promises go: it exports the net it is given, weights verbatim, same bytes twice, and
runs it (ATen operation by operation in torch). It is only not a runtime that a phone has.

File: ``EDGEREF1``, header length (u32 little-endian), JSON header, then every tensor at a multiple of 64 bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeslim.core.manifest import TensorInfo
from edgeslim.core.passport import RuntimeInfo
from edgeslim.errors import UsageError
from edgeslim.files import write_atomically
from edgeslim.targets.base import (
    Array,
    Arrays,
    Metadata,
    Runner,
    check_inputs,
)
from edgeslim.targets.exporting import Exporter, Prepared
from edgeslim.targets.info import EVERYWHERE, Needs, Precision, TargetInfo

if TYPE_CHECKING:
    import torch

_MAGIC = b"EDGEREF1"
_ALIGN = 64


class ReferenceTarget(Exporter):
    """Writes and runs ``.ref`` files."""

    backend = "aten"
    distributions = ("torch",)
    info = TargetInfo(
        name="reference",
        suffix=".ref",
        exporter=Needs(extra="train", modules=("torch",)),
        runtime=Needs(extra="train", modules=("torch",), preload=("torch",)),
        platforms=EVERYWHERE,
        preference=-1,
        export_bytes=1 << 30,
        run_bytes=600 << 20,  # torch
    )

    def write(
        self, prepared: Prepared, out: Path, *, metadata: Metadata, precision: Precision, options: Mapping[str, Any]
    ) -> dict[str, str]:
        import torch

        program = torch.export.export(prepared.module, prepared.examples)
        header, constants = _describe(program)
        header["metadata"] = json.loads(prepared.text)
        header["labels"] = list(metadata.labels)
        with write_atomically(out, overwrite=False) as file:
            file.write(_serialise(header, constants))
        return {}

    def load(self, path: Path, *, threads: int = 1) -> Runner:
        self.info.ensure_available(exporting=False)
        return ReferenceRunner(path, threads=threads)


def _describe(program: torch.export.ExportedProgram) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The graph as JSON (``{"ref": name}`` stands for an earlier result) and its constants by placeholder name."""
    signature = program.graph_signature
    held = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    tensors = {**program.constants, **program.state_dict}  # buffers that are not persistent are among the constants
    constants = {name: tensors[key].detach().numpy() for name, key in held.items()}
    steps = [
        {"name": node.name, "op": str(node.target), "args": _encode(node.args), "kwargs": _encode(node.kwargs)}
        for node in program.graph.nodes
        if node.op == "call_function"
    ]
    return {"inputs": list(signature.user_inputs), "outputs": list(signature.user_outputs), "steps": steps}, constants


def _encode(value: Any) -> Any:
    import torch

    if isinstance(value, torch.fx.Node):
        return {"ref": value.name}
    if isinstance(value, torch.dtype | torch.memory_format | torch.layout | torch.device):
        return {type(value).__name__: str(value).removeprefix("torch.")}
    if isinstance(value, dict):
        return {"dict": {key: _encode(item) for key, item in value.items()}}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    return value


def _decode(value: Any, results: dict[str, Any]) -> Any:
    import torch

    if isinstance(value, list):
        return [_decode(item, results) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "ref":
        return results[content]
    if kind == "dict":
        return {key: _decode(item, results) for key, item in content.items()}
    return torch.device(content) if kind == "device" else getattr(torch, content)


def _serialise(header: dict[str, Any], constants: dict[str, NDArray[Any]]) -> bytes:
    offset, table, body = 0, {}, b""
    for name, array in sorted(constants.items()):
        padding = -offset % _ALIGN
        body += b"\0" * padding + array.tobytes()
        table[name] = {"offset": offset + padding, "shape": list(array.shape), "dtype": array.dtype.str}
        offset = len(body)
    text = json.dumps({**header, "constants": table}, sort_keys=True).encode()
    text += b" " * (-(len(_MAGIC) + 4 + len(text)) % _ALIGN)
    return _MAGIC + struct.pack("<I", len(text)) + text + body


class ReferenceRunner:
    """Evaluates a ``.ref`` file in torch."""

    def __init__(self, path: Path, *, threads: int) -> None:
        import torch

        data = path.read_bytes()
        if not data.startswith(_MAGIC):
            raise UsageError(f"{path} is not a reference artifact: it does not begin with {_MAGIC.decode()}")
        (length,) = struct.unpack_from("<I", data, len(_MAGIC))
        start = len(_MAGIC) + 4
        self._header: dict[str, Any] = json.loads(data[start : start + length])
        body = memoryview(data)[start + length :]
        self._constants = {
            name: torch.from_numpy(
                np.frombuffer(body, entry["dtype"], int(np.prod(entry["shape"])), entry["offset"])
                .reshape(entry["shape"])
                .copy()
            )
            for name, entry in self._header["constants"].items()
        }
        self._threads = threads
        self.inputs, self.outputs = (
            tuple(
                TensorInfo(name=said["name"], shape=tuple(said["shape"]), dtype=said["dtype"], layout=said["layout"])
                for said in self._header["metadata"][way]
            )
            for way in ("inputs", "outputs")
        )

    @property
    def metadata(self) -> dict[str, Any]:
        document: dict[str, Any] = self._header["metadata"]
        return document

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self._header["labels"])

    def run(self, inputs: Arrays) -> dict[str, Array]:
        import torch

        check_inputs(self.inputs, inputs)
        results: dict[str, Any] = dict(self._constants)
        for place, spec in zip(self._header["inputs"], self.inputs, strict=True):
            results[place] = torch.from_numpy(inputs[spec.name])
        with torch.inference_mode():
            for step in self._header["steps"]:
                namespace, name, overload = step["op"].split(".")
                operation = getattr(getattr(getattr(torch.ops, namespace), name), overload)
                keywords = _decode(step["kwargs"], results)
                results[step["name"]] = operation(*_decode(step["args"], results), **keywords)
        places = zip(self._header["outputs"], self.outputs, strict=True)
        return {spec.name: results[place].numpy() for place, spec in places}

    def describe(self) -> RuntimeInfo:
        import torch

        return RuntimeInfo(
            name="reference",
            version=torch.__version__,
            delegate_requested="aten",
            delegate_actual="aten",
            threads=torch.get_num_threads(),
            load_mode="memory",
            note="" if torch.get_num_threads() == self._threads else "torch's own thread count is used",
        )

    def close(self) -> None:
        self._constants = {}
