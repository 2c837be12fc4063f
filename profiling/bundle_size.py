"""How large one bundle is beside the full-width weights: ``python profiling/bundle_size.py [--record]``.

A US-MobileNetV2 with 1000 classes at 224 px and 16 widths, for ExecuTorch, Core ML (fp16) and LiteRT, and once more
with Core AI where edgeslim has that target and its exporter is installed. Weights are random, statistics made up, as in
pack_speed.py: sizes do not depend on what a net has learned, and the same versions give the same bytes on any machine,
busy or not. The weights are those of the full-width net as it was trained, in float32: convolutions, linear layers,
BatchNorm's gamma and beta.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import record
from pack_speed import EXPORTERS, make_checkpoint

from edgeslim import targets
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.width import parse_widths
from edgeslim.deploy.bundle_reports import PackRow
from edgeslim.deploy.export_job import ExportJob
from edgeslim.deploy.pack import pack
from edgeslim.deploy.pack_plan import PackOptions
from edgeslim.errors import MissingExtraError
from edgeslim.models.count import count
from edgeslim.models.registry import create

CLASSES, SIZE = 1000, 224
PHONES = ("executorch", "coreml", "litert")
CORE_AI = "coreai"
MOST = {PHONES: 1.106, (*PHONES, CORE_AI): 1.13}  # times the weights, for 16 widths of US-MobileNetV2
EXPLAINED = 99.0  # % of the constants' bytes that come from the master weights


def has(target: str) -> bool:
    """Whether this edgeslim exports for ``target`` here."""
    if target not in targets.names():
        return False
    try:
        targets.get(target).info.ensure_available(exporting=True)
    except MissingExtraError:
        return False
    return True


def figures(rows: Sequence[PackRow], bundle: SlimBundle, weights_bytes: int, *, usual: bool) -> list[record.Figure]:
    """What a bundle with ``rows`` is measured by; the limits hold where it is the ``usual`` net and widths."""
    names = tuple(dict.fromkeys(row.target for row in rows))
    of_target = {name: [row for row in rows if row.target == name] for name in names}
    separate = {name: sum(row.artifact_bytes for row in mine) for name, mine in of_target.items()}
    explained = {
        name: sum(r.explained_bytes for r in mine) / sum(r.explained_bytes + r.literal_bytes for r in mine)
        for name, mine in of_target.items()
    }
    parts, size = bundle.parts(), bundle.size_bytes
    limit = next((most for chosen, most in MOST.items() if set(chosen) == set(names)), None) if usual else None
    promised = limit and record.Promise(comparison="<=", number=limit, text=f"at most {limit:g}x")
    what = f"{len(of_target[names[0]])} widths for {', '.join(names)}"
    return [
        record.Figure(
            aim=f"the bundle / the full-width weights: {what}",
            promised=promised or None,
            measured=(round(size / weights_bytes, 5),),
            unit="x",
            notes=(f"{size:,} bytes beside {weights_bytes:,}.",),
        ),
        record.Figure(
            aim=f"constants that are made from the master weights: {what}",
            promised=record.Promise(comparison=">=", number=EXPLAINED, text=f"at least {EXPLAINED:g} %"),
            measured=tuple(round(100 * share, 4) for share in explained.values()),
            unit="%",
            of=names,
        ),
        record.Figure(
            aim=f"the separate files: {what}",
            measured=tuple(float(size) for size in separate.values()),
            unit="bytes",
            of=names,
            notes=(f"{sum(separate.values()):,} bytes, {sum(separate.values()) / size:.1f}x the bundle.",),
        ),
        record.Figure(
            aim=f"where the bundle's bytes go: {what}",
            measured=tuple(float(size) for size in parts.values()),
            unit="bytes",
            of=tuple(parts),
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="us_mobilenet_v2")
    parser.add_argument("--widths", default="16", help="as for the command line; a count spreads over the range")
    parser.add_argument("--jobs", type=int, help="worker processes")
    record.add_option(parser)
    options = parser.parse_args()
    passport = dataclasses.replace(record.begin(*EXPORTERS), notes=())  # bytes do not mind what else runs
    spec = create(options.model, num_classes=2).spec
    widths = parse_widths(options.widths, trained=(spec.low, spec.high))
    model = create(options.model, num_classes=CLASSES, input_size=SIZE)
    weights_bytes = 4 * count(model, spec.high, SIZE).params
    usual = options.model == "us_mobilenet_v2" and options.widths == "16"
    rows: list[PackRow] = []
    found: list[record.Figure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_checkpoint(folder / "net.pt", widths, name=options.model, classes=CLASSES, size=SIZE)
        bundle = folder / "net.slim"
        for chosen in (PHONES, (CORE_AI,)):  # the second joins the first: nothing is exported twice
            if not all(map(has, chosen)):
                print(f"{', '.join(chosen)}: not here, left out", file=sys.stderr)
                continue
            into = bundle if bundle.exists() else None
            report = pack(
                folder / "net.pt",
                PackOptions(targets=chosen, out=bundle, into=into, jobs=options.jobs),
                progress=_progress(),
            )
            with SlimBundle.open(report.bundle) as opened:
                rows += report.rows
                found += figures(rows, opened, weights_bytes, usual=usual)
    for figure in found:
        print(record.words(figure))
    if options.record:
        record.write("bundle_size", found, passport)
    sys.exit(int(any(figure.kept is False for figure in found)))


def _progress() -> Callable[[ExportJob, float], None]:
    began = time.monotonic()

    def say(job: ExportJob, seconds: float) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {job.out.name} {seconds:.1f} s", file=sys.stderr, flush=True)

    return say


if __name__ == "__main__":
    main()
