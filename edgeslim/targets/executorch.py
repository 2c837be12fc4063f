"""ExecuTorch: the whole net as one XNNPACK delegate in a ``.pte``; metadata as constant methods.

Any app can read the metadata without edgeslim: ``module.execute("edgeslim_meta")`` returns the JSON text,
``module.execute("edgeslim_labels")`` the class labels, one per line. A ``.pte`` has no names for inputs and outputs:
they stand in ``edgeslim_meta``, in the program's order.
"""

from __future__ import annotations

import importlib.metadata
import json
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgeslim.core.passport import RuntimeInfo
from edgeslim.errors import ExportError, UsageError
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
    specs_by_place,
)
from edgeslim.targets.exporting import Exporter, Prepared
from edgeslim.targets.info import EVERYWHERE, Needs, Precision, TargetInfo

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

_IDENTIFIER = b"ET12"  # at byte 4 of every .pte
_DTYPES = {0: "uint8", 1: "int8", 3: "int32", 4: "int64", 5: "float16", 6: "float32"}  # ScalarType
# What may stay outside the delegate: XNNPACK has no uint8 → float32 cast.
_OUTSIDE = {"getitem", "dim_order_ops._to_dim_order_copy.default"}


class ExecutorchTarget(Exporter):
    """Writes and runs ``.pte`` files."""

    backend = "xnnpack"
    distributions = ("executorch", "torch")
    info = TargetInfo(
        name="executorch",
        suffix=".pte",
        exporter=Needs(extra="executorch", modules=("torch", "executorch")),
        runtime=Needs(
            extra="executorch",
            modules=("torch", "executorch"),  # the runtime's Python binding takes torch tensors
            preload=("torch", "executorch.runtime", "executorch.extension.pybindings.portable_lib"),
        ),
        platforms=EVERYWHERE,
        preference=20,
        run_bytes=600 << 20,  # torch
        options={"compile_specs": "name → bytes, handed to the XNNPACK delegate and kept in the file"},
    )

    def check_options(self, options: Mapping[str, Any]) -> None:
        super().check_options(options)
        specs = options.get("compile_specs", {})
        if not all(isinstance(name, str) and isinstance(value, bytes) for name, value in specs.items()):
            raise UsageError(f"compile_specs are names with bytes, got {specs!r}")

    def write(
        self, prepared: Prepared, out: Path, *, metadata: Metadata, precision: Precision, options: Mapping[str, Any]
    ) -> dict[str, str]:
        import torch

        program = torch.export.export(prepared.module, prepared.examples)
        lowered = _lower(program, prepared.text, metadata, options.get("compile_specs", {}))
        _check_one_delegate(lowered.exported_program(), metadata)
        with write_atomically(out, overwrite=False) as file:
            lowered.to_executorch().write_to_file(file)
        return {"executorch": ".".join(importlib.metadata.version("executorch").split(".")[:2])}

    def load(self, path: Path, *, threads: int = 1) -> Runner:
        self.info.ensure_available(exporting=False)
        return ExecutorchRunner(path, threads=threads)


def _lower(program: ExportedProgram, text: str, metadata: Metadata, specs: Mapping[str, bytes]) -> Any:
    from executorch.exir import to_edge_transform_and_lower

    from edgeslim.targets.xnnpack_lowering import WholeNetPartitioner, rewrite_for_xnnpack

    rewrite_for_xnnpack(program)

    texts = {METADATA_NAME: text}
    if metadata.labels:
        texts[LABELS_NAME] = metadata.labels_text()
    partitioner = WholeNetPartitioner(specs)
    return to_edge_transform_and_lower(program, partitioner=[partitioner], constant_methods=texts)


def _check_one_delegate(program: ExportedProgram, metadata: Metadata) -> None:
    """Everything but the input cast is in one delegate, or the export is no good on a phone."""
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    names = [getattr(node.target, "__name__", str(node.target)) for node in calls]
    delegates = names.count("executorch_call_delegate")
    left = sorted({name for name in names if name not in _OUTSIDE and name != "executorch_call_delegate"})
    if delegates != 1 or left:
        raise ExportError(
            f"net {metadata.label} of {metadata.model} came out as {delegates} XNNPACK delegates with "
            f"{left or 'nothing'} outside, expected one delegate and nothing outside"
        )


class ExecutorchRunner:
    """A ``.pte`` in ExecuTorch's own Python runtime.

    XNNPACK's threads are one pool for the whole process and must not change under a loaded program, so a second
    runner that asks for another count gets the pool as it is, and ``describe().note`` says so.
    """

    _alive: ClassVar[weakref.WeakSet[ExecutorchRunner]] = weakref.WeakSet()

    def __init__(self, path: Path, *, threads: int) -> None:
        with path.open("rb") as file:
            if file.read(8)[4:] != _IDENTIFIER:
                raise UsageError(f"{path} is not an ExecuTorch program: no {_IDENTIFIER.decode()} at byte 4")
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        self._threads = _set_threads(portable_lib, threads, in_use=bool(ExecutorchRunner._alive))
        self._asked = threads
        self._program: Any = Runtime.get().load_program(path)
        self._forward: Any = self._program.load_method("forward")
        meta = self._forward.metadata
        taken = [meta.input_tensor_meta(i) for i in range(meta.num_inputs())]
        given = [meta.output_tensor_meta(i) for i in range(meta.num_outputs())]
        said = self.metadata
        self.inputs = specs_by_place(said.get("inputs"), _found("input", taken))
        self.outputs = specs_by_place(said.get("outputs"), _found("output", given))
        ExecutorchRunner._alive.add(self)

    @property
    def metadata(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self._text(METADATA_NAME) or "{}")
        return document

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self._text(LABELS_NAME).splitlines())

    def _text(self, method: str) -> str:
        if method not in self._program.method_names:
            return ""
        (text,) = self._program.load_method(method).execute([])
        return str(text)

    def run(self, inputs: Arrays) -> dict[str, Array]:
        results = self._forward.execute(self._tensors(inputs))
        return {spec.name: result.numpy() for spec, result in zip(self.outputs, results, strict=True)}

    def bind(self, inputs: Arrays) -> Callable[[], object]:
        tensors, execute = self._tensors(inputs), self._forward.execute
        return lambda: execute(tensors)

    def _tensors(self, inputs: Arrays) -> tuple[torch.Tensor, ...]:
        import torch

        check_inputs(self.inputs, inputs)
        return tuple(torch.from_numpy(inputs[spec.name]) for spec in self.inputs)

    def describe(self) -> RuntimeInfo:
        note = "" if self._threads == self._asked else f"{self._asked} threads asked, the pool was in use"
        return RuntimeInfo(
            name="executorch",
            version=importlib.metadata.version("executorch"),
            delegate_requested="xnnpack",
            delegate_actual="xnnpack",  # ExecuTorch never falls back: without the backend, loading fails
            threads=self._threads,
            load_mode="mmap",
            note=note,
        )

    def close(self) -> None:
        self._forward = self._program = None
        ExecutorchRunner._alive.discard(self)


def _found(way: str, tensors: list[Any]) -> list[Found]:
    """Name by place, shape and dtype of what a method takes or gives."""
    return [
        (f"{way}_{place}", tuple(tensor.sizes()), _DTYPES.get(tensor.dtype(), str(tensor.dtype())))
        for place, tensor in enumerate(tensors)
    ]


def _set_threads(portable_lib: Any, threads: int, *, in_use: bool) -> int:
    """Size the process's pool if that is safe; returns what it is."""
    now = int(portable_lib._threadpool_get_thread_count())
    if now != threads and not in_use:
        portable_lib._unsafe_reset_threadpool(threads)
        now = int(portable_lib._threadpool_get_thread_count())
    return now
