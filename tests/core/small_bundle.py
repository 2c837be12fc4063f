"""A small made-up net and artifacts that hold its constants, without torch or any exporter.

sources(…)   masters: a stem, a depthwise, a grouped, a transposed and a concatenating convolution, a linear layer with
             input scales and a bias of its own, a table, and numbers that every net brings itself
builder(…)   a BundleBuilder with the widths and artifacts asked for
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from edgeslim.core.constants import DEAD_BELOW, Fold, Kind, NetConstants, Quant
from edgeslim.core.cut import MasterCut, master_cut
from edgeslim.core.manifest import FileEntry, InputInfo, InputTensor, ModelInfo, Part, TensorInfo, Variant
from edgeslim.core.pixels import ImageContract
from edgeslim.core.recipe import Rule, Segment, rules_for, segment_content
from edgeslim.core.width import Width
from edgeslim.press.build import BundleBuilder, BundleInfo, MasterSet, MasterSource, PackedArtifact

WIDTHS = (Width(500), Width(1000))
Masters = Literal["f32", "f16", "i8"]

IMAGE = ImageContract(
    channels=3,
    height=8,
    width=8,
    order="rgb",
    mean=("0.485", "0.456", "0.406"),
    std=("0.5", "0.5", "0.5"),
    resize="short_side",
    crop="0.875",
    interpolation="bilinear",
    antialias=True,
    range="full",
)
INPUT = InputInfo(id="8", tensors=(InputTensor(name="image", image=IMAGE, tensor=None),))

INFO = BundleInfo(
    model=ModelInfo(
        id="tiny", version="1", author="", licence="", source="", attribution="", description="", spec={"name": "tiny"}
    ),
    task="classify",
    task_spec={},
    inputs=(INPUT,),
    labels=("cat", "dog", "Füchsin"),
    low=Width(250),
    high=Width(1000),
)

RGB, CLASSES = Part(name="rgb", size=3, optional=False), Part(name="classes", size=3, optional=False)
C, HALF, D = (Part(name=n, size=s, optional=False) for n, s in (("stem", 8), ("stem.half", 4), ("body", 6)))
UP, JOINED = Part(name="up", size=4, optional=False), Part(name="join", size=6, optional=False)
EXTRA = Part(name="extra", size=2, optional=True)


def size(count: int) -> tuple[Part]:
    """An axis that is never cut."""
    return (Part(name=f"size.{count}", size=count, optional=False),)


def sources(weights: Masters = "f32", *, int8: bool = False, seed: int = 0) -> list[MasterSource]:
    """Every master; with ``int8`` the weights have integers, one of them with scales of its own."""
    rng = np.random.default_rng(seed)

    def weight(name: str, *axes: tuple[Part, ...], **more: Any) -> MasterSource:
        shape = [sum(part.size for part in axis) for axis in axes]
        array = rng.standard_normal(shape).astype(np.float32)
        if int8:
            more |= {"integers": "own" if more.get("in_scale") else "shared", "correction": name == "stem.weight"}
        if weights != "i8" or more.get("in_scale"):
            return MasterSource(name=name, axes=axes, array=array, dtype="f32" if weights == "i8" else weights, **more)
        rows = shape[more.get("rows", 0)]
        return MasterSource(
            name=name,
            axes=axes,
            array=rng.integers(-127, 128, shape),
            dtype="i8",
            step=np.linspace(0, 0.01, rows, dtype=np.float32),  # the first channel is dead
            **{**more, "integers": "shared"},
        )

    return [
        weight("stem.weight", (C,), (RGB,), size(3), size(3), scale=True, shift=True),
        weight("body.0.weight", (C,), size(1), size(3), size(3), groups=8, scale=True, shift=True),
        weight("body.1.weight", (D, D), (HALF,), size(1), size(1), groups=2, scale=True, shift=True),
        weight("up.weight", (D, D), (UP,), size(2), size(2), rows=1, scale=True, shift=True),
        weight("join.weight", (JOINED,), (C, UP), size(1), size(1), scale=True, shift=True),
        weight("head.weight", (CLASSES,), (JOINED,), in_scale=True, bias="head.bias"),
        MasterSource(
            name="head.bias",
            axes=((CLASSES,),),
            array=rng.standard_normal(3),
            role="tensor",
            dtype="f16" if weights == "f16" else "f32",
        ),
        MasterSource(name="table", axes=(size(3), (JOINED, EXTRA)), array=rng.standard_normal((3, 8)), role="tensor"),
        MasterSource(name="affine", axes=((JOINED,),), array=None, role="own"),
    ]


def counts(width: Width) -> dict[str, int]:
    """How many of every part a width uses; the extra part only at full width."""
    share = {part.name: part.size * width.permille // 1000 for part in (C, HALF, D, UP, JOINED)}
    return {**share, "extra": 2 if width.permille == 1000 else 0}


TINY = (0.0, -0.0, 1e-9, -1e-9, 2.0**-25, -(2.0**-149), 2.0**-149, 1e-40)  # what dead channels leave behind


def folds(cuts: Sequence[MasterCut], seed: int) -> list[Fold]:
    """Numbers for every master; tiny ones as shifts of the first and scales of the second layer."""
    rng = np.random.default_rng(seed)

    def numbers(wanted: bool, count: int) -> np.ndarray | None:
        return rng.uniform(-2, 2, count).astype(np.float32) if wanted else None

    made = []
    for index, cut in enumerate(cuts):
        master = cut.master
        if master.role != "weight":
            own = rng.uniform(-1, 1, cut.shape).astype(np.float32) if master.role == "own" else None
            made.append(Fold(own=own))
            continue
        scale, shift = numbers(master.scale, cut.outputs), numbers(master.shift, cut.outputs)
        tiny = np.array(TINY, np.float32)[: cut.outputs]
        made.append(
            Fold(
                in_scale=numbers(master.in_scale, cut.inputs),
                scale=tiny if index == 1 else scale,
                shift=tiny if index == 0 else shift,
            )
        )
    return made


def quants(cuts: Sequence[MasterCut], seed: int) -> list[Quant | None]:
    """Input scales; weight scales where a master has its own, and corrections where it has some."""
    rng = np.random.default_rng(seed)
    return [
        None
        if cut.master.integers == "none"
        else Quant(
            input_scale=rng.uniform(0.001, 0.1, 1).astype(np.float32),
            scale=rng.uniform(DEAD_BELOW, 0.05, cut.outputs).astype(np.float32)
            if cut.master.integers == "own"
            else None,
            correction=rng.integers(-300, 300, cut.outputs).astype(np.int16) if cut.master.correction else None,
        )
        for cut in cuts
    ]


def variant(target: str = "executorch", *, precision: str = "fp32", directory: bool = False) -> Variant:
    return Variant(
        id=f"{target}-{precision}-8",
        target=target,
        precision=precision,
        backend="none",
        input="8",
        form="nchw-float32",
        suffix=".mlpackage" if directory else ".pte",
        directory=directory,
        normalisation="none",
        inputs=(TensorInfo(name="image", shape=(1, 3, 8, 8), dtype="float32", layout="NCHW"),),
        outputs=(TensorInfo(name="logits", shape=(1, 3), dtype="float32", layout="NC", meaning="logits"),),
        exporters={"executorch": "1.5.1"},
        artifacts=(),
    )


LAYOUTS = {4: (0, 3, 6, 9, 16, 17), 2: (0, 1), 1: (0,)}


def segments_of(net: NetConstants, rule: Rule, *, hashed: bool = False) -> list[Segment]:
    """Every float constant once (and the integers, where there are some), layouts in turn; the grouped convolution in
    two halves. Offsets are 0."""
    found: list[Segment] = []
    for constant in net.all():
        cut = net.cuts[constant.master]
        axes = len(cut.shape) if constant.kind in (Kind.WEIGHT, Kind.VECTOR, Kind.INTEGERS) else 1
        layout = LAYOUTS[axes][len(found) % len(LAYOUTS[axes])]
        small = Rule.F16_COREML if rule is Rule.F16 and constant.kind is Kind.BIAS else rule
        allowed = rules_for(cut, constant.kind)
        whole = Segment(
            offset=0,
            master=constant.master,
            kind=constant.kind,
            layout=layout,
            rule=small if small in allowed else min(allowed),
        )
        half = cut.shape[0] // 2
        if cut.master.groups == 2 and constant.kind is not Kind.INPUT_SCALE:
            found += [replace(whole, first_row=row, rows=half) for row in (0, half)]
        else:
            found.append(whole)
        if hashed and len(found) % 3 == 0:
            found.append(replace(found[-1], hashed=True))
    return found


def artifact(
    net: NetConstants,
    segments: Sequence[Segment],
    *,
    paths: tuple[str, ...] = ("model.pte",),
    filler: int = 0,
) -> tuple[PackedArtifact, dict[str, bytes]]:
    """An artifact made by hand: the constants in turn over the files, literal bytes between them.

    Args:
        filler: bytes of text between the constants of the first file, different at every width.

    Returns:
        The parts for the builder and {path: content}.
    """
    text = " ".join(f"{i * i}:{i * net.cuts[0].outputs % 97}" for i in range(filler)).encode()[:filler]
    contents = {path: bytearray(b"head of " + path.encode()) for path in paths}
    picks: dict[str, list[Segment]] = {path: [] for path in paths}
    for turn, segment in enumerate(segments):
        path = paths[turn % len(paths)]
        picks[path].append(replace(segment, offset=len(contents[path])))
        contents[path] += segment_content(segment, net) + b"gap" * (turn % 3)
        contents[path] += text if turn == 0 else b""
    start, placed, template = 0, [], b""
    for path in paths:
        position = 0
        for segment in picks[path]:
            template += bytes(contents[path][position : segment.offset])
            position = segment.offset + len(segment_content(segment, net))
            placed.append(replace(segment, offset=start + segment.offset))
        template += bytes(contents[path][position:])
        start += len(contents[path])
    entries = tuple(
        FileEntry(path=path, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for path, content in contents.items()
    )
    packed = PackedArtifact(
        files=entries,
        segments=tuple(placed),
        template=template,
        explained_bytes=start - len(template),
        literal_bytes=0,
    )
    return packed, {path: bytes(content) for path, content in contents.items()}


PACKAGE = ("Data/weights/weight.bin", "Manifest.json")
Contents = dict[str, dict[str, bytes]]


def builder(
    widths: Sequence[Width] = WIDTHS,
    targets: Sequence[str] = ("coreml", "executorch"),
    *,
    weights: Masters = "f32",
    int8: bool = False,
    filler: int = 0,
    info: BundleInfo = INFO,
    aliases: Sequence[Width] = (),
) -> tuple[BundleBuilder, Contents]:
    """A builder with these widths (``aliases`` name the same net) and targets, and the artifacts' files by id."""
    masters = MasterSet(sources(weights, int8=int8))
    made = BundleBuilder(info, masters)
    contents: Contents = {}
    for width in widths:
        cut = masters.cut(counts(width))
        cuts = [master_cut(master, masters.parts, cut) for master in masters.masters]
        quantised = quants(cuts, width.permille) if int8 else None
        net = made.add_net(
            cut, folds(cuts, width.permille), widths=(width, *aliases), quants=quantised, params=width.permille
        )
        for target in targets:
            coreml = target == "coreml"
            constants = made.constants(net)
            segments = segments_of(constants, Rule.F16 if coreml else Rule.F32, hashed=int8)
            packed, files = artifact(constants, segments, paths=PACKAGE if coreml else ("model.pte",), filler=filler)
            one = variant(target, precision="fp16" if coreml else "fp32", directory=coreml)
            made.add_artifact(one, net, packed, macs=1000 * width.permille, requires={"executorch": "1.5"})
            contents[f"{one.id}/{net}"] = files
    return made, contents
