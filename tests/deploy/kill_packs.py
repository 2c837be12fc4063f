"""Kills ``pack`` and ``pack(into=…)`` at random moments; run as a script by test_pack_kill.py.

    python kill_packs.py pack|merge FOLDER COUNT SEED

The exports are made once and handed to every later pack: they only write into a temporary folder, and would be all that
the kills ever hit. Everything else is real: plan, folds, manifest, merge, ``--keep-artifacts`` and the write.
Prints how often the old bundle, the new one, or something else was found afterwards, as JSON.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from small_checkpoint import small_checkpoint

import edgeslim.deploy.pack as packing
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.width import Width
from edgeslim.deploy.pack_plan import PackOptions
from edgeslim.deploy.workers import Done, run_jobs

OLD, ALL = (Width(250),), (Width(130), Width(190), Width(250))


class RecordedExports:
    """Stands in for ``run_jobs``: real once per artifact, then from the recording."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[str, str], Done] = {}
        self._real: Callable[..., Iterator[Done]] = run_jobs
        folder.mkdir()

    def __call__(self, function: str, jobs: Sequence[Any], **options: Any) -> Iterator[Done]:
        fresh = [job for job in jobs if (job.target, job.net.label) not in self._known]
        for done in self._real(function, fresh, **options) if fresh else ():
            job = fresh[done.index]
            _copy(job.out, self._folder / job.out.name)
            self._known[job.target, job.net.label] = done
        for index, job in enumerate(jobs):
            done = self._known[job.target, job.net.label]
            _copy(self._folder / job.out.name, job.out)
            artifact = dataclasses.replace(done.value.artifact, root=job.out)
            yield dataclasses.replace(done, index=index, value=dataclasses.replace(done.value, artifact=artifact))


def _copy(source: Path, to: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, to, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, to)


def main() -> None:
    kind, folder, count, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    rng = random.Random(seed)
    packing.run_jobs = RecordedExports(folder / "exports")  # type: ignore[attr-defined]
    checkpoint = small_checkpoint()
    out, kept = folder / "net.slim", folder / "kept"

    def make(widths: Sequence[Width]) -> None:
        into = out if kind == "merge" and widths is ALL else None
        packing.pack(
            checkpoint,
            PackOptions(targets=["reference"], nets=widths, out=out, into=into, keep_artifacts=kept, overwrite=True),
        )

    contents = {}
    for name, widths in (("old", OLD), ("new", ALL)):
        make(widths)
        contents[name] = out.read_bytes(), _files(kept)
    make(OLD)
    began = time.perf_counter()
    make(ALL)
    usual = time.perf_counter() - began
    seen = dict.fromkeys(("old", "new", "else", "half kept"), 0)
    for _ in range(count):
        make(OLD)
        child = os.fork()
        if child == 0:
            make(ALL)
            os._exit(0)
        time.sleep(rng.uniform(0, 2 * usual))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        there = out.read_bytes()
        found = next((name for name, (bundle, _) in contents.items() if bundle == there), "else")
        seen[found] += 1
        seen["half kept"] += _files(kept) not in [files for _, files in contents.values()]
        if found != "else":
            SlimBundle.open(out).close()
    print(json.dumps(seen))


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


if __name__ == "__main__":
    main()
