"""One step beyond a limit, and at a limit where a good bundle would have to be large: there something else is wrong.

What stands exactly at the other limits is in the good bundle ``tiny-limits`` (``core/limit_bundle``).
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from typing import Any

from breakages import (
    FILES,
    IMAGE,
    PARTS,
    READ,
    RECIPE,
    TEMPLATE,
    artifact,
    breaks,
    header,
    master,
    of_master,
    part,
    put,
    quant,
    recipe,
    register,
)
from breakages_halves import big
from raw_bundle import Raw, canonical, leb

# Header


@breaks("truncated", name="header-at-limit")
def _(raw: Raw) -> bytes:
    """As long as a header may be, in a file that is shorter."""
    return (8_388_608).to_bytes(8, "little") + raw.to_bytes()[8:]


@breaks("missing-tensor", name="tensors-at-limit")
def _(raw: Raw) -> bytes:
    """As many tensors as there may be, and none is the manifest."""
    head = b'{"__metadata__":{"format":"edgeslim","format_version":"1","manifest_sha256":"' + b"0" * 64 + b'"}'
    head += b"".join(
        b',"fold/%04d":{"data_offsets":[%d,%d],"dtype":"U8","shape":[1]}' % (i, i, i + 1) for i in range(8192)
    )
    head += b"}"
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + bytes(8192)


@breaks("bad-header", name="header-padding-eight")
def _(raw: Raw) -> None:
    """Eight spaces after a text that needs none."""

    def edit(text: bytes) -> bytes:
        text = text.replace(b"master/head.bias", b"master/head.bias" + b"s" * (-len(text) % 8))
        return text + b" " * 8

    raw.header_text = edit


def last_of(count: int) -> Callable[[Raw], None]:
    """The last tensor says that it has so many bytes."""

    def change(raw: Raw) -> None:
        def edit(text: bytes) -> bytes:
            entries = json.loads(text)
            begin = entries[TEMPLATE]["data_offsets"][0]
            entries[TEMPLATE].update(data_offsets=[begin, begin + count], shape=[count])
            return canonical(entries)

        raw.header_text = edit

    return change


register("truncated", "shape-at-limit", last_of(2**40))
register("bad-shape", "shape-above-limit", last_of(2**40 + 1))
register("bad-shape", "shape-eight", header(b'"shape":[3]', b'"shape":[3,1,1,1,1,1,1,1]'))
register("bad-shape", "header-fifteen-digits", header(b'"data_offsets":[0,', b'"data_offsets":[999999999999999,'))
register("bad-name", "tensor-name-256", header(b'"master/head.bias"', b'"master/' + b"h" * 249 + b'"'))
register("unexpected-tensor", "tensor-name-200", lambda raw: raw.add_tensor("master/" + "m" * 200, "U8", [1]))
register("bad-dtype", "dtype-16", header(b'"dtype":"F32"', b'"dtype":"' + b"F" * 16 + b'"'))
register("bad-header", "dtype-17", header(b'"dtype":"F32"', b'"dtype":"' + b"F" * 17 + b'"'))
register("unknown-version", "version-nine-digits", header(b'"format_version":"1"', b'"format_version":"999999999"'))

# Manifest


def one_more(raw: Raw) -> None:
    raw.manifest["extra"]["zzz"] += "z"


register("manifest-too-large", "manifest-above-limit", one_more, base="tiny-limits")


@breaks("too-many-values", name="values-above-limit", base="tiny-limits")
def _(raw: Raw) -> None:
    raw.manifest["extra"]["zeros"].append(0)
    raw.manifest["extra"]["zzz"] = ""


register("bad-input", "image-above-limit", lambda raw: image(raw).update(height=65_536, width=1025))
register("bad-input", "image-height", lambda raw: image(raw).update(height=65_537, width=1))
for name, text in {
    "ten-digits": "1000000000",
    "ten-places": "0.0000000001",
    "minus-zero": "-0",
    "leading-zero": "01",
    "no-places": "1.",
    "plus": "+1",
    "empty": "",
    "space": " 1",
    "line-end": "1\n",
}.items():
    register("bad-input", f"decimal-{name}", put(*IMAGE, "mean", ["0", "0", text]))


def image(raw: Raw) -> dict[str, Any]:
    found: dict[str, Any] = raw.manifest["inputs"][0]["tensors"][0]["image"]
    return found


@breaks("bad-master", name="axis-above-limit")
def _(raw: Raw) -> None:
    """2^24 positions and one more along an axis."""
    master(raw, "affine")["axes"] = [[big(raw), part(raw, "size.1")]]


@breaks("bad-master", name="numbers-above-limit")
def _(raw: Raw) -> None:
    """2^24 · 257 numbers."""
    raw.manifest["parts"][part(raw, "size.1")]["size"] = 257
    master(raw, "affine")["axes"] = [[big(raw)], [part(raw, "size.1")]]


@breaks("too-many-values", name="cuts-above-limit", base="tiny-limits")
def _(raw: Raw) -> None:
    raw.manifest["extra"] = {}
    master(raw, "many")["axes"][0].append(part(raw, "one"))


for name, net, of in (("fold", 0, "h" * 152), ("quant", 1, "more")):

    @breaks("inflate-limit", name=f"{name}-above-limit", base="tiny-limits")
    def _(raw: Raw, net: int = net, of: str = of) -> None:
        """One channel more: 256 numbers of a fold, or four bytes of a quant."""
        raw.manifest["extra"] = {}
        raw.manifest["nets"][net]["cut"][part(raw, of)] += 1


@breaks("bad-base", name="base-five-steps", base="tiny-layouts")
def _(raw: Raw) -> None:
    """All six artifacts in one chain."""
    before = None
    for variant in raw.manifest["variants"]:
        for one in variant["artifacts"]:
            one["base"] = before
            before = f"{variant['id']}/{one['net']}"


register("bad-master", "of-other-rows", of_master("up.again", rows=0), base="tiny-integers")
register("bad-master", "of-other-groups", of_master("up.again", groups=1), base="tiny-integers")
register("bad-master", "of-other-type", of_master("scaled", dtype="f16"), base="tiny-integers")
register("bad-master", "of-with-steps", of_master("up.again", step_sha256="0" * 64), base="tiny-integers")
register("bad-master", "of-itself", of_master("scaled", of="scaled"), base="tiny-integers")


@breaks("bad-master", name="of-other-role", base="tiny-integers")
def _(raw: Raw) -> None:
    master(raw, "scaled").update(role="tensor", in_scale=False, scale=False, integers="none")


@breaks("bad-master", name="of-without-tensor", base="tiny-limits")
def _(raw: Raw) -> None:
    """The tensor of a master that shares a third one's."""
    raw.manifest["extra"] = {}
    master(raw, "layer.002")["of"] = "layer.001"


# Parts


@breaks("template-size", name="file-at-limit", depths=PARTS)
def _(raw: Raw) -> None:
    """A file may have 2^32 bytes: only whoever reads that artifact sees that it cannot."""
    artifact(raw, index=0)["files"][0]["bytes"] = 2**32


def template_of(count: Callable[[int], int]) -> Callable[[Raw], None]:
    """The template says that it has so many bytes for its stored ones, and the file as many more."""

    def change(raw: Raw) -> None:
        entry = artifact(raw)
        more = count(len(raw.tensors[TEMPLATE][2])) - entry["template_bytes"]
        entry["template_bytes"] += more
        entry["files"][0]["bytes"] += more

    return change


register("inflate-limit", "template-at-limit", template_of(lambda stored: 2**24), READ)
register("inflate-limit", "template-above-limit", template_of(lambda stored: 2**24 + 1))
register("bad-deflate", "ratio-at-limit", template_of(lambda stored: 1032 * stored), READ)
register("inflate-limit", "ratio-above-limit", template_of(lambda stored: 1032 * stored + 1), READ)
register("inflate-limit", "recipe-at-limit", put("variants", 1, "artifacts", 1, "recipe_bytes", 2**18), READ)
register("segment-out-of-file", "recipe-largest-number", recipe(lambda content: leb(1, 2**53 - 1, 0, 0, 0)), READ)


@breaks("bad-recipe", name="recipe-above-limit", depths=READ)
def _(raw: Raw) -> None:
    """One segment more than there may be, all of them right: a column of one integer."""
    raw.manifest["parts"].append({"name": "single", "optional": False, "size": 1})
    for net in raw.manifest["nets"]:
        net["cut"].append(1)
    content = struct.pack("<f", 1.0)
    raw.tensors["master/single"] = "F32", [1], content
    single = {**master(raw, "head.bias"), "axes": [[len(raw.manifest["parts"]) - 1]], "name": "single"}
    raw.manifest["masters"].append({**single, "sha256": hashlib.sha256(content).hexdigest()})
    entry = artifact(raw)
    code = leb(0, len(raw.manifest["masters"]) - 1, 2, 0)
    whole = leb(8193) + code * 8193
    entry["files"][0]["bytes"] = entry["template_bytes"] + 4 * 8193
    entry["recipe_bytes"] = len(whole)
    raw.set_content(RECIPE, whole, entry, "recipe_sha256")


def number(bits: int) -> bytes:
    return struct.pack("<I", bits)


# float32: 2^-40, 2^40 and 2^-20 are 0x2b800000, 0x53800000 and 0x35800000
register(
    "bad-quant", "input-scale-below-limit", quant(lambda content: number(0x2B7FFFFF) + content[4:]), READ, "tiny-int8"
)
register(
    "bad-quant", "input-scale-above-limit", quant(lambda content: number(0x53800001) + content[4:]), READ, "tiny-int8"
)
register(
    "bad-quant",
    "own-scale-below-limit",
    quant(lambda content: content[:-28] + number(0x357FFFFF) + content[-24:]),
    READ,
    "tiny-int8",
)
INTEGERS = "litert-int8-8/1000"  # an artifact that holds integers and int32 biases alone


def of_numbers(name: str, place: int, value: float) -> Callable[[Raw], None]:
    """One number of a float master; its hash follows."""

    def change(raw: Raw) -> None:
        dtype, shape, content = raw.tensors[f"master/{name}"]
        content = content[: 4 * place] + struct.pack("<f", value) + content[4 * place + 4 :]
        raw.tensors[f"master/{name}"] = dtype, shape, content
        master(raw, name)["sha256"] = hashlib.sha256(content).hexdigest()

    return change


for name, place in {"ties": 4, "own": 9, "ties.bias": 2}.items():
    for called, value in {"nan": float("nan"), "infinity": float("inf")}.items():
        breaks("non-finite", name=f"{name}-{called}", depths=READ, base="tiny-integers", of=INTEGERS)(
            of_numbers(name, place, value)
        )


@breaks("hash-mismatch", name="file-hash-other", depths=("files",))
def _(raw: Raw) -> None:
    """Of another artifact than the one that is rebuilt, and of its last file."""
    artifact(raw, "coreml")["files"][-1]["sha256"] = "0" * 64


@breaks("hash-mismatch", name="file-hash-second", depths=FILES, of="coreml-fp16-8/1000")
def _(raw: Raw) -> None:
    artifact(raw, "coreml")["files"][-1]["sha256"] = "0" * 64


def block_of_base(block: int) -> Callable[[Raw], None]:
    """Turn a bit in the checksum of one block of the template that the others are based on."""

    def change(raw: Raw) -> None:
        first = raw.manifest["variants"][0]
        name = f"template/{first['id']}/{first['artifacts'][0]['net']}"
        ends = raw.ends(name, b"")
        assert len(ends) == 4
        stored = bytearray(raw.tensors[name][2])
        stored[ends[block] - 1] ^= 1
        raw.set_stored(name, bytes(stored))
        raw.manifest["extra"] = {}

    return change


# 1000 pieces of text are two blocks: the second one's dictionary takes the base's bytes 4096 to 20480, so blocks 0 to 2
for block, depths in ((2, READ), (3, PARTS)):
    breaks(
        "bad-deflate", name=f"base-block-{block}", depths=depths, base="tiny-limits", of=f"executorch-{'0' * 53}/100000"
    )(block_of_base(block))
