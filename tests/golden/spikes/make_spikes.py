"""Export the spikes by the real exporters, find their constants, and write everything to a folder.

    python tests/golden/spikes/make_spikes.py OUT [SPIKE …]

Bundles that stay as goldens are packed from these folders (described.py says what is in one).
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import exporters
import numpy as np
import torch
from arithmetic import constants, in_place_of
from described import Artifact, Net, Spike, save
from layers import Body, Deployed, calibrated
from look import Seen, look
from nets import int8_unet_body, mobile, mobile_body, odd, odd_body, unet, unet_body, vit, vit_body, vit_body_of_linears

from edgeslim.targets.exporting import muted


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a spike exports: (target, precision) pairs, at every net and input."""

    make: Callable[[], Spike]
    bodies: dict[str, Body]  # by target
    outputs: tuple[tuple[str, str], ...]
    inputs: tuple[tuple[int, int, int, int], ...]


INT8 = (("executorch", "int8"), ("litert", "int8"), ("coreml", "w8"), ("coreml", "int8"))
FLOAT = (("executorch", "fp32"), ("litert", "fp32"), ("coreml", "fp16"))
INT8_DIALECTS = {"executorch": "int8", "litert": "int8-litert", "coreml": "int8-coreml"}


def everywhere(body: Body) -> dict[str, Body]:
    return dict.fromkeys(("executorch", "litert", "coreml"), body)


PLANS = {
    "int8-mobilenet": Plan(
        make=lambda: mobile("int8-mobilenet", awkward=True),
        bodies=everywhere(mobile_body),
        outputs=INT8,
        inputs=((1, 3, 32, 32),),
    ),
    "vit-block": Plan(
        make=lambda: vit("vit-block", folded=True),
        bodies=everywhere(vit_body) | {"executorch": vit_body_of_linears},
        outputs=(("executorch", "fp32"), ("litert", "fp32"), ("coreml", "fp32")),
        inputs=((1, 3, 16, 16),),
    ),
    "int8-vit": Plan(
        make=lambda: vit("int8-vit", folded=False),
        bodies=everywhere(vit_body) | {"executorch": vit_body_of_linears},
        outputs=INT8,
        inputs=((1, 3, 16, 16),),
    ),
    "unet": Plan(
        make=lambda: unet("unet"),
        bodies=everywhere(unet_body),
        outputs=FLOAT,
        inputs=((1, 3, 16, 16),),
    ),
    "int8-unet": Plan(
        make=lambda: unet("int8-unet", int8=True),
        bodies=everywhere(int8_unet_body),
        outputs=INT8,
        inputs=((1, 3, 16, 16),),
    ),
    "odd-layers": Plan(
        make=lambda: odd("odd-layers"),
        bodies=everywhere(odd_body),
        outputs=FLOAT,
        inputs=((1, 1, 16, 16),),
    ),
    "two-inputs": Plan(
        make=lambda: mobile("two-inputs", awkward=False),
        bodies=everywhere(mobile_body),
        outputs=FLOAT,
        inputs=((1, 3, 32, 32), (1, 3, 24, 40)),
    ),
}


def export(spike: Spike, net: Net, plan: Plan, target: str, precision: str, shape: tuple[int, ...]) -> tuple[Net, Seen]:
    """One artifact, looked through and run."""
    body = plan.bodies[target]
    example = torch.zeros(shape)
    images = torch.from_numpy(np.random.default_rng(2).normal(0, 1, (8, *shape[1:])).astype(np.float32))
    ranges = None
    if precision == "int8":
        net, ranges = calibrated(spike, net, plan.bodies["litert"], images)
    dialect = {"w8": "w8", "int8": INT8_DIALECTS[target]}.get(precision, "float")
    module = Deployed(spike, net, body, dialect, ranges).eval()
    with muted(), torch.no_grad():
        want = module(images[:1]).numpy()
        if target == "executorch":
            files = exporters.executorch(module, example)
        elif target == "litert":
            files = exporters.litert(module, example, int8=precision == "int8")
        else:
            files = exporters.coreml(module, example, half=precision != "fp32", int8=precision == "int8")
        got = exporters.run(files, images[:1].numpy())
    artifact = Artifact(target=target, precision=precision, net=net.id, input_shape=shape, files=files)
    expected = constants(spike, net, precision, int32_bias=target != "coreml")
    seen = look(artifact, expected)
    if seen.missing and precision == "int8":
        floats = {constant.master for constant in seen.missing if constant.kind == "integers"}
        kept = [c for c in expected if c.master not in floats]
        others = [in_place_of(c, spike, net) for c in expected if c.master in floats]
        seen = look(artifact, kept + [other for other in others if other is not None])
    report(seen, None if got is None else 10 * np.log10((want**2).sum() / max(((want - got) ** 2).sum(), 1e-30)))
    return net, seen


def report(seen: Seen, decibels: float | None) -> None:
    artifact, (bare, named) = seen.artifact, seen.deflated()
    size = sum(map(len, artifact.files.values()))
    against_torch = "not run here" if decibels is None else f"{decibels:.0f} dB"
    print(
        f"{artifact.id}: {size} bytes, constants {seen.verbatim_bytes}/{seen.constant_bytes} verbatim, template "
        f"{len(seen.template)} → {bare} deflated ({named} with names), {against_torch}"
    )
    used = Counter(
        (c.kind, p.dtype, "".join(map(str, p.layout)), "rows" if p.rows < len(c.values) else "")
        for c in artifact.constants
        for p in c.places
    )
    for (kind, dtype, layout, rows), count in sorted(used.items()):
        print(f"    {kind:18} {dtype:10} {layout:5} {rows:4} × {count}")
    for constant in seen.missing:
        print(
            f"    MISSING {constant.kind} of {constant.master} {constant.values.shape}: {constant.values.ravel()[:4]}"
        )


def make(plan: Plan, out: Path, name: str) -> None:
    spike = plan.make()
    nets: dict[str, Net] = {net.id: net for net in spike.nets}
    artifacts = []
    for shape in plan.inputs:
        for target, precision in plan.outputs:
            for net in spike.nets:
                nets[net.id], seen = export(spike, nets[net.id], plan, target, precision, shape)
                artifacts.append(seen.artifact)
    save(replace(spike, nets=tuple(nets.values()), artifacts=tuple(artifacts)), out / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("spikes", nargs="*", metavar="SPIKE", help=f"of {', '.join(PLANS)}; default all")
    arguments = parser.parse_args()
    if unknown := set(arguments.spikes) - PLANS.keys():
        parser.error(f"no spike {', '.join(sorted(unknown))}; there are {', '.join(PLANS)}")
    for name in arguments.spikes or PLANS:
        print(f"== {name}")
        make(PLANS[name], arguments.out, name)


if __name__ == "__main__":
    main()
