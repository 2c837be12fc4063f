"""One way to break every rule of core/FORMAT.md: a name, the rule, how deep a reader must look, and a change.

Depths: ``open`` (header and manifest), ``rebuild`` (of the widest ``executorch`` artifact), ``check`` (every part).
What is refused at one depth is refused at every deeper one.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from raw_bundle import Raw, canonical, leb

RECIPE = "recipe/executorch-fp32-8/1000"
TEMPLATE = "template/executorch-fp32-8/1000"


@dataclass(frozen=True)
class Breakage:
    name: str
    rule: str
    depth: str
    change: Callable[[Raw], bytes | None]  # changes the pieces, or returns the whole file


BREAKAGES: list[Breakage] = []


def breaks(rule: str, *, name: str | None = None, depth: str = "open") -> Callable[[Any], Any]:
    """Registers a change; its name is the rule's unless another is given."""

    def register(change: Callable[[Raw], bytes | None]) -> Callable[[Raw], bytes | None]:
        BREAKAGES.append(Breakage(name or rule, rule, depth, change))
        return change

    return register


def header(old: bytes, new: bytes) -> Callable[[Raw], None]:
    """Replace text in the header."""

    def change(raw: Raw) -> None:
        def edit(text: bytes) -> bytes:
            assert text.count(old) >= 1, old
            return text.replace(old, new, 1)

        raw.header_text = edit

    return change


def text(old: bytes, new: bytes) -> Callable[[Raw], None]:
    """Replace text in the manifest."""

    def change(raw: Raw) -> None:
        whole = canonical(raw.manifest)
        assert whole.count(old) >= 1, old
        raw.manifest_text = whole.replace(old, new, 1)

    return change


def put(*path: Any) -> Callable[[Raw], None]:
    """Set ``manifest[path[0]][path[1]]… = path[-1]``; ``...`` as value removes."""

    def change(raw: Raw) -> None:
        *keys, last, value = path
        place = raw.manifest
        for key in keys:
            place = place[key]
        if value is ...:
            del place[last]
        else:
            place[last] = value

    return change


def artifact(raw: Raw, target: str = "executorch", index: int = 1) -> dict[str, Any]:
    variant = next(v for v in raw.manifest["variants"] if v["target"] == target)
    return variant["artifacts"][index]


def recipe(edit: Callable[[bytes], bytes]) -> Callable[[Raw], None]:
    """Change the content of a recipe; its size and hash in the manifest follow."""

    def change(raw: Raw) -> None:
        content = edit(raw.content(RECIPE))
        entry = artifact(raw)
        entry["recipe_bytes"] = len(content)
        raw.set_content(RECIPE, content, entry, "recipe_sha256")

    return change


def fold(edit: Callable[[list[float]], None]) -> Callable[[Raw], None]:
    """Change the numbers of the widest fold; its hash follows."""

    def change(raw: Raw) -> None:
        shuffled = raw.content("fold/1000")
        count = len(shuffled) // 4
        plain = bytes(shuffled[plane * count + i] for i in range(count) for plane in range(4))
        numbers = list(struct.unpack(f"<{count}f", plain))
        edit(numbers)
        plain = struct.pack(f"<{count}f", *numbers)
        raw.manifest["widths"][1]["fold_sha256"] = hashlib.sha256(plain).hexdigest()
        raw.set_content("fold/1000", bytes(plain[4 * i + plane] for plane in range(4) for i in range(count)))

    return change


def register(rule: str, name: str, change: Callable[[Raw], bytes | None], depth: str = "open") -> None:
    breaks(rule, name=name, depth=depth)(change)


# Header


@breaks("truncated", name="truncated-length")
def _(raw: Raw) -> bytes:
    return raw.to_bytes()[:7]


@breaks("truncated", name="truncated-header")
def _(raw: Raw) -> bytes:
    return raw.to_bytes()[:100]


@breaks("truncated", name="truncated-data")
def _(raw: Raw) -> bytes:
    return raw.to_bytes()[:-1]


@breaks("trailing-bytes")
def _(raw: Raw) -> bytes:
    return raw.to_bytes() + b"\0"


@breaks("header-too-large")
def _(raw: Raw) -> bytes:
    return (8_388_616).to_bytes(8, "little") + raw.to_bytes()[8:]


@breaks("header-too-large", name="header-gigabytes")
def _(raw: Raw) -> bytes:
    return (2**63).to_bytes(8, "little") + raw.to_bytes()[8:]


@breaks("bad-header", name="header-length-odd")
def _(raw: Raw) -> bytes:
    whole = raw.to_bytes()
    return (int.from_bytes(whole[:8], "little") + 1).to_bytes(8, "little") + whole[8:]


@breaks("bad-header", name="header-padding-long")
def _(raw: Raw) -> None:
    raw.header_text = lambda text: text + b" " * (-len(text) % 8 + 8)


@breaks("too-many-tensors")
def _(raw: Raw) -> bytes:
    head = b'{"__metadata__":{"format":"edgeslim","format_version":"1","manifest_sha256":"' + b"0" * 64 + b'"}'
    head += b"".join(
        b',"weight/%05d":{"data_offsets":[%d,%d],"dtype":"U8","shape":[1]}' % (i, i, i + 1) for i in range(8193)
    )
    head += b"}"
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + bytes(8193)


register("not-a-bundle", "not-a-bundle", header(b'"format":"edgeslim"', b'"format":"edgefat1"'))
register("not-a-bundle", "other-safetensors", header(b'"__metadata__"', b'"__metaless__"'))
register("unknown-version", "unknown-version", header(b'"format_version":"1"', b'"format_version":"2"'))
register("bad-header", "header-version-zero", header(b'"format_version":"1"', b'"format_version":"01"'))
register("bad-header", "header-hash-upper-case", header(b'"manifest_sha256":"', b'"manifest_sha256":"A'))
register("bad-header", "header-white-space", header(b',"bias/', b', "bias/'))
register("bad-header", "header-leading-zero", header(b'"data_offsets":[0,', b'"data_offsets":[00,'))
register("bad-header", "header-escape", header(b'"bias/head"', b'"bias/he\\u0061d"'))
register("bad-header", "header-fraction", header(b'"shape":[3]', b'"shape":[3.0]'))
register("bad-header", "header-more-members", header(b'"dtype":"F32",', b'"dtype":"F32","note":"",'))
register("bad-name", "tensor-name", header(b'"bias/head"', b'"bies/head"'))
register("bad-name", "tensor-name-empty", header(b'"bias/head"', b'"bias/"'))
register("bad-dtype", "bad-dtype", header(b'"dtype":"F32"', b'"dtype":"F64"'))
register("bad-shape", "bad-shape", header(b'"shape":[3]', b'"shape":[4]'))
register("bad-shape", "shape-zero", header(b'"shape":[3]', b'"shape":[0]'))
register("bad-shape", "shape-none", header(b'"shape":[3]', b'"shape":[]'))
register("bad-shape", "shape-overflow", header(b'"shape":[3]', b'"shape":[4294967296,4294967296]'))
register("bad-shape", "shape-five", header(b'"shape":[3]', b'"shape":[3,1,1,1,1]'))


@breaks("duplicate-key", name="duplicate-tensor")
def _(raw: Raw) -> None:
    def edit(text: bytes) -> bytes:
        end = text.index(b"}", text.index(b'"bias/head"')) + 1
        entry = text[text.index(b',"bias/head"') : end]
        return text[:end] + entry + text[end:]

    raw.header_text = edit


@breaks("key-order", name="tensor-order")
def _(raw: Raw) -> None:
    def edit(text: bytes) -> bytes:
        first = text.index(b',"bias/head"')
        second = text.index(b',"fold/0500"')
        third = text.index(b',"fold/1000"')
        return text[:first] + text[second:third] + text[first:second] + text[third:]

    raw.header_text = edit


@breaks("bad-offsets", name="offsets-overlap")
def _(raw: Raw) -> None:
    header(b'"data_offsets":[0,12]', b'"data_offsets":[4,16]')(raw)


@breaks("bad-offsets", name="offsets-gap")
def _(raw: Raw) -> bytes:
    whole = raw.to_bytes()
    length = int.from_bytes(whole[:8], "little")
    entries = json.loads(whole[8 : 8 + length])
    for entry in entries.values():
        if "data_offsets" in entry:
            entry["data_offsets"] = [offset + 4 for offset in entry["data_offsets"]]
    text = canonical(entries)
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + bytes(4) + whole[8 + length :]


@breaks("bad-offsets", name="data-order")
def _(raw: Raw) -> bytes:
    """Two folds' data swapped, each entry pointing to its own."""
    whole = raw.to_bytes()
    length = int.from_bytes(whole[:8], "little")
    entries = json.loads(whole[8 : 8 + length])
    a, b = entries["fold/0500"], entries["fold/1000"]
    start, middle, end = a["data_offsets"][0], a["data_offsets"][1], b["data_offsets"][1]
    b["data_offsets"], a["data_offsets"] = [start, start + end - middle], [start + end - middle, end]
    text = canonical(entries)
    text += b" " * (-len(text) % 8)
    data = whole[8 + length :]
    data = data[:start] + data[middle:end] + data[start:middle] + data[end:]
    return len(text).to_bytes(8, "little") + text + data


# Canonical JSON

register("not-canonical", "json-white-space", text(b'"aliases":[]', b'"aliases": []'))
register("not-canonical", "json-key-order", text(b'{"author":"","description":"",', b'{"description":"","author":"",'))
register("not-canonical", "json-escape", text(b'"tiny"', b'"t\\u0069ny"'))
register("not-canonical", "json-minus-zero", text(b'"extra":{}', b'"extra":{"a":-0}'))
register("bad-json", "json-cut-off", text(b'"widths":', b'"widths"'))
register("bad-json", "json-fraction", text(b'"divisor":8', b'"divisor":8.0'))
register("bad-json", "json-exponent", text(b'"divisor":8', b'"divisor":8e0'))
register("bad-json", "json-nan", text(b'"divisor":8', b'"divisor":NaN'))
register("bad-json", "json-large-number", text(b'"divisor":8', b'"divisor":9007199254740992'))
register("bad-json", "json-thousand-digits", text(b'"divisor":8', b'"divisor":' + b"8" * 1000))
register("bad-json", "json-not-utf8", text("Füchsin".encode(), b"F\xfcchsin"))
register("bad-json", "json-surrogate", text("Füchsin".encode(), b"F\\ud800chsin"))
register("bad-json", "json-key", text(b'"extra":{}', '"extra":{"ü":1}'.encode()))
register("duplicate-key", "json-duplicate-key", text(b'"divisor":8', b'"divisor":8,"divisor":8'))
register("too-deep", "too-deep", text(b'"extra":{}', b'"extra":{"a":' + b"[" * 11 + b"]" * 11 + b"}"))
register("too-deep", "too-deep-thousands", text(b'"extra":{}', b'"extra":{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}"))
register("too-many-values", "too-many-values", put("extra", "a", [0] * 40_960))
register("manifest-too-large", "manifest-too-large", put("extra", "a", "x" * 2_097_152))

# Manifest


@breaks("hash-mismatch", name="manifest-hash")
def _(raw: Raw) -> None:
    digest = hashlib.sha256(canonical(raw.manifest)).hexdigest().encode()
    header(digest, b"0" * 64)(raw)


register("unknown-feature", "unknown-feature", put("required_features", ["int8-masters"]))
register("bad-manifest", "manifest-list", lambda raw: setattr(raw, "manifest", []))
register("bad-manifest", "member-missing", put("divisor", ...))
register("bad-manifest", "member-unknown", put("colour", "red"))
register("bad-manifest", "member-type", put("divisor", "8"))
register("bad-manifest", "member-boolean", put("layers", 0, "scale", 1))
register("bad-manifest", "member-null", put("low", None))
register("bad-manifest", "kind-unknown", put("layers", 0, "kind", "dense"))
register("bad-manifest", "weights-unknown", put("weights", "f64"))
register("bad-manifest", "requires-number", put("variants", 0, "requires", {"ios": 16}))
register("bad-hash", "bad-hash", put("layers", 0, "weight_sha256", "A" * 64))
register("bad-hash", "bad-hash-length", put("variants", 0, "artifacts", 0, "files", 0, "sha256", "0" * 63))
register("bad-name", "layer-name", put("layers", 0, "name", "../stem"))
register("bad-name", "variant-name", put("variants", 0, "id", "coreml-FP16"))
register("bad-name", "variant-target", put("variants", 0, "target", "litert"))
register("bad-name", "suffix", put("variants", 0, "suffix", "/../pte"))
register("bad-input", "input-channels", put("input", "channels", 4))
register("bad-input", "input-size", put("input", "height", 0))
register("bad-input", "input-mean", put("input", "mean", ["0.50", "0", "0"]))
register("bad-input", "input-std", put("input", "std", ["0", "1", "1"]))
register("bad-range", "bad-range", put("low", 1001))
register("bad-range", "bad-divisor", put("divisor", 0))
register("bad-layer", "no-layer", put("layers", []))
register("bad-layer", "layer-shape", put("layers", 0, "shape", [8, 27]))
register("bad-layer", "layer-shape-huge", put("layers", 0, "shape", [16777216, 16777216, 3, 3]))
register("bad-layer", "layer-groups", put("layers", 0, "groups", 3))
register("bad-layer", "linear-groups", put("layers", 3, "groups", 3))
register("bad-layer", "layer-two-biases", put("layers", 3, "shift", True))
register("duplicate-layer", "duplicate-layer", put("layers", 0, "name", "HEAD"))
register("no-width", "no-width", put("widths", []))
register("bad-width", "bad-width", put("widths", 1, "permille", 100_001))
register("bad-width", "width-costs", put("widths", 1, "macs", -1))
register("bad-width", "width-temperature", put("widths", 1, "temperature", "1e0"))
register(
    "bad-width",
    "width-images",
    put(
        "widths", 1, "quality", {"agreement": None, "data_sha256": None, "images": 0, "metric": "top1", "value": "0.5"}
    ),
)
register("duplicate-width", "duplicate-width", put("widths", 0, "permille", 1000))
register("duplicate-width", "duplicate-alias", put("widths", 0, "aliases", [1000]))
register("width-order", "alias-below", put("widths", 1, "aliases", [900]))
register("width-order", "alias-order", put("widths", 1, "aliases", [1200, 1100]))


@breaks("width-order")
def _(raw: Raw) -> None:
    raw.manifest["widths"].reverse()


@breaks("duplicate-width", name="twins")
def _(raw: Raw) -> None:
    twin = json.loads(json.dumps(raw.manifest["widths"][1]))
    raw.manifest["widths"].append({**twin, "permille": 1100})


register("bad-channels", "channels-missing", lambda raw: raw.manifest["widths"][0]["channels"].pop())
register("bad-channels", "channels-two", lambda raw: raw.manifest["widths"][0]["channels"][0].pop())
register("bad-channels", "channels-too-many", put("widths", 0, "channels", 0, 0, 9))
register("bad-channels", "channels-zero", put("widths", 0, "channels", 0, 1, 0))
register("bad-channels", "channels-groups", put("widths", 0, "channels", 2, 2, 4))
register("bad-channels", "channels-divide", put("widths", 0, "channels", 2, 0, 5))
register("bad-fold", "fold-missing", put("widths", 0, "fold_sha256", None))


@breaks("bad-fold", name="fold-unneeded")
def _(raw: Raw) -> None:
    for layer in raw.manifest["layers"]:
        layer.update(in_scale=False, scale=False, shift=False)


@breaks("inflate-limit", name="fold-too-large")
def _(raw: Raw) -> None:
    raw.manifest["layers"][3]["shape"] = [1_048_576, 12]
    raw.manifest["layers"][3]["scale"] = True
    raw.manifest["widths"][1]["channels"][3][0] = 1_048_576


register("bad-artifact", "no-artifact", put("variants", 0, "artifacts", []))
register("bad-artifact", "no-file", put("variants", 0, "artifacts", 0, "files", []))
register("bad-artifact", "two-files", put("variants", 0, "directory", False))
register("bad-artifact", "file-bytes", put("variants", 0, "artifacts", 0, "files", 0, "bytes", 2**32 + 1))
register("bad-artifact", "artifact-costs", put("variants", 0, "artifacts", 0, "literal_bytes", -1))
register("unknown-width", "unknown-width", put("variants", 0, "artifacts", 0, "permille", 400))
register("duplicate-artifact", "duplicate-artifact", put("variants", 0, "artifacts", 0, "permille", 1000))
register("artifact-order", "artifact-order", lambda raw: raw.manifest["variants"][0]["artifacts"].reverse())
register("variant-order", "variant-order", lambda raw: raw.manifest["variants"].reverse())


@breaks("duplicate-variant")
def _(raw: Raw) -> None:
    raw.manifest["variants"].append(raw.manifest["variants"][1])


for kind, path in {
    "parent": "../weight.bin",
    "inner-parent": "Data/../../weight.bin",
    "absolute": "/etc/passwd",
    "empty": "",
    "empty-part": "Data//weight.bin",
    "dot": ".",
    "hidden": ".bashrc",
    "backslash": "Data\\weight.bin",
    "drive": "C:weight.bin",
    "nul-character": "Data/weight\0.bin",
    "device": "Data/NUL.bin",
    "trailing-dot": "Data/weight.",
    "not-ascii": "Data/gewicht-ä",
    "long": "Data/" + "w" * 101,
    "deep": "/".join(["Data"] * 17),
}.items():
    register("bad-path", f"path-{kind}", put("variants", 0, "artifacts", 0, "files", 0, "path", path))

register("bad-path", "path-twice", put("variants", 0, "artifacts", 0, "files", 0, "path", "Manifest.json"))
register("bad-path", "path-order", lambda raw: raw.manifest["variants"][0]["artifacts"][0]["files"].reverse())
register("bad-path", "path-case", put("variants", 0, "artifacts", 0, "files", 0, "path", "MANIFEST.json"))
register("bad-path", "path-file-and-folder", put("variants", 0, "artifacts", 0, "files", 0, "path", "MANIFEST.json/x"))
register("bad-path", "path-single-file", put("variants", 1, "artifacts", 0, "files", 0, "path", "folder/model.pte"))
register("inflate-limit", "template-too-large", put("variants", 0, "artifacts", 0, "template_bytes", 2**24 + 1))
register("inflate-limit", "template-above-files", put("variants", 0, "artifacts", 0, "template_bytes", 100_000))
register("inflate-limit", "recipe-too-large", put("variants", 0, "artifacts", 0, "recipe_bytes", 2**18 + 1))
register("inflate-limit", "recipe-empty", put("variants", 0, "artifacts", 0, "recipe_bytes", 0))
register("missing-tensor", "missing-tensor", lambda raw: raw.tensors.pop("bias/head") and None)
register("missing-tensor", "missing-manifest", header(b'"manifest":', b'"fold/9999":'))
register("unexpected-tensor", "unexpected-tensor", lambda raw: raw.add_tensor("weight/more", "F32", [3]))
register("tensor-mismatch", "tensor-shape", header(b'"shape":[3]', b'"shape":[3,1]'))
register("tensor-mismatch", "tensor-dtype", put("weights", "f16"))

# Parts


@breaks("hash-mismatch", name="weight-hash", depth="check")
def _(raw: Raw) -> None:
    dtype, shape, content = raw.tensors["weight/stem"]
    raw.tensors["weight/stem"] = dtype, shape, content[:-1] + bytes([content[-1] ^ 1])


@breaks("non-finite", name="weight-nan", depth="check")
def _(raw: Raw) -> None:
    dtype, shape, content = raw.tensors["weight/stem"]
    content = struct.pack("<f", float("nan")) + content[4:]
    raw.tensors["weight/stem"] = dtype, shape, content
    raw.manifest["layers"][0]["weight_sha256"] = hashlib.sha256(content).hexdigest()


register("non-finite", "fold-nan", fold(lambda numbers: numbers.__setitem__(0, float("nan"))), "rebuild")
register("non-finite", "fold-infinity", fold(lambda numbers: numbers.__setitem__(9, float("-inf"))), "rebuild")
register("hash-mismatch", "fold-hash", put("widths", 1, "fold_sha256", "0" * 64), "rebuild")
register("hash-mismatch", "recipe-hash", put("variants", 1, "artifacts", 1, "recipe_sha256", "0" * 64), "rebuild")
register("hash-mismatch", "template-hash", put("variants", 1, "artifacts", 1, "template_sha256", "0" * 64), "check")


@breaks("hash-mismatch", name="file-hash", depth="rebuild")
def _(raw: Raw) -> None:
    """Only a rebuild can see it: every part is as the manifest says."""
    artifact(raw)["files"][0]["sha256"] = "0" * 64


@breaks("inflate-limit", name="deflate-bomb", depth="rebuild")
def _(raw: Raw) -> None:
    raw.set_stored("fold/1000", zlib.compress(bytes(64 << 20), 9))


@breaks("inflate-limit", name="deflate-bomb-template", depth="rebuild")
def _(raw: Raw) -> None:
    raw.set_stored(TEMPLATE, zlib.compress(bytes(64 << 20), 9))


@breaks("inflate-limit", name="inflate-ratio", depth="rebuild")
def _(raw: Raw) -> None:
    """More content declared than deflate can hold in so few bytes."""
    entry = artifact(raw)
    entry["template_bytes"] += 1_000_000
    entry["files"][0]["bytes"] += 1_000_000


@breaks("bad-deflate", name="deflate-not-zlib", depth="rebuild")
def _(raw: Raw) -> None:
    raw.set_stored("fold/1000", b"this is no zlib stream")


@breaks("bad-deflate", name="deflate-cut-off", depth="rebuild")
def _(raw: Raw) -> None:
    raw.set_stored("fold/1000", raw.tensors["fold/1000"][2][:-4])


@breaks("bad-deflate", name="deflate-trailing", depth="rebuild")
def _(raw: Raw) -> None:
    raw.set_stored("fold/1000", raw.tensors["fold/1000"][2] + b"\0")


@breaks("bad-deflate", name="deflate-too-short", depth="rebuild")
def _(raw: Raw) -> None:
    content = raw.content("fold/1000")
    raw.set_stored("fold/1000", zlib.compress(content[:-4], 9))


@breaks("bad-deflate", name="template-trailing", depth="rebuild")
def _(raw: Raw) -> None:
    raw.set_stored(TEMPLATE, raw.tensors[TEMPLATE][2] + b"\0")


register("bad-recipe", "recipe-cut-off", recipe(lambda content: content[:-1]), "rebuild")
register("bad-recipe", "recipe-trailing", recipe(lambda content: content + b"\0"), "rebuild")
register("bad-recipe", "recipe-long-number", recipe(lambda content: b"\x80" * 8 + b"\x01" + content[1:]), "rebuild")
register(
    "bad-recipe", "recipe-not-shortest", recipe(lambda content: bytes([content[0] | 0x80, 0]) + content[1:]), "rebuild"
)
register("bad-recipe", "recipe-large-number", recipe(lambda content: content[:1] + leb(2**53) + content[2:]), "rebuild")
register("bad-recipe", "recipe-too-many", recipe(lambda content: leb(8193) + bytes(3 * 8193)), "rebuild")
register("bad-recipe", "recipe-count", recipe(lambda content: leb(1_000) + content[1:]), "rebuild")
register("unknown-code", "unknown-rule", recipe(lambda content: leb(1, 0, 0, 3 << 2)), "rebuild")
register("unknown-code", "unknown-layout", recipe(lambda content: leb(1, 0, 0, 6 << 5)), "rebuild")
register("bad-reference", "reference-layer", recipe(lambda content: leb(1, 0, 4, 0)), "rebuild")
register("bad-reference", "reference-rows", recipe(lambda content: leb(1, 0, 0, 2, 7, 2)), "rebuild")
register("bad-reference", "reference-no-rows", recipe(lambda content: leb(1, 0, 0, 2, 0, 0)), "rebuild")
register("segment-out-of-file", "segment-past-end", recipe(lambda content: leb(1, 5_000, 0, 0)), "rebuild")
register("segment-out-of-file", "segment-far-away", recipe(lambda content: leb(1, 2**52, 0, 0)), "rebuild")
register("template-size", "template-size", recipe(lambda content: leb(0)), "rebuild")


@breaks("bad-reference", name="reference-no-bias", depth="rebuild")
def _(raw: Raw) -> None:
    raw.manifest["layers"][3]["bias_sha256"] = None
    del raw.tensors["bias/head"]


@breaks("segment-out-of-file", name="segment-across-files", depth="check")
def _(raw: Raw) -> None:
    """The first file of the package ends one byte earlier, the second starts one earlier."""
    files = artifact(raw, "coreml")["files"]
    files[0]["bytes"] -= 60
    files[1]["bytes"] += 60
