"""A small made-up net and artifacts that hold its constants, without torch or any exporter.

net(seed)        masters: a stem, a depthwise, a grouped and a 1x1 convolution, a linear layer
builder(…)       a BundleBuilder with the widths and artifacts asked for
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgeslim.core.manifest import FileEntry, InputContract, ModelInfo, TensorInfo
from edgeslim.core.rebuild import LayerArrays, LayerFold, segment_values
from edgeslim.core.recipe import Layout, Part, Rule, Segment
from edgeslim.core.slicing import Cut
from edgeslim.core.width import Width
from edgeslim.press.build import BundleBuilder, MasterSource, NetInfo, PackedArtifact, VariantInfo

WIDTHS = (Width(500), Width(1000))

INFO = NetInfo(
    model=ModelInfo(
        id="tiny", version="1", task="classify", author="", licence="", description="", spec={"name": "tiny"}
    ),
    input=InputContract(
        channels=3, height=8, width=8, channel_order="rgb", mean=("0.485", "0.456", "0.406"), std=("0.5", "0.5", "0.5")
    ),
    labels=("cat", "dog", "Füchsin"),
    low=Width(250),
    high=Width(1000),
)


def masters(seed: int = 0) -> list[MasterSource]:
    rng = np.random.default_rng(seed)

    def weight(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    return [
        MasterSource(name="stem", weight=weight(8, 3, 3, 3)),
        MasterSource(name="body.0", weight=weight(8, 1, 3, 3), groups=8),
        MasterSource(name="body.1", weight=weight(12, 4, 1, 1), groups=2),
        MasterSource(name="head", weight=weight(3, 12), bias=weight(3), in_scale=True, scale=False, shift=False),
    ]


def cuts(width: Width) -> list[Cut]:
    c = 8 * width.permille // 1000
    d = 12 * width.permille // 1000
    return [
        Cut(out_channels=c, in_channels=3),
        Cut(out_channels=c, in_channels=c, groups=c, full_groups=8),
        Cut(out_channels=d, in_channels=c, groups=2, full_groups=2),
        Cut(out_channels=3, in_channels=d),
    ]


TINY = (0.0, -0.0, 1e-9, -1e-9, 2.0**-25, -(2.0**-149), 2.0**-149, 1e-40)  # what dead channels leave behind


def folds(width: Width) -> list[LayerFold]:
    rng = np.random.default_rng(width.permille)

    def numbers(count: int) -> np.ndarray:
        return rng.uniform(-2, 2, count).astype(np.float32)

    stem, depthwise, grouped, head = cuts(width)
    tiny = np.array(TINY, np.float32)
    return [
        LayerFold(scale=numbers(stem.out_channels), shift=tiny[: stem.out_channels]),
        LayerFold(scale=tiny[: depthwise.out_channels], shift=numbers(depthwise.out_channels)),
        LayerFold(scale=numbers(grouped.out_channels), shift=numbers(grouped.out_channels)),
        LayerFold(in_scale=numbers(head.in_channels)),
    ]


def variant(target: str = "executorch", *, rule: str = "fp32", directory: bool = False) -> VariantInfo:
    return VariantInfo(
        target=target,
        name=f"{rule}-8",
        precision=rule,
        backend="none",
        input_option="nchw-float32",
        suffix=".mlpackage" if directory else ".pte",
        directory=directory,
        normalisation="none",
        inputs=(TensorInfo(name="image", shape=(1, 3, 8, 8), dtype="float32", layout="NCHW"),),
        outputs=(TensorInfo(name="logits", shape=(1, 3), dtype="float32", layout="NC"),),
        requires={"executorch": "1.5"},
        exporters={"executorch": "1.5.1"},
    )


def constants(layers: Sequence[LayerArrays], rule: Rule) -> list[Segment]:
    """Every constant once, in every layout in turn; the grouped convolution in two halves. Offsets are 0."""
    found: list[Segment] = []
    for index, layer in enumerate(layers):
        for part in Part if layer.bias is not None else (Part.WEIGHT,):
            layout = Layout(len(found) % len(Layout)) if part is Part.WEIGHT else Layout.OIHW
            small = Rule.F16_COREML if rule is Rule.F16 and part is Part.BIAS else rule
            whole = Segment(offset=0, layer=index, part=part, layout=layout, rule=small)
            half = layer.cut.out_channels // 2
            if layer.cut.groups == 2:
                found += [replace(whole, first_row=row, rows=half) for row in (0, half)]
            else:
                found.append(whole)
    return found


def artifact(
    layers: Sequence[LayerArrays], *, rule: Rule = Rule.F32, paths: tuple[str, ...] = ("model.pte",), filler: int = 0
) -> tuple[PackedArtifact, dict[str, bytes]]:
    """An artifact made by hand: the constants in turn over the files, literal bytes between them.

    Args:
        filler: bytes of text between the constants of the first file, different at every width.

    Returns:
        The parts for the builder and {path: content}.
    """
    text = " ".join(f"{i * i}:{i * layers[0].cut.out_channels % 97}" for i in range(filler)).encode()[:filler]
    contents = {path: bytearray(b"head of " + path.encode()) for path in paths}
    picks: dict[str, list[Segment]] = {path: [] for path in paths}
    for turn, segment in enumerate(constants(layers, rule)):
        path = paths[turn % len(paths)]
        picks[path].append(replace(segment, offset=len(contents[path])))
        contents[path] += segment_values(segment, layers[segment.layer]).tobytes() + b"gap" * (turn % 3)
        contents[path] += text if turn == 0 else b""
    start, segments, template = 0, [], b""
    for path in paths:
        position = 0
        for segment in picks[path]:
            template += bytes(contents[path][position : segment.offset])
            position = segment.offset + segment_values(segment, layers[segment.layer]).nbytes
            segments.append(replace(segment, offset=start + segment.offset))
        template += bytes(contents[path][position:])
        start += len(contents[path])
    entries = tuple(
        FileEntry(path=path, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for path, content in contents.items()
    )
    packed = PackedArtifact(
        files=entries,
        segments=tuple(segments),
        template=template,
        explained_bytes=start - len(template),
        literal_bytes=0,
    )
    return packed, {path: bytes(content) for path, content in contents.items()}


PACKAGE = ("Data/weights/weight.bin", "Manifest.json")


def builder(
    widths: Sequence[Width] = WIDTHS,
    targets: Sequence[str] = ("coreml", "executorch"),
    *,
    weights: str = "f32",
    filler: int = 0,
) -> tuple[BundleBuilder, dict[tuple[str, int], dict[str, bytes]]]:
    """A builder with these widths and targets, and the artifacts' files by (target, permille)."""
    made = BundleBuilder(INFO, masters(), weights=weights)
    contents = {}
    for width in widths:
        made.add_width(width, cuts(width), folds(width), macs=1000 * width.permille, params=width.permille)
        for target in targets:
            coreml = target == "coreml"
            packed, files = artifact(
                made.layers(width),
                rule=Rule.F16 if coreml else Rule.F32,
                paths=PACKAGE if coreml else ("model.pte",),
                filler=filler,
            )
            made.add_artifact(variant(target, rule="fp16" if coreml else "fp32", directory=coreml), width, packed)
            contents[target, width.permille] = files
    return made, contents
