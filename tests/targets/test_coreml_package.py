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
from target_nets import LABELS, SIZE, logits_of, metadata, sliced, sqnr_db
from torch import nn

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
    assert json.loads(model.user_defined_metadata["edgeslim_meta"])["net"] == "0250"


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


def test_auto_keeps_the_first_operations_in_fp32(tmp_path: Path, package: Path) -> None:
    """Together, up to one part in a hundred of the weights, and nothing else; it is hardly larger."""
    from coremltools.converters.mil.frontend.milproto.load import load

    net = sliced("us_mobilenet_v1", WIDTH.permille)
    sizes, ratios = {}, {}
    image = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)).numpy()
    for precision in ("fp16", "auto", "fp32"):
        out = tmp_path / f"{precision}.mlpackage"
        artifact = CoremlTarget().export(net, EXAMPLES, out, metadata=metadata(WIDTH), precision=precision)
        sizes[precision] = sum(file.size_bytes for file in artifact.files if file.path.endswith("weight.bin"))
        runner = CoremlTarget().load(out, threads=1)
        ratios[precision] = sqnr_db(logits_of(net, image), runner.run({"image": image})["logits"])
        runner.close()
    spec = spec_of(tmp_path / "auto.mlpackage")
    program = load(spec, spec.specificationVersion, str(tmp_path / "auto.mlpackage/Data/com.apple.CoreML/weights"))
    steps = [op for op in program.functions["main"].operations if op.op_type not in ("const", "cast")]
    single = [op.outputs[0].dtype.__name__ == "fp32" for op in steps]
    last = single.index(False)
    assert last > 0
    assert not any(single[last:])
    weights = [
        sum(v.val.size for n, v in op.inputs.items() if n in ("weight", "bias") and v.val is not None) for op in steps
    ]
    assert sum(weights[:last]) <= 0.01 * sum(weights) < sum(weights[: last + 1])
    assert sizes["fp16"] < sizes["auto"] < 1.02 * sizes["fp16"] < sizes["fp32"]
    assert ratios["fp16"] <= ratios["auto"] < ratios["fp32"]


def test_every_input_and_output_is_described(package: Path) -> None:
    description = spec_of(package).description
    (image,), (logits,) = description.input, description.output
    assert image.shortDescription == (
        "RGB pixels as NCHW: (pixel / 255 - mean) / std, mean 0.4, 0.5, 0.6, std 0.2, 0.25, 0.3"
    )
    assert logits.shortDescription.startswith("one score per class, before softmax")


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


def test_arithmetic_reductions_and_cuts() -> None:
    x = torch.rand(1, 4, 5, 6) + 0.1
    half = torch.tensor(0.5)
    assert torch.equal(_evaluate("maximum", x=x, y=np.float32(0.5)), x.clamp(min=0.5))
    assert torch.equal(_evaluate("minimum", x=x, y=half), x.clamp(max=0.5))
    torch.testing.assert_close(_evaluate("pow", x=x, y=half), x.sqrt())
    assert torch.equal(_evaluate("abs", x=-x), x)
    assert torch.equal(_evaluate("exp", x=x), x.exp())
    torch.testing.assert_close(_evaluate("rsqrt", x=x, epsilon=np.float32(0.25)), 1 / (x + 0.25).sqrt())
    axes = {"axes": np.array([2, 3]), "keep_dims": np.bool_(False)}
    torch.testing.assert_close(_evaluate("reduce_sum", x=x, **axes), x.sum((2, 3)))
    assert torch.equal(_evaluate("reduce_max", x=x, **axes), x.amax((2, 3)))
    padded = _evaluate("pad", x=x, pad=np.array([1, 0, 0, 2]), mode="constant", constant_val=np.float32(7))
    assert torch.equal(padded, F.pad(x, (0, 2, 1, 0), value=7.0))  # MIL names height first, torch width
    cut = _evaluate("crop", x=x, crop_height=np.array([1, 2]), crop_width=np.array([0, 3]))
    assert torch.equal(cut, x[..., 1:3, 0:3])
    masks = {"begin_mask": np.array([1, 0, 0, 1]), "end_mask": np.array([1, 0, 1, 0])}
    got = _evaluate(
        "slice_by_index", x=x, begin=np.array([9, 1, 1, 9]), end=np.array([9, 9, 9, 5]), stride=np.array([1, 1, 2, 2]),
        squeeze_mask=np.array([0, 1, 0, 0]), **masks,
    )  # fmt: skip
    assert torch.equal(got, x[:, 1, 1::2, :5:2])
    for approximation, mode in (("none", "EXACT"), ("tanh", "TANH_APPROXIMATION")):
        assert torch.equal(_evaluate("gelu", x=x, mode=mode), F.gelu(x, approximate=approximation))


def test_what_is_not_evaluated_says_so() -> None:
    x = torch.rand(1, 2, 3, 3)
    for name, inputs in (
        ("pad", {"x": x, "pad": np.array([1, 1]), "mode": "reflect"}),
        ("slice_by_index", {"x": x, "begin": np.zeros(4), "end": np.zeros(4), "stride": -np.ones(4)}),
    ):
        with pytest.raises(CannotCheckError, match="here"):
            OPERATIONS[name](inputs)


def test_unknown_operations_are_refused_by_name() -> None:
    from edgeslim.targets.mil import _Step

    class Op:
        op_type = "lstm"

    with pytest.raises(CannotCheckError, match="lstm"):
        _Step(Op())


class Attention(nn.Module):
    """A block of a vision transformer on [N, tokens, channels]."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(16)
        self.query, self.key, self.value, self.out = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(x)
        heads = [part(x).unflatten(2, (2, 8)).transpose(1, 2) for part in (self.query, self.key, self.value)]
        mixed = F.scaled_dot_product_attention(*heads)
        return F.gelu(self.out(mixed.transpose(1, 2).flatten(2))).mean(1)


def between(*modules: nn.Module) -> nn.Module:
    """Each module after a convolution of its own, so that none stands beside another."""
    steps: list[nn.Module] = [nn.Conv2d(3, 8, 3, padding=1)]
    for module in modules:
        steps += [module, nn.Conv2d(8, 8, 1)]
    return nn.Sequential(*steps)


NETS = {
    "attention": (Attention(), (1, 7, 16)),
    "activations": (
        between(
            nn.Sigmoid(), nn.Tanh(), nn.SiLU(), nn.Hardswish(), nn.Hardsigmoid(), nn.LeakyReLU(0.1), nn.PReLU(8),
            nn.GELU(), nn.ELU(), nn.Softplus(), nn.Mish(), nn.Softmax(1),
        ),
        (1, 3, 8, 8),
    ),
    "norms": (between(nn.GroupNorm(2, 8), nn.InstanceNorm2d(8, affine=True), nn.BatchNorm2d(8)), (1, 3, 8, 8)),
    "upsampling": (
        nn.Sequential(
            between(nn.UpsamplingNearest2d(scale_factor=2), nn.Upsample(scale_factor=2, mode="bilinear")),
            nn.PixelShuffle(2),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        ),
        (1, 3, 8, 8),
    ),
    "transposed": (
        between(nn.ConvTranspose2d(8, 8, 2, 2), nn.ConvTranspose2d(8, 8, 3, 2, 1, output_padding=1, groups=2)),
        (1, 3, 8, 8),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_nets_of_other_families_can_be_checked_here(name: str, tmp_path: Path, package: Path) -> None:
    """Converted by coremltools, read back from disk, evaluated: as PyTorch answers."""
    net, shape = NETS[name]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    artifact = CoremlTarget().export(
        net.eval(), {"x": torch.zeros(shape)}, tmp_path / "net.mlpackage",
        metadata=metadata(WIDTH, labels=()), outputs=("y",), precision="fp32",
    )  # fmt: skip
    runner = CoremlTarget().load(artifact.root)
    with torch.inference_mode():
        reference = net(x)
    torch.testing.assert_close(torch.from_numpy(runner.run({"x": x.numpy()})["y"]), reference, rtol=1e-4, atol=1e-4)
    runner.close()
