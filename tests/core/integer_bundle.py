"""A made-up bundle for the corners of FORMAT.md §5: ties, saturation, dead channels, lost groups, shared steps.

nets       1000 · lost (the middle group of three is left out, and one by a part that spans groups) · floats (no quant)
variants   executorch-int8-8: every constant that a net has; litert-int8-8: integers alone, by rows too

Numbers are powers of two times small integers wherever a tie or a limit is meant, so that it is met exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from layout_bundle import Pieces, placed
from small_bundle import INFO, Contents, size, variant

from edgeslim.core.constants import Fold, Kind, NetConstants, Quant, shape_of
from edgeslim.core.cut import MasterCut, master_cut
from edgeslim.core.manifest import Part
from edgeslim.core.recipe import Segment, rules_for
from edgeslim.core.width import Width
from edgeslim.press.build import BundleBuilder, MasterSet, MasterSource

ROWS, CHANNELS = Part(name="rows", size=10, optional=False), Part(name="channels", size=12, optional=False)
# groups of two rows; the middle one may be left out
A, B, C = (Part(name=name, size=2, optional=name == "b") for name in "abc")
UP = Part(name="up", size=3, optional=False)
# four groups of two rows in two parts: a net with one of p and all of q has nothing of the second group
P, Q = Part(name="p", size=4, optional=False), Part(name="q", size=4, optional=False)
# the axis of three groups once more, cut elsewhere
WHOLE, THIN = Part(name="whole", size=6, optional=False), Part(name="thin", size=3, optional=False)

NETS: dict[str, dict[str, int]] = {
    "1000": {},
    "lost": {"b": 0, "up": 2, "p": 1, "whole": 3, "thin": 2, "rows": 9},
    "floats": {"a": 1, "c": 1, "up": 1, "q": 3, "rows": 8},
}


def beside(number: float, up: bool) -> float:
    """The next float32."""
    return float(np.nextafter(np.float32(number), np.float32(np.inf if up else -np.inf)))


SHARED = (  # rows of which the largest, over 127, is the step
    (127, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 126.5, -126.5, 125.5),  # step 1: ties go to the even one
    (-127, beside(0.5, False), beside(0.5, True), beside(-0.5, False), beside(-0.5, True), 0.0, -0.0, 63, -63, 1),
    (254, 1, -1, 3, -3, 5, -5, 253, -253, 2),  # step 2
    (63.5, 0.25, -0.25, 0.75, -0.75, 1.25, -1.25, 63.25, -63.25, 63),  # step 1/2
    (0,) * 10,  # step 0: dead
    tuple(x * 2.0**-20 for x in (127, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 126.5, -126.5, 1)),  # step 2^-20: alive
    (beside(127 * 2.0**-20, False), *(2.0**-20,) * 9),  # the next step below: dead
    (127 * 2.0**90, 2.0**89, -(2.0**89), 2.0**91, 2.0**-149, -(2.0**-149), 1e-40, 3 * 2.0**89, -3 * 2.0**89, 0),
    (127, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    (127, 9, 8, 7, 6, 5, 4, 3, 2, 1),
)
# times the steps of SHARED: signs, a weight scale of 2^-20 and the next below it, a dead channel of either zero
SCALE = (-1.0, 2.0**-20, -beside(2.0**-21, False), -(2.0**-19), 3.0, -1.0, 2.0, 2.0**-20, 0.0, -0.0)

OWN_SCALE = (2.0**-20, 1.0, 0.5, 2.0**30, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0**-20, 2.0**-20)
OWN = (  # of these scales: ties, saturation, a quotient that is infinite
    (3e38, -3e38, 2.0**-21, -(2.0**-21), 3 * 2.0**-21, 127 * 2.0**-20),
    (126.5, 127.5, -127.5, 127.499, -128.0, 128.0),
    (0.25, -0.25, 0.75, -0.75, 1.25, -1.25),
    (2.0**29, -(2.0**29), 3 * 2.0**29, 2.0**37, -(2.0**37), 2.0**36),
    *((float(n), -float(n), n + 0.5, -n - 0.5, 1000.0, -1000.0) for n in range(8)),
)
# of a bias scale of 1, but 2^-20 in the first and the last two: ties, the ends of int32, float32 of large integers
SHIFT = (
    3e38, 0.5, -0.25, 2.5 * 2.0**30, 2.0**31, -(2.0**31), 2.0**31 - 128, -(2.0**31) + 128, 2.0**24, 2.0**24 + 2,
    2.0**11, -3e38,
)  # fmt: skip
CORRECTION = (32767, 0, 0, -32768, -5, 5, 200, -200, 1, 1, 200, -32768)

BYTES = ((-128, 127, -127, 0), (-128, 64, -1, 1), (-128, 5, 6, 7), (1, 2, 3, -128))
BYTE_STEP = (1.0, 0.5, 2.0**-20, beside(2.0**-20, False))
BYTE_SCALE = (-1.0, 3.0, 1.0, 2.0)


def sources() -> list[MasterSource]:
    rng = np.random.default_rng(7)

    def numbers(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    groups: dict[str, Any] = {"groups": 3, "integers": "shared"}
    return [
        MasterSource(
            name="ties",
            axes=((ROWS,), size(10)),
            array=np.array(SHARED, np.float32),
            bias="ties.bias",
            integers="shared",
            correction=True,
        ),
        # its input scales are in the weight and not in the integers
        MasterSource(
            name="scaled",
            axes=((ROWS,), size(10)),
            array=None,
            of="ties",
            in_scale=True,
            scale=True,
            integers="shared",
        ),
        MasterSource(
            name="own",
            axes=((CHANNELS,), size(6)),
            array=np.array(OWN, np.float32),
            shift=True,
            integers="own",
            correction=True,
        ),
        MasterSource(
            name="bytes",
            axes=(size(4), size(4)),
            array=np.array(BYTES),
            dtype="i8",
            step=np.array(BYTE_STEP, np.float32),
            scale=True,
            shift=True,
            integers="shared",
        ),
        # transposed: output channels along axis 1, group after group, and as many steps
        MasterSource(
            name="up",
            axes=((A, B, C), (UP,), size(1), size(2)),
            array=rng.integers(-128, 128, (6, 3, 1, 2)),
            dtype="i8",
            step=np.linspace(0.01, 0.09, 9, dtype=np.float32),
            rows=1,
            scale=True,
            shift=True,
            correction=True,
            **groups,
        ),
        MasterSource(
            name="up.again",
            axes=((WHOLE,), (THIN,), size(1), size(2)),
            array=None,
            dtype="i8",
            of="up",
            rows=1,
            shift=True,
            **groups,
        ),
        MasterSource(
            name="up.floats",
            axes=((A, B, C), (UP,), size(1), size(2)),
            array=numbers(6, 3, 1, 2),
            rows=1,
            in_scale=True,
            scale=True,
            shift=True,
            correction=True,
            **groups,
        ),
        MasterSource(
            name="grouped",
            axes=((A, B, C), (UP,), size(1), size(1)),
            array=numbers(6, 3, 1, 1),
            dtype="f16",
            groups=3,
            in_scale=True,
            scale=True,
            integers="own",
        ),
        MasterSource(
            name="spanning",
            axes=((P, Q), size(2), size(1), size(1)),
            array=numbers(8, 2, 1, 1),
            groups=4,
            in_scale=True,
            shift=True,
            integers="shared",
        ),
        # the same tensor, transposed: so its outputs and inputs change places
        MasterSource(
            name="spanning.back",
            axes=((P, Q), size(2), size(1), size(1)),
            array=None,
            of="spanning",
            rows=1,
            groups=2,
            in_scale=True,
            scale=True,
            integers="shared",
        ),
        MasterSource(
            name="ties.bias",
            axes=((ROWS,),),
            array=np.array([x * 2.0**-40 for x in (0.5, -0.5, 3, -5, 1, -1, 3, 5, 1e30, -2.5)]),
            role="tensor",
        ),
    ]


def first(numbers: Sequence[float] | np.ndarray, count: int) -> np.ndarray:
    return np.resize(np.array(numbers, np.float32), count)


def folds(cuts: Sequence[MasterCut], seed: int) -> list[Fold]:
    rng = np.random.default_rng(seed)
    scales = {"scaled": SCALE, "bytes": BYTE_SCALE}
    made = []
    for cut in cuts:
        master = cut.master
        scale = scales.get(master.name, rng.uniform(-2, 2, cut.outputs))
        shift = SHIFT if master.name == "own" else rng.uniform(-2, 2, cut.outputs)
        made.append(
            Fold(
                in_scale=first(rng.uniform(-2, 2, cut.inputs), cut.inputs) if master.in_scale else None,
                scale=first(scale, cut.outputs) if master.scale else None,
                shift=first(shift, cut.outputs) if master.shift else None,
            )
        )
    return made


INPUT_SCALES = {"ties": 2.0**-40, "scaled": 2.0**-40, "own": 1.0, "bytes": 2.0**40}


def quants(cuts: Sequence[MasterCut], seed: int) -> list[Quant | None]:
    rng = np.random.default_rng(seed)
    made: list[Quant | None] = []
    for cut in cuts:
        master = cut.master
        if master.integers == "none":
            made.append(None)
            continue
        own = OWN_SCALE if master.name == "own" else rng.uniform(0.001, 0.02, cut.outputs)
        correction = CORRECTION if master.name == "own" else rng.integers(-300, 300, cut.outputs)
        made.append(
            Quant(
                input_scale=np.array([INPUT_SCALES.get(master.name, 0.03)], np.float32),
                scale=first(own, cut.outputs) if master.integers == "own" else None,
                correction=np.resize(np.array(correction, np.int16), cut.outputs) if master.correction else None,
            )
        )
    return made


def segments(net: NetConstants, *, only_integers: bool) -> list[Segment]:
    """Every constant once; or those of integers, whole, and their rows from the last to the first."""
    found = []
    for constant in net.all():
        cut = net.cuts[constant.master]
        whole = Segment(
            offset=0, master=constant.master, kind=constant.kind, rule=min(rules_for(cut, constant.kind)), layout=0
        )
        if not only_integers:
            found.append(whole)
        elif constant.kind in (Kind.INTEGERS, Kind.BIAS_INTEGERS):
            rows = shape_of(cut, constant.kind)[0]
            found += [whole, *(replace(whole, first_row=row, rows=1) for row in reversed(range(rows)))]
    return found


def builder() -> tuple[BundleBuilder, Contents]:
    masters = MasterSet(sources())
    made = BundleBuilder(replace(INFO, labels=None), masters)
    contents: Contents = {}
    for seed, (name, narrower) in enumerate(NETS.items()):
        cut = masters.cut(narrower)
        cuts = [master_cut(master, masters.parts, cut) for master in masters.masters]
        names: dict[str, Any] = {"widths": (Width(int(name)),)} if name.isdigit() else {"label": name}
        quantised = None if name == "floats" else quants(cuts, seed)
        made.add_net(cut, folds(cuts, seed), params=seed, quants=quantised, **names)
        net = made.constants(name)
        for target, only_integers in (("executorch", False), ("litert", True)):
            one = variant(target, precision="int8")
            files: dict[str, Pieces] = {f"model{one.suffix}": [b"head", *segments(net, only_integers=only_integers)]}
            packed, there = placed(net, files)
            made.add_artifact(one, name, packed, macs=1)
            contents[f"{one.id}/{name}"] = there
    return made, contents
