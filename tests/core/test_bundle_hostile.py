"""What strangers may send: every flipped byte, every truncation, and headers made to cost much."""

from __future__ import annotations

import io
import json
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_bundle import builder

from edgeslim.core.bundle import SlimBundle
from edgeslim.core.width import Width
from edgeslim.errors import FormatError
from edgeslim.press.build import bundle_parts

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))

from raw_bundle import Raw, canonical, leb  # noqa: E402

MAX_BYTES = 64_000_000
MAX_SECONDS = 0.1


def small() -> bytes:
    """One width, one target: about 4 kB."""
    made, _ = builder((Width(500),), ("executorch",))
    stream = io.BytesIO()
    for part in bundle_parts(made.content()):
        stream.write(part)
    return stream.getvalue()


def refused(content: bytes) -> bool:
    """Whether a full check refuses ``content``; anything but FormatError is a failure of the reader."""
    try:
        SlimBundle.from_bytes(content).check()
    except FormatError:
        return True
    return False


def test_the_small_bundle_is_accepted() -> None:
    assert not refused(small())


def test_every_truncation_is_refused() -> None:
    content = small()
    assert all(refused(content[:length]) for length in range(len(content)))


def inflated_alike(a: bytes, b: bytes) -> bool:
    """Whether two bundles hold the same inflated content in the same places."""
    first, second = Raw.read(a), Raw.read(b)
    same = first.manifest == second.manifest and first.tensors.keys() == second.tensors.keys()
    for name, (dtype, shape, stored) in first.tensors.items():
        other = second.tensors[name]
        plain = stored == other[2] if dtype != "U8" else zlib.decompress(stored) == zlib.decompress(other[2])
        same = same and (dtype, shape) == other[:2] and plain
    return same


def flips_are_refused_or_harmless(masks: range | list[int]) -> int:
    content = small()
    harmless = 0
    for position in range(len(content)):
        for mask in masks:
            damaged = bytearray(content)
            damaged[position] ^= mask
            if not refused(bytes(damaged)):
                harmless += 1
                assert inflated_alike(content, bytes(damaged)), (position, mask)
    return harmless


def test_every_flipped_byte_is_refused_or_harmless() -> None:
    # bits that deflate leaves unused at the end of a stream, and header hints such as its level, change nothing
    assert flips_are_refused_or_harmless([0xFF]) <= 8
    assert flips_are_refused_or_harmless([0x01]) <= 16


@pytest.mark.slow
@pytest.mark.timeout(3600)  # 1.2 million bundles
def test_every_other_value_of_every_byte() -> None:
    print(f"{flips_are_refused_or_harmless(range(1, 256))} harmless changes")


def base() -> Raw:
    return Raw.read(small())


def manifest(edit: Callable[[Any], Any]) -> bytes:
    """The small bundle with another manifest, correctly hashed."""
    raw = base()
    changed = edit(raw.manifest)
    if isinstance(changed, bytes):
        raw.manifest_text = changed
    elif changed is not None:
        raw.manifest = changed
    return raw.to_bytes()


def many(item: Any, count: int) -> list[Any]:
    return [json.loads(json.dumps(item)) for _ in range(count)]


def numbered(items: list[dict[str, Any]], key: str, pattern: str = "{}") -> list[dict[str, Any]]:
    for index, item in enumerate(items):
        item[key] = index + 1 if pattern == "{}" else pattern.format(index)
    return items


def widths(m: Any, count: int) -> None:
    m["widths"] = numbered(many(m["widths"][0], count), "permille")


def artifacts(m: Any, count: int) -> None:
    variant = m["variants"][0]
    variant["artifacts"] = numbered(many(variant["artifacts"][0], count), "permille")


def files(m: Any, count: int) -> None:
    m["variants"][0]["directory"] = True
    entry = m["variants"][0]["artifacts"][0]
    entry["files"] = numbered(many(entry["files"][0], count), "path", "p{:06}")


def layers(m: Any, count: int) -> None:
    m["layers"] = numbered(many(m["layers"][0], count), "name", "l{}")


def header_of(entry: bytes, count: int) -> bytes:
    """A header of many tensors that ends in the middle of nowhere."""
    text = small()[8:]
    text = text[: text.index(b"}") + 1]
    text += b"".join(entry % (index, index, index + 1) for index in range(count))
    text = text[: 8 << 20]
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def recipe_of(content: bytes) -> bytes:
    raw = base()
    (name,) = (name for name in raw.tensors if name.startswith("recipe/"))
    entry = raw.manifest["variants"][0]["artifacts"][0]
    entry["recipe_bytes"] = len(content)
    entry["files"][0]["bytes"] = 2**32  # room for many segments
    raw.set_content(name, content, entry, "recipe_sha256")
    return raw.to_bytes()


def stored(name: str, content: bytes) -> bytes:
    raw = base()
    (full,) = (key for key in raw.tensors if key.startswith(name))
    raw.set_stored(full, content)
    return raw.to_bytes()


HOSTILE: dict[str, Callable[[], bytes]] = {
    "header of exabytes": lambda: (2**63 - 1).to_bytes(8, "little") + small()[8:],
    "header of spaces": lambda: (8 << 20).to_bytes(8, "little") + small()[8:153] + b" " * (8 << 20),
    "header of tensors": lambda: header_of(
        b',"weight/%06d":{"data_offsets":[%d,%d],"dtype":"U8","shape":[1]}', 100_000
    ),
    "header of long names": lambda: header_of(
        b',"weight/%0193d":{"data_offsets":[%d,%d],"dtype":"U8","shape":[1]}', 40_000
    ),
    "tensor of terabytes": lambda: small().replace(b'"shape":[3]', b'"shape":[9]').replace(b"[0,12]", b"[0,36]"),
    "deep manifest": lambda: manifest(lambda m: b"[" * 40_900),
    "deep and closed manifest": lambda: manifest(lambda m: b"[" * 40_000 + b"]" * 40_000),
    "manifest of objects": lambda: manifest(lambda m: [{"a": 1}] * 20_000),
    "manifest of keys": lambda: manifest(lambda m: {f"{i:05}": 1 for i in range(40_900)}),
    "manifest of one key twice": lambda: manifest(
        lambda m: b"{" + b",".join(b'"%05d":1' % min(i, 40_900) for i in range(40_902)) + b"}"
    ),
    "manifest of numbers": lambda: manifest(lambda m: [2**53 - 1] * 40_900),
    "manifest of one number": lambda: manifest(lambda m: b"9" * 2_000_000),
    "manifest of commas": lambda: manifest(lambda m: b"," * 2_097_152),
    "manifest of text": lambda: manifest(lambda m: ["😀" * 500_000]),
    "many layers": lambda: manifest(lambda m: layers(m, 2_500)),
    "many widths": lambda: manifest(lambda m: widths(m, 1_300)),
    "many aliases": lambda: manifest(lambda m: m["widths"][0].update(aliases=list(range(40_000, 501, -1)))),
    "many channels": lambda: manifest(lambda m: m["widths"][0].update(channels=[[4, 3, 1]] * 10_000)),
    "many artifacts": lambda: manifest(lambda m: artifacts(m, 2_500)),
    "many files": lambda: manifest(lambda m: files(m, 10_000)),
    "many labels": lambda: manifest(lambda m: m.update(labels=["x"] * 40_500, low=2_000)),
    "huge layer": lambda: manifest(lambda m: m["layers"][0].update(shape=[16_777_216, 1, 16, 16])),
    "many segments": lambda: recipe_of(leb(8192) + leb(0, 0, 2, 0, 1) * 8192),
    "many segments, cut off": lambda: recipe_of((leb(8192) + leb(0, 0, 3, 0, 1) * 8192)[:-1]),
    "fold bomb": lambda: stored("fold/", zlib.compress(bytes(96 << 20), 9)),
    "recipe bomb": lambda: stored("recipe/", zlib.compress(bytes(96 << 20), 9)),
    "template bomb": lambda: stored("template/", zlib.compress(bytes(96 << 20), 9)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_refusing_costs_little(name: str) -> None:
    content = HOSTILE[name]()
    seconds = []
    for _ in range(3):
        started = time.process_time()
        assert refused(content)
        seconds.append(time.process_time() - started)
    tracemalloc.start()
    try:
        assert refused(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MAX_BYTES, f"{peak:,} bytes"
    assert min(seconds) < MAX_SECONDS, f"{1000 * min(seconds):.0f} ms"


def test_canonical_text_of_the_second_opinion_is_the_same() -> None:
    raw = base()
    with_package = SlimBundle.from_bytes(small()).manifest.to_bytes()
    assert canonical(raw.manifest) == with_package
    assert raw.to_bytes() == small()
