"""What the fuzzer and its regression test feed to the bundle reader.

An input is one byte that chooses a part of the small golden bundle, and what stands there instead. Hashes and sizes
around the part are made right again, so that mutations reach what lies behind the hash checks.
"""

from __future__ import annotations

import io
import sys
import zlib
from contextlib import nullcontext
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "golden"), str(TESTS / "core")]

from raw_bundle import Raw, canonical  # noqa: E402

from edgeslim.core.bundle import SlimBundle  # noqa: E402
from edgeslim.core.rebuild import write_files  # noqa: E402
from edgeslim.errors import FormatError  # noqa: E402

GOOD = (TESTS / "golden" / "bundles" / "good" / "tiny-f32.slim").read_bytes()
RECIPE, TEMPLATE, FOLD = "recipe/executorch-fp32-8/1000", "template/executorch-fp32-8/1000", "fold/1000"
PARTS = ("file", "header", "manifest", "recipe", "stored recipe", "stored fold", "stored template", "manifest end")


def seeds() -> list[bytes]:
    """For every part an input that gives the good bundle."""
    raw = Raw.read(GOOD)
    text = canonical(raw.manifest)
    parts = [
        GOOD,
        GOOD[8 : 8 + int.from_bytes(GOOD[:8], "little")].rstrip(b" "),
        text,
        raw.content(RECIPE),
        *(raw.tensors[name][2] for name in (RECIPE, FOLD, TEMPLATE)),
        text[len(text) // 2 :],
    ]
    return [bytes([index]) + part for index, part in enumerate(parts)]


def bundle_of(data: bytes) -> bytes:
    """The bundle that an input stands for."""
    part, content = PARTS[data[0] % len(PARTS)] if data else "file", data[1:]
    raw = Raw.read(GOOD)
    if part == "file":
        return content
    if part == "header":
        raw.header_text = lambda _: content
    elif part == "manifest":
        raw.manifest_text = content
    elif part == "manifest end":
        text = canonical(raw.manifest)
        raw.manifest_text = text[: len(text) // 2] + content
    elif part == "recipe":
        entry = raw.manifest["variants"][1]["artifacts"][1]
        entry["recipe_bytes"] = len(content)
        raw.set_content(RECIPE, content, entry, "recipe_sha256")
    else:
        raw.set_stored({"stored recipe": RECIPE, "stored fold": FOLD}.get(part, TEMPLATE), content)
    return raw.to_bytes()


def read_all(content: bytes) -> bool:
    """Check a bundle and rebuild all of it in memory; False where it is refused.

    Any exception but FormatError is a fault of the reader.
    """
    try:
        bundle = SlimBundle.from_bytes(content)
        bundle.check()
        for variant in bundle.manifest.variants:
            for artifact in variant.artifacts:
                layers = bundle.layers(bundle.resolve(artifact.permille))
                segments, template = bundle.recipe(variant, artifact), bundle.template(variant, artifact)
                write_files(artifact.files, segments, layers, template, lambda _: nullcontext(io.BytesIO()))
    except FormatError:
        return False
    return True


def one_input(data: bytes) -> bool:
    """The fuzz target."""
    try:
        content = bundle_of(data)
    except (ValueError, zlib.error):  # the input cannot be put into a bundle
        return False
    return read_all(content)
