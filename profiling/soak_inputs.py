"""Every kind of file and line that edgeslim reads, mutated: a million bundles, a hundred thousand of each other.

    python profiling/soak_inputs.py                     all of it, an hour or two on one core
    python profiling/soak_inputs.py --share 0.01 --kinds image,policy

No mutant may end in a traceback, write a file, or be refused only after 100 ms of CPU time or 64 MB. ``tests/fuzz/
input_mutants.py`` makes them; the number that is printed with a fault gives the same mutant again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "fuzz"))
from input_mutants import KINDS, run, warmed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of the full counts")
    parser.add_argument("--kinds", default=",".join(kind.name for kind in KINDS))
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    arguments = parser.parse_args()
    faulty = False
    for kind in KINDS:
        if kind.name not in arguments.kinds.split(","):
            continue
        count = max(int(kind.full * arguments.share), 1)
        found = run(warmed(kind), range(arguments.first, arguments.first + count))
        faulty = faulty or bool(found.faults)
        document = {
            "kind": kind.name,
            "mutants": count,
            **found.counts,
            "slowest_ms": round(1000 * found.slowest_s, 1),
            "largest_kb": found.largest_kb,
            "cpu_s": round(found.cpu_s, 1),
            "faults": [f"{number}: {what}" for number, what in found.faults[:20]],
        }
        print(json.dumps(document), flush=True)
    sys.exit(4 if faulty else 0)


if __name__ == "__main__":
    main()
