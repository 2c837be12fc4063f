"""Core ML packages where there is no Core ML: the saved MIL program, op by op in torch.

The package is read back from disk (spec and weight.bin, through coremltools' own loader), so this checks what was
saved: weights, slicing, folding, attributes, casts. Operations on fp16 values are computed in fp32 and rounded to fp16:
the best a device can do. What it cannot show is the rounding inside a real neural engine.
"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgeslim.core.passport import RuntimeInfo
from edgeslim.errors import CannotCheckError
from edgeslim.targets.base import LABELS_NAME, METADATA_NAME, Array, Arrays, check_inputs
from edgeslim.targets.mil_ops import OPERATIONS, Inputs
from edgeslim.targets.mlpackage import WEIGHTS_PATH, describe_inputs, describe_outputs


class _Step:
    """One operation: its constants ready, its variables by name."""

    def __init__(self, op: Any) -> None:
        if op.op_type not in OPERATIONS:
            raise CannotCheckError(f"cannot evaluate the MIL operation {op.op_type!r} here", hint="run it on macOS")
        self._function = OPERATIONS[op.op_type]
        self._constants: Inputs = {}
        self._variables: dict[str, Any] = {}
        for argument, value in op.inputs.items():
            if isinstance(value, list | tuple):
                self._variables[argument] = [item.name for item in value]
            elif value.val is None:
                self._variables[argument] = value.name
            else:
                self._constants[argument] = _constant(value.val)
        self._outputs = [(var.name, _is_fp16(var)) for var in op.outputs]

    def evaluate(self, results: dict[str, Tensor]) -> None:
        inputs = dict(self._constants)
        for argument, names in self._variables.items():
            inputs[argument] = [results[n] for n in names] if isinstance(names, list) else results[names]
        values = self._function(inputs)
        for (name, fp16), value in zip(self._outputs, values if isinstance(values, tuple) else (values,), strict=True):
            results[name] = value.half().float() if fp16 else value


def _constant(value: Any) -> Any:
    """Floating arrays as float32 tensors (exact for fp16), the rest as it is."""
    if isinstance(value, np.ndarray | np.floating) and np.issubdtype(value.dtype, np.floating):
        return torch.from_numpy(np.array(value, dtype=np.float32))
    return value


def _is_fp16(var: Any) -> bool:
    from coremltools.converters.mil.mil import types

    return bool(var.dtype == types.fp16)


class MilRunner:
    """Evaluates a ``.mlpackage``; slow, exact, and runs anywhere."""

    def __init__(self, path: Path) -> None:
        from coremltools.converters.mil.frontend.milproto.load import load
        from coremltools.models.utils import load_spec

        spec = load_spec(str(path))
        weights = str(path / "Data" / WEIGHTS_PATH)
        program = load(spec, spec.specificationVersion, weights)
        self._steps = [_Step(op) for op in program.functions["main"].operations if op.op_type != "const"]
        self._texts = dict(spec.description.metadata.userDefined)
        self.inputs = describe_inputs(spec)
        self.outputs = describe_outputs(spec)

    @property
    def metadata(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self._texts.get(METADATA_NAME, "{}"))
        return document

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self._texts.get(LABELS_NAME, "").splitlines())

    def run(self, inputs: Arrays) -> dict[str, Array]:
        check_inputs(self.inputs, inputs)
        results: dict[str, Tensor] = {}
        for spec in self.inputs:
            start = torch.from_numpy(inputs[spec.name])
            results[spec.name] = start.permute(0, 3, 1, 2).float() if spec.dtype == "uint8" else start
        with torch.inference_mode():
            for step in self._steps:
                step.evaluate(results)
        return {spec.name: results[spec.name].numpy() for spec in self.outputs}

    def describe(self) -> RuntimeInfo:
        return RuntimeInfo(
            name="coreml-mil",
            version=importlib.metadata.version("coremltools"),
            delegate_requested="coreml",
            delegate_actual="torch",
            threads=torch.get_num_threads(),
            load_mode="memory",
            note="the saved MIL program evaluated in torch; its speed says nothing about a device",
        )

    def close(self) -> None:
        self._steps = []
