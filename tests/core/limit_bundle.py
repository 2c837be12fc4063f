"""A made-up bundle that stands at the limits of FORMAT.md, each reached and none crossed.

nets       0001 (a fold of 1,048,576 numbers) · 100000 (a quant of 4,194,304 bytes) · labels of 1 and 64 characters
variants   executorch-…: 64 files 16 folders deep, four steps from base to base · litert-…: 8192 segments

Nearly everything is zeros or one number again and again: 4 MiB that deflate to a few thousand bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from layout_bundle import placed
from small_bundle import INFO, Contents

from edgeslim.core.canonical_json import canonical_bytes
from edgeslim.core.constants import Fold, Kind, Quant
from edgeslim.core.cut import MasterCut, master_cut
from edgeslim.core.manifest import (
    Images,
    InputInfo,
    InputTensor,
    Part,
    PlainInput,
    Quality,
    Quantised,
    TensorInfo,
    Variant,
    artifact_id,
)
from edgeslim.core.pixels import ImageContract
from edgeslim.core.recipe import Rule, Segment
from edgeslim.core.width import Width
from edgeslim.press.build import BundleBuilder, BundleContent, MasterSet, MasterSource, stored_templates

LARGEST = 2**53 - 1  # a number of JSON
HUGE = Part(name="h" * 152, size=2**24, optional=False)
BYTE = Part(name="_", size=2**8, optional=False)
OUTPUTS = Part(name="outputs", size=4095, optional=False)
MORE = Part(name="more", size=5000, optional=False)  # all of it would be too many for a quant: of a net without one
ONE = Part(name="one", size=1, optional=False)

LAYERS = 256  # weights with scales of their own: 256 · (4 + 4 · 4095) bytes are 4 MiB
NETS = ("0001", "100000", "a", "b", "c", "d", "n" + "0" * 62 + "z", "x")
ENTRIES = 2**18 // len(NETS)  # numbers in the axes of all masters
SEGMENTS = 8192
# of each template in the chain of bases: the second needs all blocks of the first but the last
TEXT = (2500, 1000, 500, 100, 20)

WIDE = InputInfo(
    id="w" * 32,
    tensors=(
        InputTensor(
            name="",
            image=ImageContract(
                channels=1,
                height=65_536,
                width=1024,  # 2^26 pixels
                order="gray",
                mean=("-999999999.999999999",),
                std=("0.000000001",),
                resize="stretch",
                crop="0.000000001",
                interpolation="bicubic",
                antialias=True,
                range="video",
                pad=255,
            ),
            tensor=None,
        ),
        InputTensor(name="plain", image=None, tensor=PlainInput(shape=(1, *(2**24,) * 7), dtype="", meaning="")),
    ),
)
INPUTS = (
    TensorInfo(
        name="",
        shape=(2**24,) * 8,
        dtype="",
        layout="",
        quantised=Quantised(scale_bits="7f7fffff", zero_point=LARGEST),
    ),
    TensorInfo(name="plain", shape=(), dtype="", layout="", quantised=Quantised(scale_bits="00000001", zero_point=0)),
)
# outputs may be called as inputs are
OUTPUT = (TensorInfo(name="plain", shape=(1,), dtype="", layout=""), TensorInfo(name="", shape=(), dtype="", layout=""))
EXECUTORCH = Variant(
    id="executorch-" + "0" * 53,
    target="executorch",
    precision="",
    backend="",
    input=WIDE.id,
    form="",
    suffix="." + "s" * 16,
    directory=True,
    normalisation="",
    inputs=INPUTS,
    outputs=OUTPUT,
    exporters={"!" + "~" * 199: "the longest key"},
    artifacts=(),
)
LITERT = replace(EXECUTORCH, id="litert-0", target="litert", suffix=".l", directory=False)
QUALITY = Quality(
    metric="", value="-999999999.999999999", larger_is_better=False, count=1, data_sha256=None, agreement="0"
)


def sources() -> list[MasterSource]:
    """A tensor that weights share, numbers that nets bring themselves, as many parts along an axis as there may be."""
    shared = np.zeros((OUTPUTS.size, 1), np.float16)
    weights = [
        MasterSource(
            name=f"layer.{index:03}",
            axes=((OUTPUTS,), (ONE,)),
            array=None if index else shared,
            of="layer.000" if index else None,
            dtype="f16",
            integers="own",
        )
        for index in range(LAYERS - 1)
    ]
    parts = ENTRIES - 2 * LAYERS - 2 - 1
    return [
        *weights,
        MasterSource(
            name="layer.more",
            axes=((MORE,), (ONE,)),
            array=np.zeros((MORE.size, 1), np.float16),
            dtype="f16",
            integers="own",
        ),
        MasterSource(name="m" * 152, axes=((HUGE,), (BYTE,)), array=None, role="own"),  # 2^32 numbers
        MasterSource(name="many", axes=((ONE,) * parts,), array=np.arange(parts) % 127, role="tensor", dtype="i8"),
        MasterSource(name="_", axes=((ONE,),), array=np.array([5]), role="tensor", dtype="i8"),
    ]


def fold(cut: MasterCut) -> Fold:
    return Fold(own=np.zeros(cut.shape, np.float32)) if cut.master.role == "own" else Fold()


def quant(cut: MasterCut) -> Quant | None:
    if cut.master.integers == "none":
        return None
    return Quant(input_scale=np.array([2.0**40], np.float32), scale=np.full(cut.outputs, 2.0**-20, np.float32))


def marks_in(text: bytes) -> int:
    return sum(text.count(mark) for mark in (b",", b"[", b"{"))


def extra(room: int, marks: int) -> dict[str, Any]:
    """Free JSON with the largest numbers, every escape, 12 levels; ``marks`` of ``,[{`` and ``room`` bytes in all."""
    deep: Any = []
    for _ in range(9):
        deep = [deep]
    free = {
        "!" + "~" * 199: [LARGEST, -LARGEST, 0, -1],
        "deep": deep,
        "text": '"\\\b\t\n\f\r\x00\x1f\x7f\u2028\U0001f600/é',
        "zeros": [0],
    }
    free["zzz"] = ""
    free["zeros"] = [0] * (1 + marks - marks_in(canonical_bytes(free)))
    free["zzz"] = "z" * (room - len(canonical_bytes(free)))
    return free


@dataclass(frozen=True)
class Edited:
    """A bundle whose content is known as it is."""

    made: BundleContent

    def content(self) -> BundleContent:
        return self.made


def chained(content: BundleContent, templates: Mapping[str, bytes]) -> BundleContent:
    """Every artifact of the first variant is based on the one before: four steps at most."""
    first, *others = content.manifest.variants
    names = [None, *(artifact_id(first.id, artifact.net) for artifact in first.artifacts)]
    assert len(first.artifacts) == 5
    entries = tuple(replace(a, base=base) for a, base in zip(first.artifacts, names, strict=False))
    variants = (replace(first, artifacts=entries), *others)
    stored = {**content.stored, **stored_templates(variants, templates)}
    return BundleContent(manifest=replace(content.manifest, variants=variants), stored=stored)


def filled(content: BundleContent) -> BundleContent:
    """The manifest as large as it may be, in bytes and in values."""
    text = content.manifest.to_bytes()
    free = extra(4_194_304 - len(text) + len("{}"), 131_071 - marks_in(text) + len("{"))
    return replace(content, manifest=replace(content.manifest, extra=free))


def builder() -> tuple[Edited, Contents]:
    masters = MasterSet(sources())
    info = replace(
        INFO,
        labels=(),
        inputs=(WIDE, replace(WIDE, id="0")),
        low=Width(1),
        high=Width(100_000),
        calibration=Images(images=1, data_sha256=None),
    )
    made = BundleBuilder(info, masters)
    contents: Contents = {}
    templates: dict[str, bytes] = {}
    narrow = {HUGE.name: 1, BYTE.name: 1, OUTPUTS.name: 1, MORE.name: 1}
    for index, name in enumerate(NETS):
        counts = {
            "0001": {**narrow, HUGE.name: 2**12, BYTE.name: 2**8},
            "100000": {**narrow, OUTPUTS.name: 4095, MORE.name: 4095},
            "a": {**narrow, OUTPUTS.name: 4095, MORE.name: 5000},
        }
        cut = masters.cut(counts.get(name, {**narrow, HUGE.name: index}))
        cuts = [master_cut(master, masters.parts, cut) for master in masters.masters]
        names: dict[str, Any] = {"widths": (Width(int(name)),)} if name.isdigit() else {"label": name}
        quants = [quant(cut) for cut in cuts] if name == "100000" else None
        made.add_net(cut, [fold(cut) for cut in cuts], params=0, quants=quants, **names)
        files: list[tuple[Variant, dict[str, list[bytes | Segment]]]] = []
        if index < 5:
            folder = "/".join(["d" * 100] * 15)
            paths = [f"{folder}/{'f' * 98}{number:02}" for number in range(63)]
            pieces: list[bytes | Segment] = [f"{name} {number * number} ".encode() for number in range(TEXT[index])]
            files.append((EXECUTORCH, {**{path: [] for path in paths}, "z": pieces}))
        if name == "x":
            byte = Segment(offset=0, master=len(masters.masters) - 1, kind=Kind.VECTOR, rule=Rule.I8)
            files.append((LITERT, {"m": [b"head", *[byte] * SEGMENTS]}))
        for variant, there in files:
            packed, content = placed(made.constants(name), there)
            made.add_artifact(variant, name, packed, macs=0, quality=QUALITY)
            contents[f"{variant.id}/{name}"] = content
            templates[f"{variant.id}/{name}"] = packed.template
    return Edited(filled(chained(made.content(), templates))), contents
