"""How long rebuilding a runtime's file takes: ``python profiling/rebuild_speed.py [BUNDLE]``.

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
from pack_speed import make_checkpoint

from edgeslim.core.bundle import SlimBundle
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
        width = Width(bundle.variant(target).artifacts[-1].permille)
        largest = max(bundle.tensor(f"weight/{layer.name}").nbytes for layer in bundle.manifest.layers)
        done = bundle.rebuild(target, width, folder / "first")
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
            "rebuild": lambda: bundle.rebuild(target, width, folder / "rebuilt", overwrite=True),
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
        "target": target,
        "permille": width.permille,
        "bytes": sum(content.size for content in contents),
        "median_ms": {name: round(value, 2) for name, value in medians.items()},
        "min_ms": {name: round(min(values), 2) for name, values in times.items()},
        "ratio_of_medians": round(medians["rebuild"] / medians["write"], 3),
        "median_of_ratios": round(statistics.median(paired), 3),
        "peak_bytes": peak,
        "largest_tensor_bytes": largest,
        "peak_over_largest": round(peak / largest, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--target", default="executorch")
    parser.add_argument("--repetitions", type=int, default=31)
    parser.add_argument("--folder", type=Path, help="where to write, to time a certain disk")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        bundle = options.bundle or packed(folder, (Width(500), Width(1000)))
        result = measure(bundle, options.target, folder, options.repetitions)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
