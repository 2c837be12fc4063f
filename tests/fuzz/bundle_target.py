"""What the fuzzer and its regression test feed to the bundle reader.

An input is one byte that chooses a part of the small golden bundle, and what stands there instead. Hashes and sizes
around the part are made right again, so that mutations reach what lies behind the hash checks.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import traceback
import zlib
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "golden"), str(TESTS / "core")]

from raw_bundle import Raw, canonical  # noqa: E402

from edgeslim.core.bundle import SlimBundle  # noqa: E402
from edgeslim.core.deflate import shuffled, unshuffled  # noqa: E402
from edgeslim.core.rebuild import file_pieces  # noqa: E402
from edgeslim.errors import FormatError  # noqa: E402

_BUNDLES = TESTS / "golden" / "bundles" / "good"
PLAIN = (_BUNDLES / "tiny-f32.slim").read_bytes()  # read in a fifth of the time
FIRST_PLAIN = 130  # from this number on, parts are those of the plain bundle
GOOD = (_BUNDLES / "tiny-int8.slim").read_bytes()
ARTIFACT = "executorch-fp32-8/1000"
RECIPE, TEMPLATE, FOLD, QUANT = f"recipe/{ARTIFACT}", f"template/{ARTIFACT}", "fold/1000", "quant/1000"
PARTS = (
    "file", "header", "manifest", "recipe", "stored recipe", "stored fold", "stored template", "manifest end", "quant",
    "fold",
)  # fmt: skip


@functools.cache
def seeds() -> list[bytes]:
    """For every part an input that gives the good bundle."""
    return _seeds(GOOD, 0)


@functools.cache
def plain_seeds() -> list[bytes]:
    """The same of the plain bundle."""
    return _seeds(PLAIN, FIRST_PLAIN)


def _seeds(good: bytes, first: int) -> list[bytes]:
    raw = Raw.read(good)
    text = canonical(raw.manifest)
    parts = [
        good,
        good[8 : 8 + int.from_bytes(good[:8], "little")].rstrip(b" "),
        text,
        raw.content(RECIPE),
        *(raw.tensors[name][2] for name in (RECIPE, FOLD, TEMPLATE)),
        text[len(text) // 2 :],
        raw.content(QUANT) if QUANT in raw.tensors else b"",
        unshuffled(raw.content(FOLD)),
    ]
    return [bytes([first + index]) + part for index, part in enumerate(parts) if part]


def bundle_of(data: bytes) -> bytes:
    """The bundle that an input stands for."""
    part, content = PARTS[data[0] % len(PARTS)] if data else "file", data[1:]
    raw = Raw.read(PLAIN if data[0:1] >= bytes([FIRST_PLAIN]) else GOOD)
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
    elif part == "quant" and QUANT in raw.tensors:
        raw.set_content(QUANT, content, raw.manifest["nets"][1], "quant_sha256")
    elif part == "fold":
        content = content[: len(content) // 4 * 4]
        raw.set_stored(FOLD, zlib.compress(shuffled(content), 9))
        raw.manifest["nets"][1]["fold_sha256"] = hashlib.sha256(content).hexdigest()
    else:
        raw.set_stored({"stored recipe": RECIPE, "stored fold": FOLD}.get(part, TEMPLATE), content)
    return raw.to_bytes()


def read_all(content: bytes) -> None:
    """Check a bundle and rebuild all of it in memory, also where its hashes are those of other content.

    Raises:
        FormatError: it is refused. Any other exception is a fault of the reader.
    """
    bundle = SlimBundle.from_bytes(content)
    for variant in bundle.manifest.variants:
        for artifact in variant.artifacts:
            net = bundle.constants(bundle.resolve(artifact.net))
            segments, template = bundle.recipe(variant, artifact), bundle.template(variant, artifact)
            for _, pieces in file_pieces(artifact.files, segments, net, template):
                for _ in pieces:
                    pass
    bundle.check("files")


def refusal(data: bytes) -> FormatError | None:
    """Why an input is refused; None where it is accepted, or cannot be put into a bundle."""
    try:
        read_all(bundle_of(data))
    except FormatError as error:
        return error
    except (ValueError, zlib.error) as error:
        if "bundle_of" not in {frame.name for frame in traceback.extract_tb(error.__traceback__)}:
            raise
    return None


def one_input(data: bytes) -> bool:
    """The fuzz target: whether the bundle is accepted."""
    return refusal(data) is None
