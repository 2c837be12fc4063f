"""A made-up bundle for the corners of FORMAT.md §4 to §6: every layout, awkward halves, groups, ranks, borders.

nets       0500 · 1000 · lonely (the second group of ``halves`` is left out)
variants   executorch-fp32-8: every layout of two, three and four axes, others of five and six, integers, rows
           coreml-fp16-8: halves by both rules, and files that begin and end with a segment, an empty one between
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from small_bundle import INFO, TINY, Contents, size, variant

from edgeslim.core.constants import Fold, Kind, NetConstants
from edgeslim.core.cut import MasterCut, layout_of, master_cut
from edgeslim.core.manifest import FileEntry, Part
from edgeslim.core.recipe import Rule, Segment, segment_content
from edgeslim.core.width import Width
from edgeslim.press.build import BundleBuilder, MasterSet, MasterSource, PackedArtifact

OUT, IN = Part(name="out", size=4, optional=False), Part(name="in", size=5, optional=False)
ROW, COLUMN = Part(name="row", size=4, optional=False), Part(name="column", size=6, optional=False)
FIRST, SECOND = Part(name="first", size=2, optional=False), Part(name="second", size=2, optional=True)

# products that a half cannot hold, ties between halves (normal and subnormal), and subnormal floats
HALVES = (
    1.0, -2.5, 65504.0, 65519.996, 65520.0, -70000.0, 1 + 2.0**-11, 1 + 3 * 2.0**-11, 2.0**-24, 2.0**-24 * 1.5,
    2.0**-24 * 2.5, 2.0**-25, 2.0**-25 * 1.0001, -(2.0**-25), 2.0**-30, 2.0**-148, 2.0**-149, -(2.0**-149), 0.0, -0.0,
    2.0**-14, 2.0**-14 - 2.0**-25, 3e38, 1e-40,
)  # fmt: skip

NETS = {
    "0500": {"out": 2, "in": 3, "row": 2, "column": 3, "first": 1, "second": 1},
    "1000": {},
    "lonely": {"in": 4, "second": 0},
}


def sources() -> list[MasterSource]:
    rng = np.random.default_rng(5)

    def numbers(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    return [
        MasterSource(name="conv", axes=((OUT,), (IN,), size(2), size(3)), array=numbers(4, 5, 2, 3), scale=True),
        # two groups: rows, columns, input scales and the bias of each are cut
        MasterSource(
            name="grouped",
            axes=((ROW, ROW), (COLUMN,), size(1), size(1)),
            array=numbers(8, 6, 1, 1),
            groups=2,
            in_scale=True,
            scale=True,
            bias="grouped.bias",
        ),
        MasterSource(name="grouped.bias", axes=((ROW, ROW),), array=numbers(8), role="tensor"),
        # a transposed one in two groups: outputs along axis 1, group after group
        MasterSource(
            name="up",
            axes=((ROW, ROW), (OUT,), size(1), size(2)),
            array=numbers(8, 4, 1, 2),
            rows=1,
            groups=2,
            in_scale=True,
            scale=True,
            shift=True,
        ),
        MasterSource(
            name="halves",
            axes=((FIRST, SECOND), size(6)),
            array=np.array(HALVES, np.float32).reshape(4, 6),
            groups=2,
            scale=True,
        ),
        MasterSource(name="pair", axes=((OUT,), (IN,)), array=numbers(4, 5), role="tensor"),
        MasterSource(name="cube", axes=((OUT,), size(2), (IN,)), array=numbers(4, 2, 5), role="tensor"),
        MasterSource(
            name="five", axes=((OUT,), size(1), size(2), (IN,), size(3)), array=numbers(4, 1, 2, 5, 3), role="tensor"
        ),
        MasterSource(
            name="six",
            axes=(size(2), (OUT,), size(1), size(3), (IN,), size(2)),
            array=numbers(2, 4, 1, 3, 5, 2),
            role="tensor",
            dtype="f16",
        ),
        MasterSource(
            name="indices",
            axes=((OUT,), (IN,)),
            array=rng.integers(-(2**31), 2**31, (4, 5)),
            role="tensor",
            dtype="i32",
        ),
        MasterSource(name="bytes", axes=((IN, OUT),), array=np.arange(-5, 4), role="tensor", dtype="i8"),
        MasterSource(name="own", axes=((OUT,), size(1), (IN,)), array=None, role="own"),
    ]


def folds(cuts: Sequence[MasterCut], seed: int) -> list[Fold]:
    rng = np.random.default_rng(seed)

    def numbers(*shape: int) -> np.ndarray:
        return rng.uniform(-2, 2, shape).astype(np.float32)

    made = []
    for cut in cuts:
        master = cut.master
        fold = Fold(own=numbers(*cut.shape)) if master.role == "own" else Fold()
        if master.role == "weight":
            fold = Fold(
                in_scale=numbers(cut.inputs) if master.in_scale else None,
                scale=numbers(cut.outputs) if master.scale else None,
                shift=np.resize(np.array(TINY, np.float32), cut.outputs) if master.shift else None,
            )
        made.append(replace(fold, scale=np.ones(cut.outputs, np.float32)) if master.name == "halves" else fold)
    return made


MASTERS = tuple(source.name for source in sources())
Pieces = list[bytes | Segment]


def segment(master: str, kind: Kind = Kind.VECTOR, layout: int | tuple[int, ...] = 0, **more: Any) -> Segment:
    place = layout if isinstance(layout, int) else layout_of(layout)
    return Segment(offset=0, master=MASTERS.index(master), kind=kind, layout=place, **more)


def floats(net: NetConstants) -> dict[str, Pieces]:
    pieces: Pieces = [b"head"]
    for master, axes, kind in (("pair", 2, Kind.VECTOR), ("cube", 3, Kind.VECTOR), ("conv", 4, Kind.WEIGHT)):
        pieces += [segment(master, kind, layout) for layout in range(math.factorial(axes))]
        pieces.append(b"gap")
    pieces += [segment("five", layout=layout) for layout in (0, 61, 119)]
    pieces += [segment("six", layout=layout) for layout in (0, 401, 719)]
    pieces += [segment("indices", layout=1, rule=Rule.I32), segment("bytes", rule=Rule.I8)]
    pieces += [segment("own", layout=(2, 0, 1)), segment("own", layout=3, hashed=True)]
    rows = net.cuts[MASTERS.index("grouped")].shape[0] // 2
    for first in (rows, 0):
        pieces.append(segment("grouped", Kind.WEIGHT, 3, first_row=first, rows=rows))
        pieces.append(segment("grouped", Kind.BIAS, first_row=first, rows=rows))
    pieces += [segment("grouped", Kind.WEIGHT, 17), segment("grouped.bias")]
    # exporters store every group as (outputs, H, W, inputs)
    for first in (0, rows):
        pieces.append(segment("up", Kind.WEIGHT, (1, 2, 3, 0), first_row=first, rows=rows))
    pieces += [segment("up", Kind.WEIGHT), segment("up", Kind.BIAS)]
    pieces.append(segment("conv", Kind.WEIGHT, 23, hashed=True, first_row=1, rows=1))
    return {"model.pte": [*pieces, b"tail"]}


def halves(net: NetConstants) -> dict[str, Pieces]:
    f16: dict[str, Any] = {"rule": Rule.F16}
    coreml: dict[str, Any] = {"rule": Rule.F16_COREML}
    rows = net.cuts[MASTERS.index("halves")].shape[0]
    return {
        "Data/a.bin": [segment("halves", Kind.WEIGHT, **f16), b"gap", segment("halves", Kind.WEIGHT, 1, **coreml)],
        "Data/b.bin": [],
        "Data/c.bin": [segment("halves", Kind.WEIGHT, 1, first_row=1, rows=rows - 1, **f16)],
        "Data/d.bin": [],
        "Data/e.bin": [
            segment("up", Kind.BIAS, **coreml),
            segment("up", Kind.BIAS, **f16),
            segment("halves", Kind.WEIGHT, first_row=rows - 1, rows=1, **coreml),
            segment("halves", Kind.WEIGHT, hashed=True, **coreml),
            segment("six", layout=719, first_row=1, rows=1, **f16),
        ],
        "Manifest.json": [b"{}"],
    }


def placed(net: NetConstants, files: dict[str, Pieces]) -> tuple[PackedArtifact, dict[str, bytes]]:
    """Files of these pieces one after another."""
    contents, segments, template, start = {}, [], b"", 0
    for path, pieces in files.items():
        content = b""
        for piece in pieces:
            if isinstance(piece, bytes):
                content += piece
                template += piece
                continue
            segments.append(replace(piece, offset=start + len(content)))
            content += segment_content(piece, net)
        contents[path] = content
        start += len(content)
    entries = tuple(
        FileEntry(path=path, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for path, content in contents.items()
    )
    return PackedArtifact(
        files=entries,
        segments=tuple(segments),
        template=template,
        explained_bytes=start - len(template),
        literal_bytes=0,
    ), contents


def builder() -> tuple[BundleBuilder, Contents]:
    masters = MasterSet(sources())
    made = BundleBuilder(replace(INFO, labels=None), masters)
    contents: Contents = {}
    for seed, (name, narrower) in enumerate(NETS.items()):
        cut = masters.cut(narrower)
        cuts = [master_cut(master, masters.parts, cut) for master in masters.masters]
        names: dict[str, Any] = {"widths": (Width(int(name)),)} if name.isdigit() else {"label": name}
        made.add_net(cut, folds(cuts, seed), params=seed, **names)
        for one, files in ((variant(), floats), (variant("coreml", precision="fp16", directory=True), halves)):
            packed, there = placed(made.constants(name), files(made.constants(name)))
            made.add_artifact(one, name, packed, macs=1)
            contents[f"{one.id}/{name}"] = there
    return made, contents
