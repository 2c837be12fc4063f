"""The other halves of rules: the far end of a range, the other member that a rule speaks of, the other type.

As in ``breakages``, where every rule is broken once; here are those that a reader may forget.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from functools import partial

from breakages import (
    FILES,
    IMAGE,
    QUALITY,
    READ,
    artifact,
    breaks,
    cut,
    header,
    master,
    of_master,
    part,
    put,
    quant,
    recipe,
    register,
    text,
)
from raw_bundle import Raw, leb

PLAIN = {"dtype": "float32", "meaning": "", "shape": [1]}
QUANTISED = {"scale_bits": "3f800000", "zero_point": 0}

# Header

register("bad-header", "header-version-long", header(b'"format_version":"1"', b'"format_version":"1000000000"'))
register("bad-header", "header-sixteen-digits", header(b'"data_offsets":[0,', b'"data_offsets":[1000000000000000,'))
register("bad-header", "header-dtype-lower-case", header(b'"dtype":"F32"', b'"dtype":"f32"'))
register("bad-header", "header-dtype-long", header(b'"dtype":"F32"', b'"dtype":"F32F32F32F32F32F3"'))
register("bad-header", "header-negative", header(b'"shape":[3]', b'"shape":[-3]'))
register("bad-header", "header-line-end", header(b',"fold/', b',\n"fold/'))
register("bad-name", "tensor-name-not-ascii", header(b'"master/head.bias"', '"master/head.bïas"'.encode()))
register("bad-name", "tensor-name-manifest", header(b'"master/head.bias"', b'"manifest/head.bias"'))
register("bad-name", "tensor-name-first", header(b'"master/head.bias"', b'"master/.head.bias"'))
register("bad-name", "tensor-name-space", header(b'"master/head.bias"', b'"master/head bias"'))


@breaks("bad-header", name="header-padding-none")
def _(raw: Raw) -> None:
    """A header whose length is no multiple of 8, said as it is."""
    raw.pad = False
    raw.header_text = lambda text: text + b" " * (-len(text) % 8 + 1)


# Canonical JSON

register("not-canonical", "json-escape-slash", text(b'"tiny"', b'"t\\/ny"'))
register("not-canonical", "json-escape-upper-case", text(b'"tiny"', b'"t\\u001Fny"'))
register("not-canonical", "json-escape-tab", text(b'"tiny"', b'"t\\u0009ny"'))
register("not-canonical", "json-line-end", lambda raw: text(b'"masters":[', b'"masters":[\n')(raw))
register("bad-json", "json-byte-order-mark", text(b"{", b"\xef\xbb\xbf{"))
register("bad-json", "json-plus", text(b'"high":1000', b'"high":+1000'))
register("bad-json", "json-leading-zero", text(b'"high":1000', b'"high":01000'))
register("bad-json", "json-large-negative", text(b'"extra":{}', b'"extra":{"a":-9007199254740992}'))
register("bad-json", "json-key-empty", text(b'"extra":{}', b'"extra":{"":1}'))
register("bad-json", "json-key-space", text(b'"extra":{}', b'"extra":{"a b":1}'))
register("bad-json", "json-key-long", text(b'"extra":{}', b'"extra":{"' + b"k" * 201 + b'":1}'))
register("bad-json", "json-control-character", text(b'"tiny"', b'"t\x01ny"'))
register("bad-json", "json-comment", text(b'"extra":{}', b'"extra":{/**/}'))

# Manifest

register("bad-manifest", "extra-list", put("extra", []))
register("bad-manifest", "extra-null", put("extra", None))
register("bad-manifest", "spec-text", put("model", "spec", ""))
register("bad-manifest", "task-spec-null", put("task_spec", None))
register("bad-manifest", "labels-numbers", put("labels", [1, 2, 3]))
register("bad-manifest", "exporters-number", put("variants", 0, "exporters", {"executorch": 1}))
register("bad-manifest", "quality-missing", put("variants", 0, "artifacts", 0, "quality", {"metric": "top1"}))
register(
    "bad-manifest",
    "quantised-fraction",
    put("variants", 0, "outputs", 0, "quantised", {**QUANTISED, "zero_point": "0"}),
)
register("bad-manifest", "interpolation-unknown", put(*IMAGE, "interpolation", "lanczos"))
register("bad-manifest", "range-unknown", put(*IMAGE, "range", "limited"))
register("bad-manifest", "widths-null", put("nets", 0, "widths", None))
register("bad-hash", "checkpoint-hash", put("checkpoint_sha256", "z" * 64))
register("bad-hash", "calibration-hash", put("calibration", {"data_sha256": "0" * 65, "images": 1}))
register("bad-hash", "ranges-hash", put("ranges", {"data_sha256": "", "images": 1}))
register("bad-hash", "fold-hash-upper-case", put("nets", 0, "fold_sha256", "A" * 64))
register("bad-hash", "quant-hash-short", put("nets", 0, "quant_sha256", "0" * 63))
register("bad-hash", "template-hash-long", put("variants", 0, "artifacts", 0, "template_sha256", "0" * 65))
register("bad-hash", "recipe-hash-text", put("variants", 0, "artifacts", 0, "recipe_sha256", ""))
register("bad-hash", "step-hash-text", of_master("stem.weight", step_sha256="0"), base="tiny-i8")
register(
    "bad-hash", "quality-hash", put("variants", 0, "artifacts", 0, "quality", {**QUALITY, "data_sha256": "0" * 63})
)
register("bad-name", "master-name-long", of_master("stem.weight", name="m" * 153))
register("bad-name", "part-name-end", put("parts", 0, "name", "stem."))
register("bad-name", "part-name-empty", put("parts", 0, "name", ""))
register("bad-name", "input-name-long", put("inputs", 0, "id", "i" * 33))
register("bad-name", "input-name-end", put("inputs", 0, "id", "8-"))
register("bad-name", "net-without-names", put("nets", 0, "widths", []))
register("bad-name", "net-label-long", lambda raw: raw.manifest["nets"][0].update(id="l" * 65, widths=[]))
register("bad-name", "net-label-end", lambda raw: raw.manifest["nets"][0].update(id="wide-", widths=[]))
register("bad-name", "variant-name-end", put("variants", 0, "id", "coreml-fp16-"))
register("bad-name", "variant-name-long", put("variants", 0, "id", "coreml-" + "f" * 58))
register("bad-name", "suffix-no-dot", put("variants", 0, "suffix", "pte"))
register("bad-name", "suffix-long", put("variants", 0, "suffix", "." + "p" * 17))
register("bad-range", "range-high", put("high", 100_001))
register("bad-calibration", "ranges-images", put("ranges", {"data_sha256": None, "images": 0}))
register("bad-input", "input-no-tensors", put("inputs", 0, "tensors", []))
register("bad-input", "input-width", put(*IMAGE, "width", 65_537))
register("bad-input", "input-std-negative", put(*IMAGE, "std", ["1", "1", "-1"]))
register("bad-input", "input-std-count", put(*IMAGE, "std", ["1", "1"]))
register("bad-input", "input-mean-count", put(*IMAGE, "mean", ["0"] * 4))
register("bad-input", "input-crop-zero", put(*IMAGE, "crop", "0"))
register("bad-input", "input-crop-text", put(*IMAGE, "crop", ".875"))
for name, shape in (("nine", [1] * 9), ("zero", [1, 0]), ("large", [2**24 + 1])):
    register(
        "bad-input",
        f"input-shape-{name}",
        put("inputs", 0, "tensors", 0, {"image": None, "name": "image", "tensor": {**PLAIN, "shape": shape}}),
    )
register("bad-part", "part-size-negative", put("parts", 0, "size", -1))
register("bad-master", "master-axis-huge", lambda raw: master(raw, "table")["axes"][1].extend([big(raw)] * 2))
register("bad-master", "master-numbers", lambda raw: master(raw, "table").update(axes=[[big(raw)]] * 2))
register("bad-master", "master-rows-negative", of_master("stem.weight", rows=-1))
register("bad-master", "master-groups-many", of_master("stem.weight", groups=16))
register("bad-master", "tensor-rows", of_master("table", rows=1))
register("bad-master", "tensor-in-scale", of_master("table", in_scale=True))
register("bad-master", "tensor-shift", of_master("table", shift=True))
register("bad-master", "tensor-bias", of_master("table", bias="head.bias"))
register("bad-master", "tensor-correction", of_master("table", correction=True))
register("bad-master", "tensor-step", of_master("table", step_sha256="0" * 64))
register("bad-master", "own-scaled", of_master("affine", scale=True))
register("bad-master", "own-groups", of_master("affine", groups=2))
register("bad-master", "bias-weight", of_master("head.weight", bias="join.weight"))
register("bad-master", "bias-itself", of_master("head.weight", bias="head.weight"))
register("bad-master", "bias-integer", of_master("head.bias", dtype="i32"))
register("bad-master", "i8-no-integers", of_master("stem.weight", integers="none"), base="tiny-i8")
register("bad-master", "correction-no-bias", of_master("head.weight", bias=None, correction=True), base="tiny-int8")


def big(raw: Raw) -> int:
    """A part of 2^24 positions, added last."""
    raw.manifest["parts"].append({"name": "big", "optional": False, "size": 2**24})
    for net in raw.manifest["nets"]:
        net["cut"].append(1)
    return len(raw.manifest["parts"]) - 1


@breaks("duplicate-net", name="duplicate-label", base="tiny-inputs", of="executorch-fp32-8/1000")
def _(raw: Raw) -> None:
    twin = json.loads(json.dumps(raw.manifest["nets"][2]))
    twin["cut"][part(raw, "up")] -= 1
    raw.manifest["nets"].append(twin)


@breaks("bad-cut", name="cut-optional", base="tiny-layouts")
def _(raw: Raw) -> None:
    """The part that the labelled net leaves out must be there after all."""
    raw.manifest["parts"][part(raw, "second")]["optional"] = False


@breaks("bad-cut", name="cut-optional-axis", base="tiny-layouts")
def _(raw: Raw) -> None:
    """Both parts of an axis may be left out, but not both at once."""
    raw.manifest["parts"][part(raw, "first")]["optional"] = True
    cut("first", 0, net=2)(raw)


register(
    "bad-variant",
    "variant-input-order",
    lambda raw: raw.manifest["variants"][2]["inputs"].reverse(),
    base="tiny-inputs",
)
register(
    "bad-variant", "variant-input-missing", lambda raw: raw.manifest["variants"][2]["inputs"].pop(), base="tiny-inputs"
)
register("bad-variant", "tensor-shape-large", put("variants", 0, "outputs", 0, "shape", [2**24 + 1]))
register("bad-variant", "tensor-shape-negative", put("variants", 0, "inputs", 0, "shape", [1, -3, 8, 8]))
for name, scale in (("zero", "00000000"), ("negative", "bf800000"), ("nan", "7fc00000"), ("short", "3f8000")):
    register(
        "bad-variant",
        f"tensor-scale-{name}",
        put("variants", 0, "inputs", 0, "quantised", {**QUANTISED, "scale_bits": scale}),
    )
register("bad-artifact", "file-bytes-negative", put("variants", 0, "artifacts", 0, "files", 0, "bytes", -1))
register("bad-artifact", "artifact-explained", put("variants", 0, "artifacts", 0, "explained_bytes", -1))
register(
    "bad-artifact", "quality-agreement", put("variants", 0, "artifacts", 0, "quality", {**QUALITY, "agreement": "1.0"})
)


@breaks("bad-artifact", name="many-files")
def _(raw: Raw) -> None:
    entry = artifact(raw, "coreml", 0)
    entry["files"] = [{**entry["files"][0], "path": f"f{index:02}"} for index in range(65)]


for name, path in {
    "device-alone": "con",
    "device-com": "Data/Com0.bin",
    "end-space": "Data/weight ",
    "slash-end": "Data/",
    "parent-alone": "..",
}.items():
    register("bad-path", f"path-{name}", put("variants", 0, "artifacts", 0, "files", 0, "path", path))

for kind, base in (
    ("step", "tiny-i8"),
    ("quant", "tiny-int8"),
    ("fold", "tiny-f32"),
    ("recipe", "tiny-f32"),
    ("template", "tiny-f32"),
):

    @breaks("missing-tensor", name=f"missing-{kind}", base=base)
    def _(raw: Raw, kind: str = kind) -> None:
        del raw.tensors[next(name for name in raw.tensors if name.startswith(f"{kind}/"))]


register("unexpected-tensor", "unexpected-quant", lambda raw: raw.add_tensor("quant/0500", "U8", [3]))
register("unexpected-tensor", "unexpected-own", lambda raw: raw.add_tensor("master/affine", "F32", [6]))
register("unexpected-tensor", "unexpected-step", lambda raw: raw.add_tensor("step/stem.weight", "F32", [8]))


@breaks("tensor-mismatch", name="tensor-step-length", base="tiny-i8")
def _(raw: Raw) -> None:
    dtype, shape, content = raw.tensors["step/stem.weight"]
    raw.tensors["step/stem.weight"] = dtype, [shape[0] - 1], content[:-4]


@breaks("tensor-mismatch", name="tensor-fold-type")
def _(raw: Raw) -> None:
    raw.tensors["fold/0500"] = ("I8", *raw.tensors["fold/0500"][1:])


# Parts


@breaks("hash-mismatch", name="step-hash", depths=READ, base="tiny-i8")
def _(raw: Raw) -> None:
    dtype, shape, content = raw.tensors["step/join.weight"]
    raw.tensors["step/join.weight"] = dtype, shape, content[:-1] + bytes([content[-1] ^ 1])


for name, number in (("infinity", float("inf")), ("nan", float("nan"))):

    @breaks("bad-quant", name=f"step-{name}", depths=READ, base="tiny-i8")
    def _(raw: Raw, number: float = number) -> None:
        dtype, shape, content = raw.tensors["step/stem.weight"]
        content = struct.pack("<f", number) + content[4:]
        raw.tensors["step/stem.weight"] = dtype, shape, content
        raw.manifest["masters"][0]["step_sha256"] = hashlib.sha256(content).hexdigest()


def packed(number: float) -> bytes:
    return struct.pack("<f", number)


def own_scale(number: float, content: bytes) -> bytes:
    """A quant of tiny-int8 whose own scale is ``number``."""
    return content[:-28] + packed(number) + content[-24:]


# of the widest quant of tiny-int8 the last 32 bytes are: input scale and three scales of head.weight, 8 corrections
register("bad-quant", "quant-negative", quant(lambda content: packed(-1.0) + content[4:]), READ, "tiny-int8")
register("bad-quant", "quant-small", quant(lambda content: packed(2.0**-41) + content[4:]), READ, "tiny-int8")
register("bad-quant", "quant-infinity", quant(lambda content: packed(float("inf")) + content[4:]), READ, "tiny-int8")
register("inflate-limit", "quant-long", quant(lambda content: content + bytes(2)), READ, "tiny-int8")
for name, number in (("infinity", float("inf")), ("nan", float("nan")), ("negative", -1.0)):
    register(
        "bad-quant",
        f"quant-own-{name}",
        quant(partial(own_scale, number)),
        READ,
        "tiny-int8",
    )
register(
    "non-finite",
    "bias-scale-overflow",
    quant(lambda content: content[:-32] + packed(2.0**40) + packed(3e38) + content[-24:]),
    FILES,
    "tiny-int8",
)


@breaks("bad-quant", name="quant-of-floats", depths=READ)
def _(raw: Raw) -> None:
    """A quant in a bundle whose weights have no integers."""
    raw.set_content("quant/1000", b"", raw.manifest["nets"][1], "quant_sha256")


register("bad-recipe", "recipe-nine-bytes", recipe(lambda content: b"\x81" + b"\x80" * 7 + b"\x01" + content[1:]), READ)
register("unknown-code", "unknown-kind-large", recipe(lambda content: leb(1, 0, 0, 2**40, 0)), READ)
register("unknown-code", "unknown-rule-seven", recipe(lambda content: leb(1, 0, 0, 0, 7 << 2)), READ)
register("bad-reference", "reference-weight-of-tensor", recipe(lambda content: leb(1, 0, 7, 0, 0)), READ)
register("bad-reference", "reference-rows-first", recipe(lambda content: leb(1, 0, 0, 0, 1, 8, 1)), READ)
register("bad-reference", "reference-rows-huge", recipe(lambda content: leb(1, 0, 0, 0, 1, 2**52, 2**52)), READ)
register(
    "bad-reference", "reference-integer-rule", recipe(lambda content: leb(1, 0, 9, 2, 3 << 2)), READ, "tiny-layouts"
)
register(
    "bad-reference", "reference-float-of-integers", recipe(lambda content: leb(1, 0, 9, 2, 0)), READ, "tiny-layouts"
)
register(
    "bad-reference", "reference-float-of-bytes", recipe(lambda content: leb(1, 0, 10, 2, 4 << 2)), READ, "tiny-layouts"
)
register(
    "unknown-code",
    "unknown-layout-of-six-axes",
    recipe(lambda content: leb(1, 0, 8, 2, 720 << 5)),
    READ,
    "tiny-layouts",
)
register(
    "bad-reference",
    "reference-rows-of-integers",
    recipe(lambda content: leb(1, 0, 0, 3, 3 << 2 | 1, 8, 1)),
    READ,
    "tiny-int8",
)
register(
    "bad-reference",
    "reference-rows-of-input-scale",
    recipe(lambda content: leb(1, 0, 0, 5, 1, 1, 1)),
    READ,
    "tiny-int8",
)


@breaks("bad-deflate", name="fold-checksum", depths=READ)
def _(raw: Raw) -> None:
    """Adler-32 of the stream, which some libraries do not look at unless asked to."""
    stored = raw.tensors["fold/1000"][2]
    raw.set_stored("fold/1000", stored[:-1] + bytes([stored[-1] ^ 1]))


@breaks("bad-deflate", name="fold-raw", depths=READ)
def _(raw: Raw) -> None:
    """Deflate without zlib's frame."""
    stream = zlib.compressobj(9, wbits=-15)
    raw.set_stored("fold/1000", stream.compress(raw.content("fold/1000")) + stream.flush())


@breaks("bad-deflate", name="recipe-two-streams", depths=READ)
def _(raw: Raw) -> None:
    name = "recipe/executorch-fp32-8/1000"
    content = raw.content(name)
    raw.set_stored(name, zlib.compress(content[:9], 9) + zlib.compress(content[9:], 9))


register("bad-reference", "reference-dequantised", recipe(lambda content: leb(1, 0, 0, 8, 0)), READ)
register("bad-reference", "reference-dequantised-bias", recipe(lambda content: leb(1, 0, 5, 9, 0)), READ)
