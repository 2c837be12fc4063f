"""One way to break every rule of core/FORMAT.md: a name, the rule, the depths that see it, and a change.

Depths: ``open`` (header and manifest), ``rebuild`` (of the artifact that is named, by default the widest ``executorch``
one), ``parts`` (every part), ``files`` (every artifact rebuilt). What is refused at ``open`` is refused at all.
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

ARTIFACT = "executorch-fp32-8/1000"
RECIPE, TEMPLATE = f"recipe/{ARTIFACT}", f"template/{ARTIFACT}"
OPEN = ("open", "rebuild", "parts", "files")
READ = ("rebuild", "parts", "files")  # of the parts that a rebuild reads
PARTS = ("parts", "files")
FILES = ("rebuild", "files")  # seen only when files are made


@dataclass(frozen=True)
class Breakage:
    name: str
    rule: str
    depths: tuple[str, ...]
    base: str  # the good golden that is changed
    change: Callable[[Raw], bytes | None]  # changes the pieces, or returns the whole file
    artifact: str = ARTIFACT


BREAKAGES: list[Breakage] = []


def breaks(
    rule: str, *, name: str | None = None, depths: tuple[str, ...] = OPEN, base: str = "tiny-f32", of: str = ARTIFACT
) -> Callable[[Any], Any]:
    """Registers a change; its name is the rule's unless another is given."""

    def register(change: Callable[[Raw], bytes | None]) -> Callable[[Raw], bytes | None]:
        BREAKAGES.append(Breakage(name or rule, rule, depths, base, change, of))
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
    found: dict[str, Any] = variant["artifacts"][index]
    return found


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
        raw.manifest["nets"][1]["fold_sha256"] = hashlib.sha256(plain).hexdigest()
        raw.set_content("fold/1000", bytes(plain[4 * i + plane] for plane in range(4) for i in range(count)))

    return change


def quant(edit: Callable[[bytes], bytes]) -> Callable[[Raw], None]:
    """Change the content of the widest quant; its hash follows."""

    def change(raw: Raw) -> None:
        content = edit(raw.content("quant/1000"))
        raw.set_content("quant/1000", content, raw.manifest["nets"][1], "quant_sha256")

    return change


def master(raw: Raw, name: str) -> dict[str, Any]:
    return next(m for m in raw.manifest["masters"] if m["name"] == name)


def of_master(called: str, **members: Any) -> Callable[[Raw], None]:
    """Set members of a master."""
    return lambda raw: master(raw, called).update(members)


def part(raw: Raw, name: str) -> int:
    """The index of a part."""
    return next(i for i, p in enumerate(raw.manifest["parts"]) if p["name"] == name)


def cut(name: str, count: int, net: int = 0) -> Callable[[Raw], None]:
    """Let a net use another number of a part's positions."""
    return lambda raw: raw.manifest["nets"][net]["cut"].__setitem__(part(raw, name), count)


def register(
    rule: str, name: str, change: Callable[[Raw], bytes | None], depths: tuple[str, ...] = OPEN, base: str = "tiny-f32"
) -> None:
    breaks(rule, name=name, depths=depths, base=base)(change)


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
        b',"master/%05d":{"data_offsets":[%d,%d],"dtype":"U8","shape":[1]}' % (i, i, i + 1) for i in range(8193)
    )
    head += b"}"
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + bytes(8193)


register("not-a-bundle", "not-a-bundle", header(b'"format":"edgeslim"', b'"format":"edgefat1"'))
register("not-a-bundle", "other-safetensors", header(b'"__metadata__"', b'"__metaless__"'))
register("unknown-version", "unknown-version", header(b'"format_version":"1"', b'"format_version":"2"'))
register("bad-header", "header-version-zero", header(b'"format_version":"1"', b'"format_version":"01"'))
register("bad-header", "header-hash-upper-case", header(b'"manifest_sha256":"', b'"manifest_sha256":"A'))
register("bad-header", "header-white-space", header(b',"fold/', b', "fold/'))
register("bad-header", "header-leading-zero", header(b'"data_offsets":[0,', b'"data_offsets":[00,'))
register("bad-header", "header-escape", header(b'"master/head.bias"', b'"bias/he\\u0061d"'))
register("bad-header", "header-fraction", header(b'"shape":[3]', b'"shape":[3.0]'))
register("bad-header", "header-more-members", header(b'"dtype":"F32",', b'"dtype":"F32","note":"",'))
register("bad-name", "tensor-name", header(b'"master/head.bias"', b'"mester/head.bias"'))
register("bad-name", "tensor-name-empty", header(b'"master/head.bias"', b'"master/"'))
register("bad-dtype", "bad-dtype", header(b'"dtype":"F32"', b'"dtype":"F64"'))
register("bad-shape", "bad-shape", header(b'"shape":[3]', b'"shape":[4]'))
register("bad-shape", "shape-zero", header(b'"shape":[3]', b'"shape":[0]'))
register("bad-shape", "shape-none", header(b'"shape":[3]', b'"shape":[]'))
register("bad-shape", "shape-overflow", header(b'"shape":[3]', b'"shape":[4294967296,4294967296]'))
register("bad-shape", "shape-seven", header(b'"shape":[3]', b'"shape":[3,1,1,1,1,1,1]'))
register("bad-header", "shape-nine", header(b'"shape":[3]', b'"shape":[3,1,1,1,1,1,1,1,1]'))
register("bad-header", "tensor-name-none", header(b'"master/head.bias"', b'""'))
register("bad-header", "tensor-name-long", header(b'"master/head.bias"', b'"master/' + b"h" * 250 + b'"'))
register("bad-name", "tensor-name-201", header(b'"master/head.bias"', b'"master/' + b"h" * 201 + b'"'))


@breaks("duplicate-key", name="duplicate-tensor")
def _(raw: Raw) -> None:
    def edit(text: bytes) -> bytes:
        end = text.index(b"}", text.index(b'"master/head.bias"')) + 1
        entry = text[text.index(b',"master/head.bias"') : end]
        return text[:end] + entry + text[end:]

    raw.header_text = edit


@breaks("key-order", name="tensor-order")
def _(raw: Raw) -> None:
    def edit(text: bytes) -> bytes:
        first = text.index(b',"fold/0500"')
        second = text.index(b',"fold/1000"')
        third = text.index(b',"manifest"')
        return text[:first] + text[second:third] + text[first:second] + text[third:]

    raw.header_text = edit


@breaks("bad-offsets", name="offsets-overlap")
def _(raw: Raw) -> None:
    header(b'"data_offsets":[0,288]', b'"data_offsets":[4,292]')(raw)


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

register("not-canonical", "json-white-space", text(b'"artifacts":[', b'"artifacts": ['))
register("not-canonical", "json-key-order", text(b'{"attribution":"","author":"",', b'{"author":"","attribution":"",'))
register("not-canonical", "json-escape", text(b'"tiny"', b'"t\\u0069ny"'))
register("not-canonical", "json-minus-zero", text(b'"extra":{}', b'"extra":{"a":-0}'))
register("bad-json", "json-cut-off", text(b'"nets":', b'"nets"'))
register("bad-json", "json-fraction", text(b'"high":1000', b'"high":1000.0'))
register("bad-json", "json-exponent", text(b'"high":1000', b'"high":1000e0'))
register("bad-json", "json-nan", text(b'"high":1000', b'"high":NaN'))
register("bad-json", "json-large-number", text(b'"high":1000', b'"high":9007199254740992'))
register("bad-json", "json-thousand-digits", text(b'"high":1000', b'"high":' + b"8" * 1000))
register("bad-json", "json-not-utf8", text("Füchsin".encode(), b"F\xfcchsin"))
register("bad-json", "json-surrogate", text("Füchsin".encode(), b"F\\ud800chsin"))
register("not-canonical", "json-surrogate-pair", text("Füchsin".encode(), b"F\\ud83d\\ude00chsin"))
register("bad-json", "json-key", text(b'"extra":{}', '"extra":{"ü":1}'.encode()))
register("duplicate-key", "json-duplicate-key", text(b'"high":1000', b'"high":1000,"high":1000'))
register("too-deep", "too-deep", text(b'"extra":{}', b'"extra":{"a":' + b"[" * 11 + b"]" * 11 + b"}"))
register("too-deep", "too-deep-thousands", text(b'"extra":{}', b'"extra":{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}"))
register("too-many-values", "too-many-values", put("extra", "a", [0] * 131_072))
register("manifest-too-large", "manifest-too-large", put("extra", "a", "x" * 4_194_304))

# Manifest


@breaks("hash-mismatch", name="manifest-hash")
def _(raw: Raw) -> None:
    digest = hashlib.sha256(canonical(raw.manifest)).hexdigest().encode()
    header(digest, b"0" * 64)(raw)


register("unknown-feature", "unknown-feature", put("required_features", ["signatures"]))
register("bad-manifest", "manifest-list", lambda raw: setattr(raw, "manifest", []))
register("bad-manifest", "member-missing", put("low", ...))
register("bad-manifest", "member-unknown", put("colour", "red"))
register("bad-manifest", "member-type", put("low", "8"))
register("bad-manifest", "member-boolean", put("masters", 0, "scale", 1))
register("bad-manifest", "member-null", put("low", None))
register("bad-manifest", "member-of-tensor", put("variants", 0, "outputs", 0, "meaning", ...))
register("bad-manifest", "policy-list", put("policy", []))
register("bad-manifest", "role-unknown", put("masters", 0, "role", "dense"))
register("bad-manifest", "dtype-unknown", put("masters", 0, "dtype", "f64"))
register("bad-manifest", "integers-unknown", put("masters", 0, "integers", "some"))
register("bad-manifest", "task-unknown", put("task", "image-classification"))
register("bad-manifest", "resize-unknown", put("inputs", 0, "tensors", 0, "image", "resize", "squeeze"))
register("bad-manifest", "requires-number", put("variants", 0, "artifacts", 0, "requires", {"ios": 16}))
register("bad-hash", "bad-hash", put("masters", 0, "sha256", "A" * 64))
register("bad-hash", "bad-hash-length", put("variants", 0, "artifacts", 0, "files", 0, "sha256", "0" * 63))
register("bad-name", "master-name", put("masters", 0, "name", "../stem"))
register("bad-name", "part-name", put("parts", 0, "name", "stem/"))
register("bad-name", "input-name", put("inputs", 0, "id", "224 px"))
register("bad-name", "net-label", lambda raw: raw.manifest["nets"][0].update(id="0500-wide", widths=[]))
register("bad-name", "variant-name", put("variants", 0, "id", "coreml-FP16"))
register("bad-name", "variant-target", put("variants", 0, "target", "litert"))
register("bad-name", "suffix", put("variants", 0, "suffix", "/../pte"))
register("bad-range", "bad-range", put("low", 1001))
register("bad-range", "range-zero", put("low", 0))
register("bad-calibration", "bad-calibration", put("calibration", {"data_sha256": None, "images": 0}))
IMAGE = ("inputs", 0, "tensors", 0, "image")
register("bad-input", "no-input", put("inputs", []))
register("bad-input", "input-channels", put(*IMAGE, "channels", 4))
register("bad-input", "input-size", put(*IMAGE, "height", 0))
register(
    "bad-input",
    "input-huge",
    lambda raw: raw.manifest["inputs"][0]["tensors"][0]["image"].update(height=65536, width=65536),
)
register("bad-input", "input-order", put(*IMAGE, "order", "gray"))
register("bad-input", "input-mean", put(*IMAGE, "mean", ["0.50", "0", "0"]))
register("bad-input", "input-std", put(*IMAGE, "std", ["0", "1", "1"]))
register("bad-input", "input-letterbox", put(*IMAGE, "resize", "letterbox"))
register("bad-input", "input-nearest", put(*IMAGE, "interpolation", "nearest"))
register("bad-input", "input-pad", put(*IMAGE, "pad", 256))
register("bad-manifest", "input-order-unknown", put(*IMAGE, "order", "xyz"))
register("bad-manifest", "image-member", put(*IMAGE, "pad", ...))
register("bad-input", "input-crop", put(*IMAGE, "crop", "1.1"))
register("bad-input", "input-neither", put(*IMAGE, None))
register(
    "bad-input",
    "input-both",
    put("inputs", 0, "tensors", 0, "tensor", {"dtype": "float32", "meaning": "", "shape": [1]}),
)
register(
    "bad-input",
    "input-shape",
    put(
        "inputs",
        0,
        "tensors",
        0,
        {"image": None, "name": "image", "tensor": {"dtype": "float32", "meaning": "", "shape": []}},
    ),
)
register(
    "bad-input",
    "input-tensor-twice",
    lambda raw: raw.manifest["inputs"][0]["tensors"].append(raw.manifest["inputs"][0]["tensors"][0]),
)
register("duplicate-input", "duplicate-input", lambda raw: raw.manifest["inputs"].append(raw.manifest["inputs"][0]))
register(
    "input-order",
    "input-id-order",
    lambda raw: raw.manifest["inputs"].append({**raw.manifest["inputs"][0], "id": "16"}),
)
register("bad-part", "no-part", put("parts", []))
register("bad-part", "part-size", put("parts", 0, "size", 0))
register("bad-part", "part-size-huge", put("parts", 0, "size", 2**24 + 1))
register("duplicate-part", "duplicate-part", put("parts", 0, "name", "RGB"))
register("bad-master", "no-master", put("masters", []))
register("bad-master", "master-no-axes", of_master("table", axes=[]))
register("bad-master", "master-empty-axis", of_master("table", axes=[[0], []]))
register("bad-master", "master-axes-seven", of_master("table", axes=[[0]] * 7))
register("bad-master", "master-part", of_master("table", axes=[[0], [99]]))
register("bad-master", "master-part-negative", of_master("table", axes=[[0], [-1]]))
register("bad-master", "master-huge", lambda raw: raw.manifest["parts"][0].update(size=2**24))
register("bad-master", "master-rows", of_master("stem.weight", rows=2))
register("bad-master", "master-groups", of_master("stem.weight", groups=3))
register("bad-master", "master-groups-zero", of_master("stem.weight", groups=0))
register("bad-master", "tensor-groups", of_master("table", groups=3))
register("bad-master", "tensor-scaled", of_master("table", scale=True))
register("bad-master", "tensor-integers", of_master("table", integers="shared"))
register(
    "bad-master",
    "weight-one-axis",
    lambda raw: master(raw, "stem.weight").update(axes=master(raw, "stem.weight")["axes"][:1]),
)
register("bad-master", "weight-i32", of_master("stem.weight", dtype="i32"))
register("bad-master", "own-f16", of_master("affine", dtype="f16"))
register("bad-master", "own-hash", of_master("affine", sha256="0" * 64))
register("bad-master", "tensor-no-hash", of_master("table", sha256=None))
register("bad-master", "step-unneeded", of_master("stem.weight", step_sha256="0" * 64))
register("bad-master", "two-biases", of_master("head.weight", shift=True))
register("bad-master", "bias-missing", of_master("head.weight", bias="more.bias"))
register("bad-master", "bias-two-axes", of_master("head.weight", bias="table"))
register("bad-master", "bias-own", of_master("head.weight", bias="affine"))
register("bad-master", "bias-length", of_master("join.weight", shift=False, bias="head.bias"))
register("bad-master", "correction-unneeded", of_master("stem.weight", correction=True))
register("bad-master", "i8-in-scale", of_master("stem.weight", in_scale=True), base="tiny-i8")
register("bad-master", "i8-own", of_master("stem.weight", integers="own"), base="tiny-i8")
register("bad-master", "i8-no-step", of_master("stem.weight", step_sha256=None), base="tiny-i8")
register("duplicate-master", "duplicate-master", of_master("stem.weight", name="HEAD.weight"))
register("no-net", "no-net", put("nets", []))
register("bad-net", "net-params", put("nets", 1, "params", -1))
register("bad-net", "net-width-range", put("nets", 1, "widths", [1000, 100_001]))
register("bad-net", "net-width-zero", put("nets", 0, "widths", [0, 500]))
register("bad-net", "net-not-smallest", put("nets", 1, "widths", [900, 1000]))
register("bad-net", "net-three-digits", put("nets", 0, "id", "500"))
register("duplicate-net", "duplicate-net", lambda raw: raw.manifest["nets"].append(raw.manifest["nets"][1]))
register("duplicate-net", "duplicate-width", put("nets", 0, "widths", [500, 1000]))
register("duplicate-net", "duplicate-width-inside", put("nets", 0, "widths", [500, 500]))
register("net-order", "net-width-order", put("nets", 0, "widths", [500, 700, 600]))
register("net-order", "net-order", lambda raw: raw.manifest["nets"].reverse())


@breaks("duplicate-net", name="twins")
def _(raw: Raw) -> None:
    twin = json.loads(json.dumps(raw.manifest["nets"][1]))
    raw.manifest["nets"].append({**twin, "id": "1100", "widths": [1100]})


register("bad-cut", "cut-missing", lambda raw: raw.manifest["nets"][0]["cut"].pop())
register("bad-cut", "cut-too-many", cut("stem", 9))
register("bad-cut", "cut-zero", cut("stem", 0))
register("bad-cut", "cut-negative", cut("extra", -1))


@breaks("bad-cut", name="cut-bias")
def _(raw: Raw) -> None:
    """At the narrow net the bias has an axis of its own, and keeps all of it."""
    raw.manifest["parts"].append({"name": "others", "optional": False, "size": 3})
    master(raw, "head.bias")["axes"] = [[len(raw.manifest["parts"]) - 1]]
    for net in raw.manifest["nets"]:
        net["cut"].append(3)
    cut("classes", 2)(raw)


@breaks("bad-cut", name="cut-empty-axis")
def _(raw: Raw) -> None:
    master(raw, "table")["axes"][1] = [part(raw, "extra")]


@breaks("too-many-values", name="too-many-cuts")
def _(raw: Raw) -> None:
    raw.manifest["masters"][7]["axes"][1] *= 40_000
    raw.manifest["parts"][part(raw, "join")]["size"] = 1
    raw.manifest["nets"] = [{**raw.manifest["nets"][1], "id": f"{w:04d}", "widths": [w]} for w in range(1000, 1010)]


register("bad-fold", "fold-missing", put("nets", 0, "fold_sha256", None))


@breaks("bad-fold", name="fold-unneeded")
def _(raw: Raw) -> None:
    raw.manifest["masters"] = [m for m in raw.manifest["masters"] if m["role"] != "own"]
    for one in raw.manifest["masters"]:
        one.update(in_scale=False, scale=False, shift=False)


@breaks("inflate-limit", name="fold-too-large")
def _(raw: Raw) -> None:
    index = part(raw, "classes")
    raw.manifest["parts"][index]["size"] = 1_048_576
    raw.manifest["nets"][1]["cut"][index] = 1_048_576
    master(raw, "head.weight")["scale"] = True


register("bad-variant", "no-artifact", put("variants", 0, "artifacts", []))
register("bad-variant", "variant-input", put("variants", 0, "input", "9"))
register("bad-variant", "variant-input-name", put("variants", 0, "inputs", 0, "name", "picture"))
register("bad-variant", "variant-no-inputs", put("variants", 0, "inputs", []))
register("bad-variant", "variant-no-outputs", put("variants", 0, "outputs", []))
register(
    "bad-variant",
    "variant-output-twice",
    lambda raw: raw.manifest["variants"][0]["outputs"].append(raw.manifest["variants"][0]["outputs"][0]),
)
register("bad-variant", "tensor-shape-zero", put("variants", 0, "outputs", 0, "shape", [1, 0]))
register("bad-variant", "tensor-shape-nine", put("variants", 0, "outputs", 0, "shape", [1] * 9))
register(
    "bad-variant",
    "tensor-scale",
    put("variants", 0, "outputs", 0, "quantised", {"scale_bits": "7f800000", "zero_point": 0}),
)
register(
    "bad-variant",
    "tensor-scale-digits",
    put("variants", 0, "outputs", 0, "quantised", {"scale_bits": "3F800000", "zero_point": 0}),
)
register("bad-artifact", "no-file", put("variants", 0, "artifacts", 0, "files", []))
register("bad-artifact", "two-files", put("variants", 0, "directory", False))
register("bad-artifact", "file-bytes", put("variants", 0, "artifacts", 0, "files", 0, "bytes", 2**32 + 1))
register("bad-artifact", "artifact-costs", put("variants", 0, "artifacts", 0, "literal_bytes", -1))
register("bad-artifact", "artifact-macs", put("variants", 0, "artifacts", 0, "macs", -1))
QUALITY = {
    "agreement": None, "count": 1, "data_sha256": None, "larger_is_better": True, "metric": "top1", "value": "0.5",
}  # fmt: skip
register("bad-artifact", "quality-count", put("variants", 0, "artifacts", 0, "quality", {**QUALITY, "count": 0}))
register("bad-artifact", "quality-value", put("variants", 0, "artifacts", 0, "quality", {**QUALITY, "value": "5e-1"}))
register("unknown-net", "unknown-net", put("variants", 0, "artifacts", 0, "net", "0400"))
register("bad-base", "base-missing", put("variants", 0, "artifacts", 0, "base", "coreml-fp16-8/0400"))
register("bad-base", "base-net-alone", put("variants", 0, "artifacts", 0, "base", "1000"))
register("bad-base", "base-circle", put("variants", 0, "artifacts", 1, "base", "coreml-fp16-8/0500"))
register("bad-base", "base-itself", put("variants", 0, "artifacts", 1, "base", "coreml-fp16-8/1000"))
register("bad-master", "of-later", of_master("stem.weight", of="body.0.weight", sha256=None))
register("bad-master", "of-other-shape", of_master("body.0.weight", of="stem.weight", sha256=None))
register("bad-master", "of-with-hash", of_master("table", of="head.bias"))
register("bad-master", "of-own", of_master("affine", of="table"))
register("duplicate-artifact", "duplicate-artifact", put("variants", 0, "artifacts", 0, "net", "1000"))
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
register("inflate-limit", "template-empty", put("variants", 0, "artifacts", 0, "template_bytes", 0))
register("inflate-limit", "template-negative", put("variants", 0, "artifacts", 0, "template_bytes", -1))
register("missing-tensor", "missing-tensor", lambda raw: raw.tensors.pop("master/head.bias") and None)
register("missing-tensor", "missing-manifest", header(b'"manifest":', b'"fold/9999":'))
register("unexpected-tensor", "unexpected-tensor", lambda raw: raw.add_tensor("master/more", "F32", [3]))
register("tensor-mismatch", "tensor-shape", header(b'"shape":[3]', b'"shape":[3,1]'))
register("tensor-mismatch", "tensor-dtype", of_master("table", dtype="f16"))
register(
    "tensor-mismatch",
    "tensor-rank",
    lambda raw: raw.tensors.__setitem__(
        "fold/0500", ("U8", [1, len(raw.tensors["fold/0500"][2])], raw.tensors["fold/0500"][2])
    ),
)

# Parts


@breaks("hash-mismatch", name="weight-hash", depths=READ)
def _(raw: Raw) -> None:
    dtype, shape, content = raw.tensors["master/stem.weight"]
    raw.tensors["master/stem.weight"] = dtype, shape, content[:-1] + bytes([content[-1] ^ 1])


@breaks("non-finite", name="weight-nan", depths=READ)
def _(raw: Raw) -> None:
    dtype, shape, content = raw.tensors["master/stem.weight"]
    content = struct.pack("<f", float("nan")) + content[4:]
    raw.tensors["master/stem.weight"] = dtype, shape, content
    raw.manifest["masters"][0]["sha256"] = hashlib.sha256(content).hexdigest()


@breaks("non-finite", name="table-infinity", depths=PARTS, of="executorch-fp32-8/0500")
def _(raw: Raw) -> None:
    """In a column that the narrow net does not use, of a master that nothing is multiplied with."""
    dtype, shape, content = raw.tensors["master/table"]
    content = content[:-4] + struct.pack("<f", float("inf"))
    raw.tensors["master/table"] = dtype, shape, content
    master(raw, "table")["sha256"] = hashlib.sha256(content).hexdigest()


register("non-finite", "fold-nan", fold(lambda numbers: numbers.__setitem__(0, float("nan"))), READ)
register("non-finite", "fold-infinity", fold(lambda numbers: numbers.__setitem__(9, float("-inf"))), READ)
register("hash-mismatch", "fold-hash", put("nets", 1, "fold_sha256", "0" * 64), READ)
register("hash-mismatch", "recipe-hash", put("variants", 1, "artifacts", 1, "recipe_sha256", "0" * 64), READ)
register("hash-mismatch", "template-hash", put("variants", 1, "artifacts", 1, "template_sha256", "0" * 64), PARTS)


@breaks("hash-mismatch", name="file-hash", depths=FILES)
def _(raw: Raw) -> None:
    """Only a rebuild can see it: every part is as the manifest says."""
    artifact(raw)["files"][0]["sha256"] = "0" * 64


@breaks("inflate-limit", name="deflate-bomb", depths=READ)
def _(raw: Raw) -> None:
    raw.set_stored("fold/1000", zlib.compress(bytes(64 << 20), 9))


@breaks("inflate-limit", name="deflate-bomb-template", depths=READ)
def _(raw: Raw) -> None:
    raw.set_stored(TEMPLATE, zlib.compress(bytes(64 << 20), 9))


@breaks("inflate-limit", name="inflate-ratio", depths=READ)
def _(raw: Raw) -> None:
    """More content declared than deflate can hold in so few bytes."""
    entry = artifact(raw)
    entry["template_bytes"] += 1_000_000
    entry["files"][0]["bytes"] += 1_000_000


@breaks("bad-deflate", name="deflate-not-zlib", depths=READ)
def _(raw: Raw) -> None:
    raw.set_stored("fold/1000", b"this is no zlib stream")


@breaks("bad-deflate", name="deflate-cut-off", depths=READ)
def _(raw: Raw) -> None:
    raw.set_stored("fold/1000", raw.tensors["fold/1000"][2][:-4])


@breaks("bad-deflate", name="deflate-trailing", depths=READ)
def _(raw: Raw) -> None:
    raw.set_stored("fold/1000", raw.tensors["fold/1000"][2] + b"\0")


@breaks("bad-deflate", name="deflate-too-short", depths=READ)
def _(raw: Raw) -> None:
    content = raw.content("fold/1000")
    raw.set_stored("fold/1000", zlib.compress(content[:-4], 9))


@breaks("bad-deflate", name="template-trailing", depths=READ)
def _(raw: Raw) -> None:
    raw.set_stored(TEMPLATE, raw.tensors[TEMPLATE][2] + b"\0")


register("bad-recipe", "recipe-cut-off", recipe(lambda content: content[:-1]), READ)
register("bad-recipe", "recipe-trailing", recipe(lambda content: content + b"\0"), READ)
register("bad-recipe", "recipe-long-number", recipe(lambda content: b"\x80" * 8 + b"\x01" + content[1:]), READ)
register("bad-recipe", "recipe-not-shortest", recipe(lambda content: bytes([content[0] | 0x80, 0]) + content[1:]), READ)
register("bad-recipe", "recipe-large-number", recipe(lambda content: content[:1] + leb(2**53) + content[2:]), READ)
register("bad-recipe", "recipe-too-many", recipe(lambda content: leb(8193) + bytes(4 * 8193)), READ)
register("bad-recipe", "recipe-count", recipe(lambda content: leb(1_000) + content[1:]), READ)
register("unknown-code", "unknown-kind", recipe(lambda content: leb(1, 0, 0, 10, 0)), READ)
register("unknown-code", "unknown-rule", recipe(lambda content: leb(1, 0, 0, 0, 5 << 2)), READ)
register("unknown-code", "unknown-layout", recipe(lambda content: leb(1, 0, 0, 0, 24 << 5)), READ)
register("unknown-code", "unknown-layout-of-one-axis", recipe(lambda content: leb(1, 0, 6, 2, 1 << 5)), READ)
register("bad-reference", "reference-master", recipe(lambda content: leb(1, 0, 9, 0, 0)), READ)
register("bad-reference", "reference-kind", recipe(lambda content: leb(1, 0, 0, 2, 0)), READ)
register("bad-reference", "reference-no-bias", recipe(lambda content: leb(1, 0, 7, 1, 0)), READ)
register("bad-reference", "reference-integers", recipe(lambda content: leb(1, 0, 0, 3, 3 << 2)), READ)
register("bad-reference", "reference-rule", recipe(lambda content: leb(1, 0, 0, 0, 3 << 2)), READ)
register("bad-reference", "reference-rows", recipe(lambda content: leb(1, 0, 0, 0, 1, 7, 2)), READ)
register("bad-reference", "reference-no-rows", recipe(lambda content: leb(1, 0, 0, 0, 1, 0, 0)), READ)
register("segment-out-of-file", "segment-past-end", recipe(lambda content: leb(1, 50_000, 0, 0, 0)), READ)
register("segment-out-of-file", "segment-far-away", recipe(lambda content: leb(1, 2**52, 0, 0, 0)), READ)
register("template-size", "template-size", recipe(lambda content: leb(0)), READ)


@breaks("bad-reference", name="reference-no-quant", depths=READ, base="tiny-int8")
def _(raw: Raw) -> None:
    """The recipe speaks of int32 biases, and the net has no input scales."""
    for net in raw.manifest["nets"]:
        net["quant_sha256"] = None
        del raw.tensors[f"quant/{net['id']}"]


NAN = struct.pack("<f", float("nan"))
register("bad-quant", "quant-nan", quant(lambda content: NAN + content[4:]), READ, "tiny-int8")
register("bad-quant", "quant-zero", quant(lambda content: bytes(4) + content[4:]), READ, "tiny-int8")
register("bad-quant", "quant-large", quant(lambda content: struct.pack("<f", 2.0**41) + content[4:]), READ, "tiny-int8")


@breaks("bad-quant", name="quant-own-scale", depths=READ, base="tiny-int8")
def _(raw: Raw) -> None:
    """The scales of the layer with scales of its own stand before the corrections of the stem's eight channels."""
    quant(lambda content: content[:-28] + struct.pack("<f", 2.0**-21) + content[-24:])(raw)


@breaks("bad-deflate", name="quant-short", depths=READ, base="tiny-int8")
def _(raw: Raw) -> None:
    quant(lambda content: content[:-2])(raw)


@breaks("hash-mismatch", name="quant-hash", depths=READ, base="tiny-int8")
def _(raw: Raw) -> None:
    raw.manifest["nets"][1]["quant_sha256"] = "0" * 64


@breaks("bad-quant", name="step-negative", depths=READ, base="tiny-i8")
def _(raw: Raw) -> None:
    dtype, shape, content = raw.tensors["step/stem.weight"]
    content = struct.pack("<f", -1.0) + content[4:]
    raw.tensors["step/stem.weight"] = dtype, shape, content
    raw.manifest["masters"][0]["step_sha256"] = hashlib.sha256(content).hexdigest()


@breaks("non-finite", name="product-overflow", depths=FILES)
def _(raw: Raw) -> None:
    """Finite times finite: 3e38 · 3e38 in the linear layer, of which no rule stores the infinity."""
    dtype, shape, content = raw.tensors["master/head.weight"]
    content = struct.pack("<f", 3e38) + content[4:]
    raw.tensors["master/head.weight"] = dtype, shape, content
    master(raw, "head.weight")["sha256"] = hashlib.sha256(content).hexdigest()
    fold(lambda numbers: numbers.__setitem__(HEAD_SCALE, 3e38))(raw)


HEAD_SCALE = -12  # the first input scale of ``head.weight`` in the widest fold: six of them, then six of ``affine``


@breaks("bad-deflate", name="dictionary-missing", depths=READ, base="tiny-blocks", of="executorch-fp32-8/0500")
def _(raw: Raw) -> None:
    """The first block of a template with a base, deflated without the dictionary that is due."""
    name = "template/executorch-fp32-8/0500"
    base = raw.template("template/executorch-fp32-8/1000", b"")
    content = raw.template(name, base)
    raw.set_stored(name, zlib.compress(content[:8192], 9) + raw.tensors[name][2][raw.ends(name, base)[0] :])


@breaks("bad-deflate", name="dictionary-not-due", depths=READ, base="tiny-blocks")
def _(raw: Raw) -> None:
    """The first block of a base, deflated with a dictionary."""
    content = raw.template(TEMPLATE, b"")
    stream = zlib.compressobj(9, zdict=b"a dictionary")
    first = stream.compress(content[:8192]) + stream.flush()
    raw.set_stored(TEMPLATE, first + raw.tensors[TEMPLATE][2][raw.ends(TEMPLATE, b"")[0] :])


@breaks("bad-deflate", name="dictionary-other", depths=READ, base="tiny-blocks", of="executorch-fp32-8/0500")
def _(raw: Raw) -> None:
    """The first block of a template with a base, deflated with another dictionary."""
    name = "template/executorch-fp32-8/0500"
    base = raw.template("template/executorch-fp32-8/1000", b"")
    content = raw.template(name, base)
    stream = zlib.compressobj(9, zdict=b"another dictionary")
    first = stream.compress(content[:8192]) + stream.flush()
    raw.set_stored(name, first + raw.tensors[name][2][raw.ends(name, base)[0] :])


@breaks("segment-out-of-file", name="segment-across-files", depths=PARTS)
def _(raw: Raw) -> None:
    """The first file of the package ends one byte earlier, the second starts one earlier."""
    files = artifact(raw, "coreml")["files"]
    files[0]["bytes"] -= 60
    files[1]["bytes"] += 60
