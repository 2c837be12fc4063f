"""What strangers may send: every flipped byte, every truncation, and headers made to cost much."""

from __future__ import annotations

import cProfile
import functools
import io
import json
import pstats
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
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
MAX_CALLS = 3_000_000  # of functions, ours and Python's own: about a second


@functools.cache
def small(*, int8: bool = True) -> bytes:
    """One width, one target, about 9 kB; 6 kB without integers."""
    made, _ = builder((Width(500),), ("executorch",), int8=int8)
    stream = io.BytesIO()
    for part in bundle_parts(made.content()):
        stream.write(part)
    return stream.getvalue()


def refused(content: bytes) -> bool:
    """Whether a full check refuses ``content``; anything but FormatError is a failure of the reader."""
    try:
        SlimBundle.from_bytes(content).check("files")
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


def flips_are_refused_or_harmless(content: bytes, masks: Callable[[int], Sequence[int]]) -> int:
    harmless = 0
    for position in range(len(content)):
        for mask in masks(position):
            damaged = bytearray(content)
            damaged[position] ^= mask
            if not refused(bytes(damaged)):
                harmless += 1
                assert inflated_alike(content, bytes(damaged)), (position, mask)
    return harmless


def test_every_flipped_byte_is_refused_or_harmless() -> None:
    """All bits of a byte, or its lowest one, in turn."""
    # bits that deflate leaves unused at the end of a stream, and header hints such as its level, change nothing
    assert flips_are_refused_or_harmless(small(int8=False), lambda position: [(0xFF, 0x01)[position % 2]]) <= 16


@pytest.mark.slow
@pytest.mark.timeout(14_400)  # 2.3 million bundles
def test_every_other_value_of_every_byte() -> None:
    print(f"{flips_are_refused_or_harmless(small(), lambda _: range(1, 256))} harmless changes")


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


def numbered(items: list[dict[str, Any]], key: str, pattern: str) -> list[dict[str, Any]]:
    for index, item in enumerate(items):
        item[key] = pattern.format(index)
    return items


def nets(m: Any, count: int) -> None:
    m["nets"] = many(m["nets"][0], count)
    for index, net in enumerate(m["nets"], 1):
        net.update(id=f"{index:04}", widths=[index])


def many_cuts(m: Any) -> None:
    axis(m, 300)
    nets(m, 800)


def artifacts(m: Any, count: int) -> None:
    variant = m["variants"][0]
    variant["artifacts"] = numbered(many(variant["artifacts"][0], count), "net", "{:04}")


def files(m: Any, count: int) -> None:
    m["variants"][0]["directory"] = True
    entry = m["variants"][0]["artifacts"][0]
    entry["files"] = numbered(many(entry["files"][0], count), "path", "p{:06}")


def masters(m: Any, count: int) -> None:
    m["masters"] = numbered(many(m["masters"][7], count), "name", "l{}")


def parts(m: Any, count: int) -> None:
    m["parts"] = numbered(many(m["parts"][0], count), "name", "p{}")
    m["nets"][0]["cut"] = [1] * count


def axis(m: Any, count: int) -> None:
    """One axis of very many parts, of which every other one is left out."""
    names = [part["name"] for part in m["parts"]]
    m["parts"].append({"name": "kept", "optional": False, "size": 1})
    m["nets"][0]["cut"].append(1)
    m["masters"][7]["axes"][1] = [names.index("extra"), len(names)] * (count // 2)


def huge_fold(m: Any) -> None:
    stem = [part["name"] for part in m["parts"]].index("stem")
    m["parts"][stem]["size"] = m["nets"][0]["cut"][stem] = 1 << 22


def inputs(m: Any, count: int) -> None:
    tensors = m["inputs"][0]["tensors"]
    m["inputs"][0]["tensors"] = numbered(many(tensors[0], count), "name", "i{}")


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
        b',"master/%06d":{"data_offsets":[%d,%d],"dtype":"U8","shape":[1]}', 100_000
    ),
    "header of long names": lambda: header_of(
        b',"master/%0193d":{"data_offsets":[%d,%d],"dtype":"U8","shape":[1]}', 40_000
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
    "many masters": lambda: manifest(lambda m: masters(m, 2_500)),
    "many parts": lambda: manifest(lambda m: parts(m, 30_000)),
    "many parts along an axis": lambda: manifest(lambda m: axis(m, 100_000)),
    "many nets": lambda: manifest(lambda m: nets(m, 5_000)),
    "many cuts": lambda: manifest(many_cuts),
    "many names": lambda: manifest(lambda m: m["nets"][0].update(widths=[*range(500, 90_000), 89_999])),
    "long cut": lambda: manifest(lambda m: m["nets"][0].update(cut=[1] * 100_000)),
    "many artifacts": lambda: manifest(lambda m: artifacts(m, 2_500)),
    "many inputs": lambda: manifest(lambda m: inputs(m, 5_000)),
    "many files": lambda: manifest(lambda m: files(m, 10_000)),
    "many labels": lambda: manifest(lambda m: m.update(labels=["x"] * 40_500, low=2_000)),
    "huge master": lambda: manifest(lambda m: [part.update(size=1 << 24) for part in m["parts"]] and None),
    "huge fold": lambda: manifest(huge_fold),
    "many segments": lambda: recipe_of(leb(8192) + leb(0, 0, 0, 1, 0, 1) * 8192),
    "many segments, cut off": lambda: recipe_of((leb(8192) + leb(0, 0, 0, 1, 0, 1) * 8192)[:-1]),
    "many names of constants": lambda: recipe_of(leb(8192) + leb(0, 0, 0, 2) * 8192),
    "quant bomb": lambda: stored("quant/", zlib.compress(bytes(96 << 20), 9)),
    "fold bomb": lambda: stored("fold/", zlib.compress(bytes(96 << 20), 9)),
    "recipe bomb": lambda: stored("recipe/", zlib.compress(bytes(96 << 20), 9)),
    "template bomb": lambda: stored("template/", zlib.compress(bytes(96 << 20), 9)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_refusing_costs_little(name: str) -> None:
    content = HOSTILE[name]()
    profile = cProfile.Profile()
    with profile:
        assert refused(content)
    calls = pstats.Stats(profile).total_calls  # type: ignore[attr-defined]
    assert calls < MAX_CALLS, f"{calls:,} calls"
    tracemalloc.start()
    try:
        assert refused(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MAX_BYTES, f"{peak:,} bytes"


def test_canonical_text_of_the_second_opinion_is_the_same() -> None:
    raw = base()
    with_package = SlimBundle.from_bytes(small()).manifest.to_bytes()
    assert canonical(raw.manifest) == with_package
    assert raw.to_bytes() == small()
