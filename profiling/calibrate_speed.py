"""What exact calibration costs beside running the nets: ``python profiling/calibrate_speed.py``.

For 16 widths of US-MobileNetV2 with 512 JPEG images, in one run (``--record`` keeps it) and interleaved width by width:

    forward      the pure forward of the plain net in evaluation mode over all images: channels_last, inference mode,
                 at the fastest of several batch sizes
    calibrate    everything `pooled_statistics` does for that width

The ratio of the sums is the figure. Each is the least of several rounds, as other processes only ever add time. Then
the whole `calibrate` call is timed with its decoder counted, and what it does besides is listed.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import record
import torch
from PIL import Image

from edgeslim.core.pixels import Pixels
from edgeslim.core.width import Width, parse_widths
from edgeslim.data import images as image_sets
from edgeslim.data.images import ImageSet
from edgeslim.data.named import load_data
from edgeslim.deploy.calibration.calibrate import calibrate
from edgeslim.deploy.calibration.passes import PassUsage, pooled_statistics
from edgeslim.deploy.calibration.store import Workspace, default_memory_bytes
from edgeslim.host.decoding import decode
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.models.registry import create
from edgeslim.models.slimmable import SlimmableModel

BATCHES = (16, 32, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="us_mobilenet_v2")
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--widths", default="16")
    parser.add_argument("--memory", type=int, default=default_memory_bytes())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    record.add_option(parser)
    asked = parser.parse_args()
    passport = record.begin("torch")
    torch.set_num_threads(asked.threads)
    model = create(asked.model, num_classes=10, input_size=asked.pixels, low=Width(250), high=Width(1000))
    widths = parse_widths(asked.widths, trained=(Width(250), Width(1000)))
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "images.zip"
        write_images(archive, asked.images, asked.pixels)
        data = load_data(f"folder:{archive}", "calib", input_size=asked.pixels, images=asked.images)
        print(
            f"{asked.model}, {asked.pixels} px, {len(data)} images, {asked.threads} threads, torch {torch.__version__}"
        )
        ratio = compare(model, list(model.distinct(widths)), data.decoded(), asked.memory, asked.rounds)
        checkpoint = Checkpoint.from_model(model, input=data.contract)  # as if it had been trained on them
        per_image = whole(checkpoint, archive, asked.images, widths, asked.memory)
    if asked.record:
        what = f"{asked.model}, {asked.pixels} px, {asked.images} images, {len(widths)} widths"
        figures = [
            record.Figure(
                aim=f"exact calibration / the bare forward: {what}",
                promised=record.Promise(comparison="<=", number=1.5, text="at most 1.5x"),
                measured=(round(ratio, 3),),
                unit="x",
            ),
            record.Figure(
                aim="times that an image is decoded, all widths together",
                promised=record.Promise(comparison="==", number=1, text="once"),
                measured=(per_image,),
                unit="times",
            ),
        ]
        record.write(f"calibrate_speed-{asked.pixels}px", figures, passport)


def compare(model: SlimmableModel, widths: list[Width], data: ImageSet, memory: int, rounds: int) -> float:
    """Per width and in total: pure forward, calibration, their ratio. The total's is the answer."""
    workspace, used = Workspace(memory), list[PassUsage]()
    nets = {width: model.static(width).eval().to(memory_format=torch.channels_last) for width in widths}
    forward = dict.fromkeys(widths, float("inf"))
    ours = dict.fromkeys(widths, float("inf"))
    for _ in range(rounds):
        for width in reversed(widths):
            net = nets[width]
            for size in BATCHES:
                forward[width] = min(forward[width], seconds(partial(run, net, data, size)))
            exact = partial(pooled_statistics, net, data, workspace=workspace, on_usage=used.append)
            ours[width] = min(ours[width], seconds(exact))
    print("width  forward_s  calibrate_s  ratio")
    for width in widths:
        print(f"{width!s:>5}  {forward[width]:9.3f}  {ours[width]:11.3f}  {ours[width] / forward[width]:5.2f}")
    total, total_ours = sum(forward.values()), sum(ours.values())
    print(f"total  {total:9.3f}  {total_ours:11.3f}  {total_ours / total:5.2f}")
    print(
        f"peak activations {max(one.peak_bytes for one in used):,} bytes, "
        f"spilled {max(one.spilled_bytes for one in used):,}"
    )
    return total_ours / total


def whole(checkpoint: Checkpoint, archive: Path, images: int, widths: tuple[Width, ...], memory: int) -> float:
    """The call people make, from JPEG files to a calibrated net; how many times it decoded an image."""
    decoded: list[str] = []

    def counting(content: bytes, name: str, channels: int) -> Pixels:
        decoded.append(name)
        return decode(content, name, channels)

    def from_files() -> None:
        data = load_data(f"folder:{archive}", "calib", input_size=checkpoint.spec.input_size, images=images)
        calibrate(checkpoint, data, widths, memory_bytes=memory)

    model = checkpoint.build()
    building = seconds(checkpoint.build)
    slicing = seconds(lambda: [model.static(width) for width in model.distinct(widths)])
    loading = seconds(
        lambda: load_data(f"folder:{archive}", "calib", input_size=checkpoint.spec.input_size, images=images).decoded()
    )
    decoded.clear()
    with patch.object(image_sets, "decode", counting):
        took = seconds(from_files)
    print(
        f"calibrate() from files: {took:.2f} s; "
        f"of it building {building:.3f}, slicing {slicing:.3f}, decoding {loading:.3f}"
    )
    print(f"decoded {len(decoded)} times {len(set(decoded))} images")
    return len(decoded) / images


def run(net: torch.nn.Module, data: ImageSet, batch_size: int) -> None:
    with torch.inference_mode():
        for images, _ in data.batches(batch_size):
            net(images)


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def write_images(archive: Path, count: int, pixels: int) -> None:
    """A zip of JPEG noise in the layout of a training set."""
    generator = np.random.default_rng(0)
    with zipfile.ZipFile(archive, "w") as files:
        for index in range(count):
            out = io.BytesIO()
            noise = generator.integers(0, 256, (pixels, pixels, 3), dtype=np.uint8)
            Image.fromarray(noise).save(out, "jpeg", quality=90)
            files.writestr(f"train/{index % 10}/{index:05d}.jpg", out.getvalue())


if __name__ == "__main__":
    main()
