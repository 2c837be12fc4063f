"""Stock exporters, normalised as edgeslim's targets normalise: module → files by path."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from described import Array
from layers import QD
from torch import Tensor, nn
from torch.export import ExportedProgram

INPUT, OUTPUT = "image", "result"
PTE, TFLITE = "model.pte", "model.tflite"


def executorch(net: nn.Module, example: Tensor) -> dict[str, bytes]:
    """One XNNPACK delegate with nothing outside.

    Raises:
        ValueError: the net came out otherwise.
    """
    from executorch.exir import to_edge_transform_and_lower

    from edgeslim.targets.xnnpack_lowering import WholeNetPartitioner, rewrite_for_xnnpack

    program = torch.export.export(net, (example,))
    rewrite_for_xnnpack(program)
    _one_dequantize_per_user(program)
    lowered = to_edge_transform_and_lower(program, partitioner=[WholeNetPartitioner({})])
    calls = [n for n in lowered.exported_program().graph.nodes if n.op == "call_function"]
    names = [getattr(node.target, "__name__", str(node.target)) for node in calls]
    if sorted(names) != ["executorch_call_delegate", "getitem"]:
        raise ValueError(f"not one delegate: {names}")
    return {PTE: bytes(lowered.to_executorch().buffer)}


def _one_dequantize_per_user(program: ExportedProgram) -> None:
    """XNNPACK's partitioner finds a cycle where two operations share a dequantize (a residual)."""
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        if node.target is QD.dequantize_per_tensor.default:
            for user in list(node.users)[1:]:
                with graph.inserting_before(node):
                    copy = graph.node_copy(node)
                user.replace_input_with(node, copy)
    program.graph_module.recompile()


class _Named(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {OUTPUT: self.net(image)}


def litert(net: nn.Module, example: Tensor, *, int8: bool = False) -> dict[str, bytes]:
    import litert_torch

    config = None
    if int8:  # only sets the conversion mode; the quantizer in it never runs
        from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
        from litert_torch.quantize.quant_config import QuantConfig

        scheme = get_symmetric_quantization_config(is_per_channel=True)
        config = QuantConfig(pt2e_quantizer=PT2EQuantizer().set_global(scheme))
    converted = litert_torch.convert(_Named(net).eval(), sample_kwargs={INPUT: example}, quant_config=config)
    return {TFLITE: bytes(converted.model_content())}


def coreml(net: nn.Module, example: Tensor, *, half: bool, int8: bool = False) -> dict[str, bytes]:
    """Normalisation ``coreml-1``: fixed date, sorted maps, UUIDs from the content."""
    import coremltools as ct
    import numpy as np

    from edgeslim.targets.coreml import _DATE, _DATE_KEY
    from edgeslim.targets.mlpackage import write_package

    program = torch.export.export(net, (example,)).run_decompositions({})
    model = ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS17 if int8 else ct.target.iOS16,  # activations: iOS 17
        compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
        inputs=[ct.TensorType(name=INPUT, shape=tuple(example.shape), dtype=np.float32)],
        outputs=[ct.TensorType(name=OUTPUT, dtype=np.float32)],
        skip_model_load=True,
    )
    spec = model.get_spec()
    spec.description.metadata.userDefined[_DATE_KEY] = _DATE
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "model.mlpackage"
        write_package(package, spec, Path(model.weights_dir))
        files = sorted(path for path in package.rglob("*") if path.is_file())
        return {path.relative_to(package).as_posix(): path.read_bytes() for path in files}


def run(files: dict[str, bytes], image: Array) -> Array | None:
    """What the file's own runtime answers here; None for Core ML. int8 inputs and outputs are converted outside."""
    if PTE in files:
        from executorch.runtime import Runtime

        method = Runtime.get().load_program(files[PTE]).load_method("forward")
        (result,) = method.execute((torch.from_numpy(image),))
        return np.asarray(result)
    if TFLITE in files:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_content=files[TFLITE])
        interpreter.allocate_tensors()
        (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
        if taken["dtype"] is np.int8:
            scale, zero = taken["quantization"]
            image = np.clip(np.rint(image / np.float32(scale)) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(taken["index"], image)
        interpreter.invoke()
        result = interpreter.get_tensor(given["index"])
        if given["dtype"] is np.int8:
            scale, zero = given["quantization"]
            result = (result.astype(np.float32) - zero) * np.float32(scale)
        return np.asarray(result)
    return None
