"""The Core ML package: normalised, described, complete, and its program evaluated operation by operation."""

from __future__ import annotations

import json
import random
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from target_nets import LABELS, SIZE, metadata, sliced

from edgeslim.core.width import Width
from edgeslim.errors import CannotCheckError, ExportError, MissingExtraError
from edgeslim.targets.base import InputOption
from edgeslim.targets.coreml import CoremlTarget
from edgeslim.targets.mil_ops import OPERATIONS

WIDTH = Width(250)
EXAMPLES = {"image": torch.zeros(1, 3, SIZE, SIZE)}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = CoremlTarget()
    try:
        target.info.ensure_available(exporting=True)
    except MissingExtraError as error:
        pytest.skip(str(error))
    out = tmp_path_factory.mktemp("coreml") / "net.mlpackage"
    net = sliced("us_mobilenet_v1", WIDTH.permille)
    target.export(net, EXAMPLES, out, metadata=metadata(WIDTH), precision="fp16")
    return out


def spec_of(package: Path) -> Any:
    from coremltools.models.utils import load_spec

    return load_spec(str(package))


def test_coremltools_opens_it(package: Path) -> None:
    import coremltools as ct

    model = ct.models.MLModel(str(package), skip_model_load=True)
    assert model.author == "Ann Author"
    assert model.license == "CC0-1.0"
    assert model.version == "7"
    assert model.short_description == "A net for tests, ünïcode"
    assert model.user_defined_metadata["edgeslim_labels"].splitlines() == list(LABELS)
    assert json.loads(model.user_defined_metadata["edgeslim_meta"])["width_permille"] == 250


def test_inputs_and_outputs_are_named_float32_arrays_for_ios_16(package: Path) -> None:
    from coremltools.proto import FeatureTypes_pb2

    spec = spec_of(package)
    (image,), (logits,) = spec.description.input, spec.description.output
    single = FeatureTypes_pb2.ArrayFeatureType.ArrayDataType.Value("FLOAT32")
    assert (image.name, list(image.type.multiArrayType.shape)) == ("image", [1, 3, SIZE, SIZE])
    assert (logits.name, list(logits.type.multiArrayType.shape)) == ("logits", [1, len(LABELS)])
    assert image.type.multiArrayType.dataType == logits.type.multiArrayType.dataType == single
    assert spec.specificationVersion == 7  # iOS 16, macOS 13


def test_nothing_in_it_is_of_today(package: Path) -> None:
    spec = spec_of(package)
    stored = (package / "Data/com.apple.CoreML/model.mlmodel").read_bytes()
    assert spec.SerializeToString(deterministic=True) == stored
    assert spec.description.metadata.userDefined["com.github.apple.coremltools.conversion_date"] == "1970-01-01"
    manifest = json.loads((package / "Manifest.json").read_text())
    assert {uuid.UUID(key).version for key in manifest["itemInfoEntries"]} == {5}
    assert manifest["rootModelIdentifier"] in manifest["itemInfoEntries"]
    for entry in manifest["itemInfoEntries"].values():
        assert (package / "Data" / entry["path"]).exists()
    files = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    assert files == {
        "Manifest.json",
        "Data/com.apple.CoreML/model.mlmodel",
        "Data/com.apple.CoreML/weights/weight.bin",
    }


def test_pixels_are_a_core_ml_image(tmp_path: Path, package: Path) -> None:
    out = tmp_path / "net.mlpackage"
    net = sliced("us_mobilenet_v1", WIDTH.permille)
    CoremlTarget().export(net, EXAMPLES, out, metadata=metadata(WIDTH), input_option=InputOption.NHWC_UINT8)
    image = spec_of(out).description.input[0].type.imageType
    assert (image.width, image.height) == (SIZE, SIZE)
    assert image.colorSpace == image.ColorSpace.Value("RGB")


def test_two_channels_are_no_image(tmp_path: Path, package: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 5, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    described = metadata(WIDTH)
    object.__setattr__(described, "mean", (0.5, 0.5))
    object.__setattr__(described, "std", (0.5, 0.5))
    with pytest.raises(ExportError, match="1 or 3 channels"):
        CoremlTarget().export(
            net,
            {"image": torch.zeros(1, 2, 8, 8)},
            tmp_path / "net.mlpackage",
            metadata=described,
            input_option=InputOption.NHWC_UINT8,
        )


def test_words_of_the_language_are_refused_as_names(tmp_path: Path, package: Path) -> None:
    net = torch.nn.Linear(4, 3)
    with pytest.raises(ExportError, match="called state"):
        CoremlTarget().export(
            net, {"state": torch.zeros(1, 4)}, tmp_path / "net.mlpackage", metadata=metadata(WIDTH, labels=())
        )


def test_a_weight_changed_on_disk_changes_the_logits(package: Path, tmp_path: Path) -> None:
    """The evaluator reads what was saved, not what was converted."""
    copied = tmp_path / "net.mlpackage"
    shutil.copytree(package, copied)
    weights = copied / "Data/com.apple.CoreML/weights/weight.bin"
    content = bytearray(weights.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = np.full(200, 3.0, np.float16).tobytes()
    weights.write_bytes(content)
    image = np.ones((1, 3, SIZE, SIZE), np.float32)
    outputs = []
    for path in (package, copied):
        runner = CoremlTarget().load(path, threads=1)
        outputs.append(runner.run({"image": image})["logits"])
        runner.close()
    assert not np.allclose(outputs[0], outputs[1])


# The evaluator's operations against torch's own, on arguments drawn at random.


def _evaluate(name: str, **inputs: Any) -> torch.Tensor:
    result = OPERATIONS[name](inputs)
    assert isinstance(result, torch.Tensor)
    return result


@pytest.mark.parametrize("seed", range(12))
def test_convolution(seed: int) -> None:
    draw = random.Random(seed)
    groups, kernel, stride, pad, dilation = (
        draw.randint(low, high) for low, high in ((1, 3), (1, 3), (1, 2), (0, 2), (1, 2))
    )
    x = torch.randn(1, 2 * groups, 11, 9)
    weight, bias = torch.randn(4 * groups, 2, kernel, kernel), torch.randn(4 * groups)
    got = _evaluate(
        "conv", x=x, weight=weight, bias=bias, strides=np.array([stride] * 2), pad_type="custom",
        pad=np.array([pad] * 4), dilations=np.array([dilation] * 2), groups=np.int32(groups),
    )  # fmt: skip
    assert torch.equal(got, F.conv2d(x, weight, bias, stride, pad, dilation, groups))


@pytest.mark.parametrize(("size", "kernel", "stride"), [(8, 3, 2), (9, 3, 2), (7, 2, 1), (5, 5, 3)])
@pytest.mark.parametrize("kind", ["same", "same_lower"])
def test_same_padding_by_its_definition(size: int, kernel: int, stride: int, kind: str) -> None:
    """Output size is ceil(size / stride); the odd zero goes after (same) or before (same_lower)."""
    x, weight = torch.randn(1, 1, size, size), torch.randn(1, 1, kernel, kernel)
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    before = total // 2 if kind == "same" else total - total // 2
    padded = F.pad(x, (before, total - before) * 2)
    got = _evaluate(
        "conv", x=x, weight=weight, strides=np.array([stride] * 2), pad_type=kind,
        dilations=np.array([1, 1]), groups=np.int32(1),
    )  # fmt: skip
    assert got.shape[2:] == (-(-size // stride),) * 2
    assert torch.equal(got, F.conv2d(padded, weight, stride=stride))


@pytest.mark.parametrize("exclude", [True, False])
def test_pools(exclude: bool) -> None:
    x = torch.randn(1, 3, 9, 9)
    common = {"x": x, "kernel_sizes": np.array([3, 3]), "strides": np.array([2, 2]), "pad_type": "custom"}
    common["pad"] = np.array([1, 1, 1, 1])
    got = _evaluate("avg_pool", **common, exclude_padding_from_average=exclude)
    torch.testing.assert_close(got, F.avg_pool2d(x, 3, 2, 1, count_include_pad=not exclude))
    assert torch.equal(_evaluate("max_pool", **common), F.max_pool2d(x, 3, 2, 1))


def test_shapes_and_arithmetic() -> None:
    x = torch.randn(1, 6, 2, 3)
    axes = np.array([2, 3])
    assert torch.equal(_evaluate("reduce_mean", x=x, axes=axes, keep_dims=True), x.mean((2, 3), keepdim=True))
    assert torch.equal(_evaluate("squeeze", x=x.mean((2, 3), keepdim=True), axes=axes), x.mean((2, 3)))
    assert torch.equal(_evaluate("expand_dims", x=x, axes=np.array([0])), x[None])
    assert torch.equal(_evaluate("transpose", x=x, perm=np.array([0, 2, 3, 1])), x.permute(0, 2, 3, 1))
    assert torch.equal(_evaluate("reshape", x=x, shape=np.array([1, 2, 3, 2, 3])), x.reshape(1, 2, 3, 2, 3))
    assert torch.equal(
        _evaluate("concat", values=[x, x], axis=np.int32(1), interleave=np.bool_(False)), torch.cat([x, x], 1)
    )
    parts = OPERATIONS["split"]({"x": x, "axis": np.int32(1), "split_sizes": np.array([1, 5])})
    assert [part.shape[1] for part in parts] == [1, 5]
    assert torch.equal(_evaluate("clip", x=x, alpha=np.float32(-0.5), beta=np.float32(0.25)), x.clamp(-0.5, 0.25))
    assert torch.equal(_evaluate("relu6", x=8 * x), F.relu6(8 * x))


def test_unknown_operations_are_refused_by_name() -> None:
    from edgeslim.targets.mil import _Step

    class Op:
        op_type = "lstm"

    with pytest.raises(CannotCheckError, match="lstm"):
        _Step(Op())
