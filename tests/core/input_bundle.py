"""Another made-up bundle: what the manifest can say beside the simple case of ``small_bundle``.

inputs     8 (an image) · 6x10 (an image that is not square, and a plain tensor)
nets       0500 (also called 0.505) · 1000 · searched (a vector of channels, without int8 numbers)
variants   executorch-fp32-8 · executorch-int8-8 (integers in and out) · litert-fp32-6x10 (two inputs, two outputs)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from small_bundle import EXTRA, INFO, INPUT, Contents, artifact, counts, folds, quants, segments_of, sources, variant

from edgeslim.core.cut import master_cut
from edgeslim.core.manifest import (
    Images,
    InputInfo,
    InputTensor,
    PlainInput,
    Quality,
    Quantised,
    TensorInfo,
    Variant,
)
from edgeslim.core.pixels import ImageContract
from edgeslim.core.recipe import Rule
from edgeslim.core.width import Width
from edgeslim.press.build import BundleBuilder, MasterSet

WIDE = InputInfo(
    id="6x10",
    tensors=(
        InputTensor(
            name="picture",
            image=ImageContract(
                channels=1,
                height=6,
                width=10,
                order="gray",
                mean=("0",),
                std=("1",),
                resize="letterbox",
                crop="1",
                interpolation="nearest",
                antialias=False,
                range="video",
                pad=0,
            ),
            tensor=None,
        ),
        InputTensor(
            name="prompt", image=None, tensor=PlainInput(shape=(1, 4), dtype="int32", meaning="tokens of a question")
        ),
    ),
)

RICH = replace(
    INFO,
    model=replace(INFO.model, licence="Apache-2.0", source="somewhere", attribution="their authors"),
    task="other",
    task_spec={"name": "depth", "unit": "m", "near_mm": 300},
    labels=None,
    inputs=(INPUT, WIDE),
    policy={"preset": "balanced"},
    checkpoint_sha256="c" * 64,
    calibration=Images(images=1000, data_sha256="d" * 64),
    ranges=Images(images=64, data_sha256=None),
)

OUTPUT = TensorInfo(name="depth", shape=(1, 1, 8, 8), dtype="float32", layout="NCHW", meaning="metres")
TEXT = TensorInfo(name="answer", shape=(), dtype="float32", layout="", meaning="confidence")
INTEGERS = Quantised(scale_bits="3c23d70a", zero_point=-128)  # 0.01

FP32 = replace(variant(), outputs=(OUTPUT,))
INT8 = replace(
    variant(precision="int8"),
    form="nchw-int8",
    inputs=tuple(replace(tensor, dtype="int8", quantised=INTEGERS) for tensor in FP32.inputs),
    outputs=(replace(OUTPUT, dtype="int8", quantised=replace(INTEGERS, zero_point=0)),),
)
LITERT = replace(
    variant("litert"),
    id="litert-fp32-6x10",
    input="6x10",
    form="nhwc-float32",
    suffix=".tflite",
    inputs=(
        TensorInfo(name="picture", shape=(1, 6, 10, 1), dtype="float32", layout="NHWC"),
        TensorInfo(name="prompt", shape=(1, 4), dtype="int32", layout="NT", meaning="tokens"),
    ),
    outputs=(OUTPUT, TEXT),
    exporters={"litert-torch": "0.8", "ai-edge-quantizer": "0.5"},
)
VARIANTS: tuple[Variant, ...] = (FP32, INT8, LITERT)
NETS = ("0500", "1000", "searched")
EVERYTHING = tuple(f"{v.id}/{net}" for v in VARIANTS for net in NETS if (v, net) != (INT8, "searched"))
QUALITY = Quality(
    metric="delta1", value="0.875", larger_is_better=True, count=654, data_sha256="e" * 64, agreement="0.99"
)


def builder(artifacts: Sequence[str] = EVERYTHING, *, filler: int = 9_000) -> tuple[BundleBuilder, Contents]:
    """A builder with these artifacts and the nets that they need, and their files."""
    masters = MasterSet(sources(int8=True))
    made = BundleBuilder(RICH, masters)
    contents: Contents = {}
    for turn, name in enumerate(NETS):
        if not any(artifact_id.endswith(f"/{name}") for artifact_id in artifacts):
            continue
        vector = {"stem": 5, "stem.half": 3, "body": 2, "up": 4, "join": 1, EXTRA.name: 1}
        cut = masters.cut(vector if name == "searched" else counts(Width(int(name))))
        cuts = [master_cut(master, masters.parts, cut) for master in masters.masters]
        if name == "searched":
            made.add_net(cut, folds(cuts, turn), label=name, params=turn)
        else:
            widths = {"0500": (Width(500), Width(505)), "1000": (Width(1000),)}[name]
            made.add_net(cut, folds(cuts, turn), widths=widths, quants=quants(cuts, turn), params=turn)
        for one in VARIANTS:
            if f"{one.id}/{name}" not in artifacts:
                continue
            net = made.constants(name)
            wanted = segments_of(net, Rule.F32, hashed=one == INT8)
            if one == INT8:
                wanted = [segment for segment in wanted if segment.kind > 1]
            packed, files = artifact(net, wanted, paths=(f"model{one.suffix}",), filler=filler)
            made.add_artifact(
                one,
                name,
                packed,
                macs=7000 + turn,
                requires={"litert": "2.0", "android": "26"} if one == LITERT else {},
                quality=QUALITY if one == FP32 else replace(QUALITY, agreement=None, data_sha256=None),
            )
            contents[f"{one.id}/{name}"] = files
    return made, contents
