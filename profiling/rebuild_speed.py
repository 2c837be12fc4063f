"""How long rebuilding a runtime's file takes: ``python profiling/rebuild_speed.py [BUNDLE] [--record]``.

    write    numpy writes the same bytes to a file and fsyncs it
    rebuild  bundle.rebuild: slice, scale, permute, write, SHA-256, fsync, rename
    open     SlimBundle.open: map the file, check header and manifest (once per app start, not per width)

They take turns in this one run, so their ratios hold on a machine whose speed drifts. Without BUNDLE, a US-MobileNetV2
with 1000 classes at 224 px is packed first (random weights; times do not depend on what a net has learned).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import record
from pack_speed import make_checkpoint

from edgeslim.core.addressing import only_variant
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.manifest import artifact_id
from edgeslim.core.width import Width
from edgeslim.deploy.pack_plan import PackOptions


def packed(folder: Path, widths: tuple[Width, ...]) -> Path:
    """A bundle of a made-up net for ExecuTorch."""
    from edgeslim.deploy.pack import pack

    make_checkpoint(folder / "net.pt", widths, name="us_mobilenet_v2", classes=1000, size=224)
    return pack(folder / "net.pt", PackOptions(targets=["executorch"], out=folder / "net.slim")).bundle


def milliseconds(action: Callable[[], Any]) -> float:
    began = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - began)


def measure(path: Path, target: str, folder: Path, repetitions: int) -> dict[str, Any]:
    """Times of the widest artifact of ``target``, and the memory a rebuild needs beyond the mapping."""
    with SlimBundle.open(path) as bundle:
        variant = only_variant(bundle.manifest, target, None)
        widest = max(variant.artifacts, key=lambda artifact: artifact.macs)
        artifact = artifact_id(variant.id, widest.net)
        masters = [master for master in bundle.manifest.masters if master.role != "own"]
        largest = max(bundle.tensor(f"master/{master.name}").nbytes for master in masters)
        done = bundle.rebuild_artifact(artifact, folder / "first")
        source = [done.path] if done.path.is_file() else [done.path / file.path for file in done.files]
        contents = [np.fromfile(file, np.uint8) for file in source]

        def write() -> None:
            for content in contents:
                with open(folder / "written", "wb") as stream:
                    content.tofile(stream)
                    stream.flush()
                    os.fsync(stream.fileno())

        actions: dict[str, Callable[[], Any]] = {
            "write": write,
            "rebuild": lambda: bundle.rebuild_artifact(artifact, folder / "rebuilt", overwrite=True),
            "open": lambda: SlimBundle.open(path).close(),
        }
        times: dict[str, list[float]] = {name: [] for name in actions}
        for _ in range(repetitions):
            for name, action in actions.items():
                times[name].append(milliseconds(action))
        tracemalloc.start()
        actions["rebuild"]()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    medians = {name: statistics.median(values) for name, values in times.items()}
    paired = [rebuild / write for rebuild, write in zip(times["rebuild"], times["write"], strict=True)]
    return {
        "artifact": artifact,
        "bytes": sum(content.size for content in contents),
        "median_ms": {name: round(value, 2) for name, value in medians.items()},
        "min_ms": {name: round(min(values), 2) for name, values in times.items()},
        "ratio_of_medians": round(medians["rebuild"] / medians["write"], 3),
        "median_of_ratios": round(statistics.median(paired), 3),
        "peak_bytes": peak,
        "largest_tensor_bytes": largest,
        "peak_over_largest": round(peak / largest, 3),
    }


def figures(result: dict[str, Any]) -> list[record.Figure]:
    what = f"{result['artifact']}, {result['bytes']:,} bytes"
    return [
        record.Figure(
            aim="rebuilding a file, hash and fsync included / writing the same bytes with fsync",
            promised=record.Promise(comparison="<=", number=2.1, text="at most 2.1x"),
            measured=(result["median_of_ratios"],),
            unit="x",
            notes=(f"{what}: {result['median_ms']['rebuild']} ms and {result['median_ms']['write']} ms.",),
        ),
        record.Figure(
            aim="memory of a rebuild beyond the mapping / the largest tensor",
            measured=(result["peak_over_largest"],),
            unit="x",
            notes=(f"{result['peak_bytes']:,} bytes.",),
        ),
        record.Figure(
            aim="opening a bundle, its manifest checked",
            measured=(result["median_ms"]["open"],),
            unit="ms",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--target", default="executorch")
    parser.add_argument("--repetitions", type=int, default=31)
    parser.add_argument("--folder", type=Path, help="where to write, to time a certain disk")
    record.add_option(parser)
    options = parser.parse_args()
    passport = record.begin()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        bundle = options.bundle or packed(folder, (Width(500), Width(1000)))
        result = measure(bundle, options.target, folder, options.repetitions)
    print(json.dumps(result, indent=1))
    if options.record:
        record.write(f"rebuild_speed-{options.target}", figures(result), passport)


if __name__ == "__main__":
    main()
