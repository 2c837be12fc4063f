"""Kills ``SlimBundle.rebuild`` at random moments; run as a script by test_bundle_kill.py.

    python kill_rebuilds.py BUNDLE TARGET FOLDER COUNT SEED

Prints how often the old artifact, the new one, or something else was found afterwards, as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from edgeslim.core.bundle import SlimBundle

WIDTHS = (500, 1000)


def content(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        return {p.relative_to(path).as_posix(): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}
    return {"": path.read_bytes()} if path.exists() else {}


def main() -> None:
    bundle, target, folder, count, seed = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), *map(int, sys.argv[4:])
    rng = random.Random(seed)
    opened = SlimBundle.open(bundle)
    expected = []
    for permille in WIDTHS:
        opened.rebuild(target, permille, folder / f"w{permille}")
        expected.append(content(folder / f"w{permille}"))
    out = folder / "artifact"
    began = time.perf_counter()
    opened.rebuild(target, WIDTHS[0], out)
    opened.rebuild(target, WIDTHS[1], out, overwrite=True)
    opened.rebuild(target, WIDTHS[0], out, overwrite=True)
    usual = (time.perf_counter() - began) / 3
    now, seen = 0, {"old": 0, "new": 0, "else": 0}
    for _ in range(count):
        child = os.fork()
        if child == 0:
            opened.rebuild(target, WIDTHS[1 - now], out, overwrite=True)
            os._exit(0)
        time.sleep(rng.uniform(0, 3 * usual))  # a forked child is slower than its parent
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        there = content(out)
        seen["old" if there == expected[now] else "new" if there == expected[1 - now] else "else"] += 1
        now = now if there == expected[now] else 1 - now
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
