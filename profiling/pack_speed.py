"""How much faster ``pack`` is than running the exporters one after another.

    python profiling/pack_speed.py [--record]

    serial   one process: for every target and width, slice, fold, export
    pack     the same exports, the recipes, the comparison with PyTorch, and the bundle

Both run in this one call, so their ratio holds on a machine whose speed drifts; ``--json`` keeps pack's own document,
from which docs/results.md is made. The net is a US-MobileNetV2 with 1000 classes at 224 px,
randomly initialised, with BatchNorms as training leaves them (dead, tiny, negative gammas): sizes and times do not
depend on what it has learned.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import record
import torch

from edgeslim import targets
from edgeslim.core.width import Width, parse_widths
from edgeslim.deploy.calibration.calibrate import CalibratedModel
from edgeslim.deploy.describe import metadata_for
from edgeslim.deploy.pack_plan import PackedNet
from edgeslim.models.checkpoint import Checkpoint, load_checkpoint
from edgeslim.models.registry import create

EXPORTERS = ("torch", "executorch", "coremltools", "litert-torch", "coreai-torch")


def make_checkpoint(path: Path, widths: tuple[Width, ...], *, name: str, classes: int, size: int) -> None:
    """A net that looks trained, with statistics at ``widths``."""
    torch.manual_seed(0)
    model = create(name, num_classes=classes, input_size=size)
    with torch.no_grad():
        for norm in model.norms().values():
            weight, bias = norm.masters()
            weight.normal_(1, 0.3)
            bias.normal_(std=0.2)
            weight[0], weight[1], weight[2] = 0.0, 1e-20, -0.5
    for width in model.distinct(widths):
        norms = {n: m for n, m in model.static(width).named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
        model.set_statistics(
            width,
            {n: (0.1 * torch.randn(m.num_features), 0.5 + torch.rand(m.num_features)) for n, m in norms.items()},
        )
    Checkpoint.from_model(model).save(path, overwrite=True)


def export_serially(path: Path, folder: Path) -> None:
    """Every export, one after another, in this process."""
    torch.set_num_threads(1)
    checkpoint = load_checkpoint(path)
    model = CalibratedModel.from_checkpoint(checkpoint)
    size = checkpoint.spec.input_size
    for name in targets.names():
        target = targets.get(name)
        for width in checkpoint.ladder:
            net = PackedNet(selection=model.selection(width), widths=(width,))
            out = folder / f"{name}-{width.permille:04d}{target.info.suffix}"
            net = PackedNet(selection=model.selection(width), widths=(width,))
            began = time.monotonic()
            target.export(
                model.slice(width),
                {"image": torch.zeros(1, checkpoint.spec.in_channels, size, size)},
                out,
                metadata=metadata_for(checkpoint, net, labels=None, about={}),
            )
            print(f"{name} {width}x {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)


def timed(argv: list[str]) -> tuple[float, str]:
    began = time.monotonic()
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    return time.monotonic() - began, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="us_mobilenet_v2")
    parser.add_argument("--widths", default="16", help="as for the command line; a count spreads over the range")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--input-size", type=int, default=224)
    parser.add_argument("--json", type=Path, help="write pack's document here")
    parser.add_argument("--keep", type=Path, help="a copy of the bundle, for other benchmarks")
    parser.add_argument("--no-serial", action="store_true", help="only pack")
    parser.add_argument("--only-serial", type=Path, nargs=2, help=argparse.SUPPRESS)
    record.add_option(parser)
    options = parser.parse_args()
    if options.only_serial:
        export_serially(*options.only_serial)
        return
    passport = record.begin(*EXPORTERS)
    trained = create(options.model, num_classes=2).spec
    widths = parse_widths(options.widths, trained=(trained.low, trained.high))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = folder / "net.pt"
        make_checkpoint(checkpoint, widths, name=options.model, classes=options.classes, size=options.input_size)
        edgeslim = [sys.executable, "-m", "edgeslim"]
        pack_s, text = timed([*edgeslim, "pack", str(checkpoint), "--target", "all", "--json"])
        document = json.loads(text)
        if options.json:
            options.json.write_text(json.dumps(document, indent=1) + "\n")
        if options.keep:
            shutil.copyfile(document["bundle"], options.keep)
        print(f"{len(document['rows'])} artifacts, {sum(r['artifact_bytes'] for r in document['rows']):,} bytes")
        print(f"bundle {document['bytes']:,} bytes = {document['bytes'] / document['weights_bytes']:.4f}x the weights")
        print(f"pack     {pack_s:8.1f} s")
        if not options.no_serial:
            (folder / "serial").mkdir()
            serial_s, _ = timed([sys.executable, __file__, "--only-serial", str(checkpoint), str(folder / "serial")])
            print(f"serial   {serial_s:8.1f} s")
            print(f"pack / serial  {pack_s / serial_s:.3f}")
            if options.record:
                figure = record.Figure(
                    aim="packing / the same exports one after another in one process",
                    promised=record.Promise(comparison="<=", number=0.6, text="at most 0.6x"),
                    measured=(round(pack_s / serial_s, 3),),
                    unit="x",
                    notes=(f"{len(document['rows'])} exports: {pack_s:.0f} s and {serial_s:.0f} s.",),
                )
                record.write("pack_speed", [figure], passport)


if __name__ == "__main__":
    main()
