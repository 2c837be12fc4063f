"""Writes tests/golden/bundles: good ones with the hash of every rebuilt file, bad ones that break one rule each.

    python tests/golden/make_bundles.py

``index.json`` is what every reader's test walks through: ``good`` (path, artifacts with their files) and ``bad``
(path, rule, the depths at which it is refused, and the artifact whose rebuild is meant). Nothing here changes unless
the format does; the same zlib gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zlib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "core")]

import breakages_halves  # noqa: E402, F401  (adds to BREAKAGES)
import breakages_limits  # noqa: E402, F401
import input_bundle  # noqa: E402
import integer_bundle  # noqa: E402
import layout_bundle  # noqa: E402
import limit_bundle  # noqa: E402
import small_bundle  # noqa: E402
from breakages import BREAKAGES  # noqa: E402
from raw_bundle import Raw  # noqa: E402

from edgeslim.press.build import bundle_parts  # noqa: E402

GOOD: dict[str, Callable[[], Any]] = {
    "tiny-f32": small_bundle.builder,
    "tiny-f16": partial(small_bundle.builder, weights="f16"),
    "tiny-int8": partial(small_bundle.builder, int8=True),  # integers made from float masters, hashed names
    "tiny-i8": partial(small_bundle.builder, weights="i8", int8=True),  # integers that are the masters
    "tiny-blocks": partial(small_bundle.builder, filler=30_000),  # templates of several blocks, with a base
    "tiny-layouts": layout_bundle.builder,  # corners of cuts, layouts and halves
    "tiny-integers": integer_bundle.builder,  # corners of integers and of groups
    "tiny-inputs": partial(input_bundle.builder, filler=0),  # corners of the manifest
    "tiny-limits": limit_bundle.builder,  # as large, as many and as long as it may be
}
OUT = HERE / "bundles"
SPIKE = "spike-"  # what make_spike_bundles.py writes is left alone


@cache
def good(name: str) -> tuple[bytes, list[dict[str, object]]]:
    """The bundle and its artifacts' files, without writing anything."""
    made, contents = GOOD[name]()
    stream = io.BytesIO()
    for part in bundle_parts(made.content()):
        stream.write(part)
    artifacts: list[dict[str, object]] = [
        {
            "artifact": identifier,
            "files": {path: hashlib.sha256(content).hexdigest() for path, content in sorted(files.items())},
        }
        for identifier, files in sorted(contents.items())
    ]
    return stream.getvalue(), artifacts


def bad(name: str) -> bytes:
    """A small good bundle with one thing wrong."""
    (breakage,) = (b for b in BREAKAGES if b.name == name)
    raw = Raw.read(good(breakage.base)[0])
    whole = breakage.change(raw)
    return whole if isinstance(whole, bytes) else raw.to_bytes()


def store(path: str, content: bytes, *, above: int) -> str:
    """Write a golden; what is larger is deflated in the repository, and readers inflate it before the test."""
    packed = len(content) > above
    path += ".z" if packed else ""
    (OUT / path).write_bytes(zlib.compress(content, 9) if packed else content)
    return path


def main() -> None:
    for folder in ("good", "bad"):
        (OUT / folder).mkdir(parents=True, exist_ok=True)
        for old in (OUT / folder).iterdir():
            if not old.name.startswith(SPIKE):
                old.unlink()
    index: dict[str, object] = {"zlib": zlib.ZLIB_RUNTIME_VERSION, "good": [], "bad": []}
    rows: list[dict[str, object]] = []
    for name in GOOD:
        content, artifacts = good(name)
        path = store(f"good/{name}.slim", content, above=1_000_000)
        rows.append({"path": path, "sha256": hashlib.sha256(content).hexdigest(), "artifacts": artifacts})
    before = json.loads((OUT / "index.json").read_text())["good"]
    index["good"] = rows + [row for row in before if Path(row["path"]).name.startswith(SPIKE)]
    broken = []
    for breakage in BREAKAGES:
        content = bad(breakage.name)
        path = store(f"bad/{breakage.name}.slim", content, above=50_000)
        broken.append({"path": path, "rule": breakage.rule, "refused": breakage.depths, "artifact": breakage.artifact})
    index["bad"] = broken
    (OUT / "index.json").write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(rows)} good and {len(broken)} bad bundles in {OUT}")


if __name__ == "__main__":
    main()
