"""A second reader of bundles, written from edgeslim/core/FORMAT.md alone: no line of it comes from edgeslim.

It reads a whole bundle into memory and is written to be compared with the text, paragraph by paragraph.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

Json = Any
Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Array = npt.NDArray[Any]

DEPTHS = ("open", "rebuild", "parts", "files")

MAX_HEADER = 8_388_608
MAX_TENSORS = 8_192
MAX_PRODUCT = 2**40
MAX_MANIFEST = 4_194_304
MAX_MARKS = 131_071
MAX_LEVELS = 12
MAX_JSON_NUMBER = 2**53 - 1
MAX_AXIS = 2**24
MAX_MASTER = 2**32
MAX_CUTS = 262_144
MAX_FOLD = 1_048_576
MAX_QUANT = 4_194_304  # in bytes
MAX_TEMPLATE = 16_777_216
MAX_RECIPE = 262_144
MAX_SEGMENTS = 8_192
MAX_RATIO = 1032
MAX_BASES = 4
MAX_FILES = 2**30  # of this reader: bytes of one artifact
BLOCK, BASE_BEFORE, BASE_WINDOW, OWN_WINDOW = 8192, 4096, 16384, 16384

DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "I32": np.dtype("<i4"),
    "F16": np.dtype("<f2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
}
DATA_ORDER = list(DTYPES)

WEIGHT, BIAS, VECTOR, INTEGERS, WEIGHT_SCALE, INPUT_SCALE, BIAS_SCALE, INT32_BIAS = range(8)
DEQUANTISED_WEIGHT, DEQUANTISED_BIAS = 8, 9
F32, F16, F16_COREML, I8, I32 = range(5)
SMALLEST_S = np.float32(2.0**-20)
DEAD_S = np.float32(2.0**-8)


class Refused(Exception):  # noqa: N818
    """The bundle breaks a rule of the format."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(f"{rule}: {message}")
        self.rule = rule
        self.message = message


def refuse(rule: str, message: str) -> NoReturn:
    raise Refused(rule, message)


def sha256(content: bytes | bytearray | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()


# ---------------------------------------------------------------------------------------------------------- 1. Header


@dataclass(frozen=True)
class Entry:
    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


HEADER_START = b'{"__metadata__":{"format":"edgeslim","format_version":"'
HEADER_VERSION = re.compile(rb'([1-9][0-9]{0,8})"')
HEADER_HASH = re.compile(rb',"manifest_sha256":"([0-9a-f]{64})"\}')
NUMBER = rb"(?:0|[1-9][0-9]{0,14})"
HEADER_ENTRY = re.compile(
    rb',"([^"\\]{1,256})":\{"data_offsets":\[(' + NUMBER + rb"),(" + NUMBER + rb')\],"dtype":"([A-Z0-9_]{1,16})"'
    rb',"shape":\[((?:' + NUMBER + rb"(?:," + NUMBER + rb"){0,7})?)\]\}"
)
TENSOR_NAME = re.compile(r"manifest|(?:master|step|fold|quant|template|recipe)/[A-Za-z0-9_][A-Za-z0-9_./-]{0,199}")


def read_header(data: bytes) -> tuple[str, dict[str, Entry], int]:
    """SHA-256 of the manifest, the tensors by name, and where the data section begins."""
    if len(data) < 8:
        refuse("truncated", "fewer than 8 bytes")
    (length,) = struct.unpack_from("<Q", data)
    if length > MAX_HEADER:
        refuse("header-too-large", f"a header of {length} bytes")
    if 8 + length > len(data):
        refuse("truncated", "the header ends after the file")
    text = data[8 : 8 + length]
    if not text.startswith(HEADER_START):
        refuse("not-a-bundle", "another beginning")
    if length % 8:
        refuse("bad-header", "length is no multiple of 8")
    place = len(HEADER_START)
    version = HEADER_VERSION.match(text, place)
    if version is None:
        refuse("bad-header", "the version is no number")
    if version[1] != b"1":
        refuse("unknown-version", version[1].decode())
    digest = HEADER_HASH.match(text, version.end())
    if digest is None:
        refuse("bad-header", "no manifest_sha256")
    place = digest.end()
    found = []
    while (match := HEADER_ENTRY.match(text, place)) is not None:
        found.append(match)
        place = match.end()
        if len(found) > MAX_TENSORS:
            refuse("too-many-tensors", f"more than {MAX_TENSORS}")
    padding = text[place + 1 :]
    if text[place : place + 1] != b"}" or len(padding) > 7 or padding.strip(b" "):
        refuse("bad-header", f"not of the form at byte {place}")
    entries = [read_entry(*match.groups()) for match in found]
    for before, entry in itertools.pairwise(entries):
        if entry.name == before.name:
            refuse("duplicate-key", entry.name)
        if entry.name < before.name:
            refuse("key-order", entry.name)
    place = 0
    for entry in sorted(entries, key=lambda one: (DATA_ORDER.index(one.dtype), one.name)):
        if entry.begin != place:
            refuse("bad-offsets", f"{entry.name} begins at {entry.begin}, not {place}")
        place = entry.end
    if 8 + length + place > len(data):
        refuse("truncated", "the last tensor ends after the file")
    if 8 + length + place < len(data):
        refuse("trailing-bytes", "bytes after the last tensor")
    return digest[1].decode(), {entry.name: entry for entry in entries}, 8 + length


def read_entry(name: bytes, begin: bytes, end: bytes, dtype: bytes, shape: bytes) -> Entry:
    entry = Entry(
        name.decode("latin-1"),
        dtype.decode(),
        tuple(int(dim) for dim in shape.split(b",") if dim),
        int(begin),
        int(end),
    )
    if not TENSOR_NAME.fullmatch(entry.name):
        refuse("bad-name", f"tensor {entry.name!r}")
    if entry.dtype not in DTYPES:
        refuse("bad-dtype", entry.dtype)
    if not 1 <= len(entry.shape) <= 6 or 0 in entry.shape:
        refuse("bad-shape", f"{entry.name}: {entry.shape}")
    count = math.prod(entry.shape)
    if count > MAX_PRODUCT:
        refuse("bad-shape", f"{entry.name}: {count} numbers")
    if count * DTYPES[entry.dtype].itemsize != entry.end - entry.begin:
        refuse("bad-shape", f"{entry.name}: {count} numbers in {entry.end - entry.begin} bytes")
    return entry


# -------------------------------------------------------------------------------------------------- 2. Canonical JSON

JSON_KEY = re.compile(r"[!-~]{1,200}")
JSON_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"?|([\[{])|([\]}])', re.DOTALL)
SURROGATE = re.compile("[\ud800-\udfff]")
DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,8})(?:\.[0-9]{0,8}[1-9])?")


def parse_canonical(content: bytes) -> Json:
    if len(content) > MAX_MANIFEST:
        refuse("manifest-too-large", f"{len(content)} bytes")
    if sum(content.count(mark) for mark in (b",", b"[", b"{")) > MAX_MARKS:
        refuse("too-many-values", f"more than {MAX_MARKS} of , [ {{")
    level = 0
    for token in JSON_TOKEN.finditer(content):
        if token[1]:
            level += 1
            if level > MAX_LEVELS:
                refuse("too-deep", f"more than {MAX_LEVELS} levels")
        elif token[2]:
            level -= 1
    try:
        text = content.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=json_object,
            parse_int=json_integer,
            parse_float=json_other_number,
            parse_constant=json_other_number,
        )
    except ValueError as error:
        refuse("bad-json", str(error))
    for string in strings_of(value):
        if SURROGATE.search(string):
            refuse("bad-json", "a lone surrogate")
    if json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")) != text:
        refuse("not-canonical", "not in the one form")
    return value


def json_object(members: list[tuple[str, Json]]) -> dict[str, Json]:
    for key, _ in members:
        if not JSON_KEY.fullmatch(key):
            refuse("bad-json", f"key {key!r}")
    found = dict(members)
    if len(found) < len(members):
        refuse("duplicate-key", "a key twice")
    return found


def json_integer(digits: str) -> int:
    if len(digits) > 17 or abs(int(digits)) > MAX_JSON_NUMBER:
        refuse("bad-json", "a number beyond the limits")
    return int(digits)


def json_other_number(text: str) -> NoReturn:
    refuse("bad-json", f"{text[:40]} is not whole")


def strings_of(value: Json) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from strings_of(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings_of(item)


def decimal(text: str, rule: str) -> Fraction:
    if text == "-0" or not DECIMAL.fullmatch(text):
        refuse(rule, f"{text!r} is no decimal")
    return Fraction(text)


# -------------------------------------------------------------------------------------------- 3. Manifest: its types

Check = Callable[[Json, str], None]


def string(value: Json, where: str) -> None:
    if not isinstance(value, str):
        refuse("bad-manifest", f"{where} is no string")


def integer(value: Json, where: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        refuse("bad-manifest", f"{where} is no integer")


def boolean(value: Json, where: str) -> None:
    if not isinstance(value, bool):
        refuse("bad-manifest", f"{where} is no boolean")


def free(value: Json, where: str) -> None:
    if not isinstance(value, dict):
        refuse("bad-manifest", f"{where} is no object")


def digest(value: Json, where: str) -> None:
    string(value, where)
    if not re.fullmatch("[0-9a-f]{64}", value):
        refuse("bad-hash", f"{where}: {value!r}")


def one_of(*values: str) -> Check:
    def check(value: Json, where: str) -> None:
        string(value, where)
        if value not in values:
            refuse("bad-manifest", f"{where}: {value!r}")

    return check


def or_null(inner: Check) -> Check:
    def check(value: Json, where: str) -> None:
        if value is not None:
            inner(value, where)

    return check


def array(inner: Check) -> Check:
    def check(value: Json, where: str) -> None:
        if not isinstance(value, list):
            refuse("bad-manifest", f"{where} is no array")
        for index, item in enumerate(value):
            inner(item, f"{where}[{index}]")

    return check


def mapping(inner: Check) -> Check:
    def check(value: Json, where: str) -> None:
        free(value, where)
        for key, item in value.items():
            inner(item, f"{where}.{key}")

    return check


def structure(**members: Check) -> Check:
    def check(value: Json, where: str) -> None:
        free(value, where)
        if value.keys() != members.keys():
            refuse("bad-manifest", f"{where}: {sorted(value.keys() ^ members.keys())}")
        for key, inner in members.items():
            inner(value[key], f"{where}.{key}")

    return check


IMAGES = structure(images=integer, data_sha256=or_null(digest))
TENSOR = structure(
    name=string,
    dtype=string,
    layout=string,
    meaning=string,
    shape=array(integer),
    quantised=or_null(structure(scale_bits=string, zero_point=integer)),
)
ARTIFACT = structure(
    net=string,
    base=or_null(string),
    macs=integer,
    requires=mapping(string),
    quality=or_null(
        structure(
            metric=string,
            value=string,
            larger_is_better=boolean,
            count=integer,
            data_sha256=or_null(digest),
            agreement=or_null(string),
        )
    ),
    files=array(structure(path=string, bytes=integer, sha256=digest)),
    explained_bytes=integer,
    literal_bytes=integer,
    template_bytes=integer,
    template_sha256=digest,
    recipe_bytes=integer,
    recipe_sha256=digest,
)
VARIANT = structure(
    id=string,
    target=string,
    precision=string,
    backend=string,
    normalisation=string,
    input=string,
    form=string,
    suffix=string,
    directory=boolean,
    inputs=array(TENSOR),
    outputs=array(TENSOR),
    exporters=mapping(string),
    artifacts=array(ARTIFACT),
)
NET = structure(
    id=string,
    widths=array(integer),
    cut=array(integer),
    params=integer,
    fold_sha256=or_null(digest),
    quant_sha256=or_null(digest),
)
MASTER = structure(
    name=string,
    role=one_of("weight", "tensor", "own"),
    dtype=one_of("f32", "f16", "i8", "i32"),
    axes=array(array(integer)),
    rows=integer,
    groups=integer,
    in_scale=boolean,
    scale=boolean,
    shift=boolean,
    bias=or_null(string),
    integers=one_of("none", "shared", "own"),
    correction=boolean,
    of=or_null(string),
    sha256=or_null(digest),
    step_sha256=or_null(digest),
)
IMAGE = structure(
    channels=integer,
    height=integer,
    width=integer,
    order=one_of("rgb", "bgr", "gray"),
    mean=array(string),
    std=array(string),
    resize=one_of("short_side", "stretch", "letterbox"),
    crop=string,
    interpolation=one_of("nearest", "bilinear", "bicubic"),
    antialias=boolean,
    range=one_of("full", "video"),
    pad=integer,
)
INPUT_TENSOR = structure(
    name=string,
    image=or_null(IMAGE),
    tensor=or_null(structure(shape=array(integer), dtype=string, meaning=string)),
)
MANIFEST = structure(
    required_features=array(string),
    model=structure(
        id=string,
        version=string,
        author=string,
        licence=string,
        source=string,
        attribution=string,
        description=string,
        spec=free,
    ),
    task=one_of("classify", "detect", "segment", "pose", "upscale", "policy", "other"),
    task_spec=free,
    labels=or_null(array(string)),
    low=integer,
    high=integer,
    inputs=array(structure(id=string, tensors=array(INPUT_TENSOR))),
    parts=array(structure(name=string, size=integer, optional=boolean)),
    masters=array(MASTER),
    nets=array(NET),
    variants=array(VARIANT),
    policy=or_null(free),
    checkpoint_sha256=or_null(digest),
    calibration=or_null(IMAGES),
    ranges=or_null(IMAGES),
    extra=free,
)

# -------------------------------------------------------------------------------- 3. Manifest: its lines and its rules

INPUT_ID = re.compile("[a-z0-9]([a-z0-9_-]{0,30}[a-z0-9])?")
PART_NAME = re.compile("[A-Za-z0-9_]([A-Za-z0-9_.-]{0,150}[A-Za-z0-9_])?")
LABEL = re.compile("[a-z]([a-z0-9_.-]{0,62}[a-z0-9])?")
VARIANT_ID = re.compile("[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?")
SUFFIX = re.compile(r"\.[a-z0-9]{1,16}")
PATH_PART = re.compile("[A-Za-z0-9_]([A-Za-z0-9_.-]{0,98}[A-Za-z0-9_-])?")
DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
CHANNELS = {"rgb": 3, "bgr": 3, "gray": 1}
SCALE_BITS = re.compile("[0-9a-f]{8}")


def named(pattern: re.Pattern[str], name: str) -> None:
    if not pattern.fullmatch(name):
        refuse("bad-name", repr(name))


def ascending(keys: Sequence[str], duplicate: str, order: str) -> None:
    if len(set(keys)) < len(keys):
        refuse(duplicate, "one twice")
    if sorted(keys) != list(keys):
        refuse(order, "do not ascend")


def check_manifest(manifest: Json) -> None:
    """Everything about the manifest that can be said without cuts."""
    features = manifest.get("required_features") if isinstance(manifest, dict) else None
    if isinstance(features, list) and features and all(isinstance(feature, str) for feature in features):
        refuse("unknown-feature", str(features))
    MANIFEST(manifest, "manifest")
    if not 1 <= manifest["low"] <= manifest["high"] <= 100_000:
        refuse("bad-range", f"{manifest['low']} to {manifest['high']}")
    for images in (manifest["calibration"], manifest["ranges"]):
        if images is not None and images["images"] < 1:
            refuse("bad-calibration", "no images")
    check_inputs(manifest["inputs"])
    check_parts(manifest["parts"])
    check_masters(manifest["masters"], [part["size"] for part in manifest["parts"]])
    check_nets(manifest)
    check_variants(manifest)


def check_inputs(inputs: Json) -> None:
    if not inputs:
        refuse("bad-input", "no input")
    for one in inputs:
        named(INPUT_ID, one["id"])
        if not one["tensors"]:
            refuse("bad-input", "an input of no tensors")
        if len({tensor["name"] for tensor in one["tensors"]}) < len(one["tensors"]):
            refuse("bad-input", "a name twice")
        for tensor in one["tensors"]:
            if (tensor["image"] is None) == (tensor["tensor"] is None):
                refuse("bad-input", "exactly one of image and tensor")
            if tensor["image"] is not None:
                check_image(tensor["image"])
            else:
                shape = tensor["tensor"]["shape"]
                if not 1 <= len(shape) <= 8:
                    refuse("bad-input", f"{len(shape)} dimensions")
                if not all(1 <= dim <= MAX_AXIS for dim in shape):
                    refuse("bad-input", f"shape {shape}")
    ascending([one["id"] for one in inputs], "duplicate-input", "input-order")


def check_image(image: Json) -> None:
    size = [image["channels"], image["height"], image["width"]]
    if not all(1 <= length <= 65_536 for length in size):
        refuse("bad-input", f"an image of {size}")
    if image["height"] * image["width"] > 2**26:
        refuse("bad-input", f"an image of {size}")
    if image["channels"] != CHANNELS[image["order"]]:
        refuse("bad-input", "channels and order")
    if len(image["mean"]) != image["channels"]:
        refuse("bad-input", "one mean per channel")
    if len(image["std"]) != image["channels"]:
        refuse("bad-input", "one std per channel")
    for mean in image["mean"]:
        decimal(mean, "bad-input")
    for std in image["std"]:
        if decimal(std, "bad-input") <= 0:
            refuse("bad-input", "std is above 0")
    crop = decimal(image["crop"], "bad-input")
    if not 0 < crop <= 1:
        refuse("bad-input", "crop is above 0 and at most 1")
    if image["resize"] == "letterbox" and crop != 1:
        refuse("bad-input", "the crop of a letterbox is 1")
    if image["interpolation"] == "nearest" and image["antialias"]:
        refuse("bad-input", "antialias is false for nearest")
    if not 0 <= image["pad"] <= 255:
        refuse("bad-input", f"pad {image['pad']}")


def check_parts(parts: Json) -> None:
    if not parts:
        refuse("bad-part", "no part")
    for part in parts:
        named(PART_NAME, part["name"])
        if not 1 <= part["size"] <= MAX_AXIS:
            refuse("bad-part", f"size {part['size']}")
    if len({part["name"].lower() for part in parts}) < len(parts):
        refuse("duplicate-part", "two parts with one name")


def full_shape(master: Json, sizes: Sequence[int]) -> list[int]:
    return [sum(sizes[part] for part in axis) for axis in master["axes"]]


def channels_of(master: Json, sizes: Sequence[int], cut: Sequence[int]) -> tuple[int, int]:
    """How many input and output channels a weight has at a net."""
    length = [sum(cut[part] for part in axis) for axis in master["axes"][:2]]
    group = full_shape(master, sizes)[0] // master["groups"]
    kept, last, start = 0, -1, 0
    for part in master["axes"][0]:
        if cut[part]:
            first = max(start // group, last + 1)
            last = (start + cut[part] - 1) // group
            kept += last - first + 1
        start += sizes[part]
    along = (length[0], kept * length[1])
    return (along[1], along[0]) if master["rows"] == 0 else along


def check_masters(masters: Json, sizes: Sequence[int]) -> None:
    if not masters:
        refuse("bad-master", "no master")
    for master in masters:
        named(PART_NAME, master["name"])
    if len({master["name"].lower() for master in masters}) < len(masters):
        refuse("duplicate-master", "two masters with one name")
    by_name = {master["name"]: master for master in masters}
    earlier: dict[str, Json] = {}
    for master in masters:
        check_master(master, by_name, earlier, sizes)
        earlier[master["name"]] = master


def check_master(master: Json, by_name: dict[str, Json], earlier: dict[str, Json], sizes: Sequence[int]) -> None:
    def bad(message: str) -> NoReturn:
        refuse("bad-master", f"{master['name']}: {message}")

    role, dtype, integers = master["role"], master["dtype"], master["integers"]
    weight = role == "weight"
    if weight and dtype == "i32":
        bad("a weight is not i32")
    if role == "own" and dtype != "f32":
        bad("an own master is f32")
    if not 1 <= len(master["axes"]) <= 6:
        bad(f"{len(master['axes'])} axes")
    for axis in master["axes"]:
        if not axis:
            bad("an axis without a part")
        if not all(0 <= part < len(sizes) for part in axis):
            bad("a part that is not there")
    shape = full_shape(master, sizes)
    if max(shape) > MAX_AXIS:
        bad(f"{max(shape)} positions along an axis")
    if math.prod(shape) > MAX_MASTER:
        bad(f"{math.prod(shape)} positions")
    if weight and len(shape) < 2:
        bad("a weight of one axis")
    if master["rows"] not in ((0, 1) if weight else (0,)):
        bad(f"rows {master['rows']}")
    if not 1 <= master["groups"] <= (shape[0] if weight else 1):
        bad(f"{master['groups']} groups")
    if shape[0] % master["groups"]:
        bad("groups do not divide axis 0")
    if not weight and (master["in_scale"] or master["scale"] or master["shift"]):
        bad("only weights are scaled")
    if not weight and integers != "none":
        bad("only weights have integers")
    if dtype == "i8" and weight:
        if integers != "shared":
            bad("the integers of an i8 weight are shared")
        if master["in_scale"]:
            bad("an i8 weight has no in_scale")
    if master["bias"] is not None:
        if not weight or master["shift"]:
            bad("a bias that is not due")
        bias = by_name.get(master["bias"])
        if bias is None or bias["role"] != "tensor" or bias["dtype"] not in ("f32", "f16"):
            bad("its bias is no floating tensor")
        if len(bias["axes"]) != 1 or not all(0 <= part < len(sizes) for part in bias["axes"][0]):
            bad("its bias has one axis")
        if full_shape(bias, sizes)[0] != channels_of(master, sizes, sizes)[1]:
            bad("its bias has another length")
    if master["correction"] and integers == "none":
        bad("a correction without integers")
    if master["correction"] and not master["shift"] and master["bias"] is None:
        bad("a correction without a bias")
    if master["of"] is not None:
        other = earlier.get(master["of"])
        if other is None or other["sha256"] is None:
            bad("no earlier master with a tensor")
        if (other["role"], other["dtype"], full_shape(other, sizes)) != (role, dtype, shape):
            bad("another role, type or shape than the master whose tensor it shares")
        if weight and dtype == "i8" and (other["rows"], other["groups"]) != (master["rows"], master["groups"]):
            bad("steps along another axis")
    if (master["sha256"] is None) != (role == "own" or master["of"] is not None):
        bad("sha256")
    if (master["step_sha256"] is not None) != (weight and dtype == "i8" and master["of"] is None):
        bad("step_sha256")


def fold_count(manifest: Json, cut: Sequence[int]) -> int:
    sizes = [part["size"] for part in manifest["parts"]]
    count = 0
    for master in manifest["masters"]:
        if master["role"] == "own":
            count += math.prod(sum(cut[part] for part in axis) for axis in master["axes"])
        elif master["role"] == "weight":
            inputs, outputs = channels_of(master, sizes, cut)
            count += inputs * master["in_scale"] + outputs * (master["scale"] + master["shift"])
    return count


def quant_bytes(manifest: Json, cut: Sequence[int]) -> int:
    sizes = [part["size"] for part in manifest["parts"]]
    count = 0
    for master in manifest["masters"]:
        if master["integers"] != "none":
            outputs = channels_of(master, sizes, cut)[1]
            count += 4 + 4 * outputs * (master["integers"] == "own") + 2 * outputs * master["correction"]
    return count


def check_nets(manifest: Json) -> None:
    nets, parts, masters = manifest["nets"], manifest["parts"], manifest["masters"]
    sizes = [part["size"] for part in parts]
    by_name = {master["name"]: master for master in masters}
    if not nets:
        refuse("no-net", "no net")
    if len(nets) * sum(len(axis) for master in masters for axis in master["axes"]) > MAX_CUTS:
        refuse("too-many-values", "nets times axes")
    for net in nets:
        if net["params"] < 0:
            refuse("bad-net", "negative params")
        widths = net["widths"]
        if not all(1 <= width <= 100_000 for width in widths):
            refuse("bad-net", f"widths {widths}")
        if not widths:
            named(LABEL, net["id"])
        elif net["id"] != f"{min(widths):04}":
            refuse("bad-net", f"{net['id']} is not the smallest width")
        if len(set(widths)) < len(widths):
            refuse("duplicate-net", "a width twice")
        if sorted(widths) != widths:
            refuse("net-order", "widths do not ascend")
        cut = net["cut"]
        if len(cut) != len(parts):
            refuse("bad-cut", f"{net['id']}: {len(cut)} numbers")
        for part, left in zip(parts, cut, strict=True):
            if not (0 if part["optional"] else 1) <= left <= part["size"]:
                refuse("bad-cut", f"{net['id']}: {left} of {part['name']}")
        for master in masters:
            if not all(any(cut[part] for part in axis) for axis in master["axes"]):
                refuse("bad-cut", f"{net['id']}: nothing left of {master['name']}")
        for master in masters:
            if master["bias"] is not None:
                (axis,) = by_name[master["bias"]]["axes"]
                if sum(cut[part] for part in axis) != channels_of(master, sizes, cut)[1]:
                    refuse("bad-cut", f"{net['id']}: another length of {master['bias']}")
        count = fold_count(manifest, cut)
        if (count == 0) != (net["fold_sha256"] is None):
            refuse("bad-fold", net["id"])
        if count > MAX_FOLD:
            refuse("inflate-limit", f"a fold of {count} numbers")
        if net["quant_sha256"] is not None and quant_bytes(manifest, cut) > MAX_QUANT:
            refuse("inflate-limit", "a quant of too many bytes")
    widths = [width for net in nets for width in net["widths"]]
    if len(set(widths)) < len(widths):
        refuse("duplicate-net", "a width twice")
    ascending([net["id"] for net in nets], "duplicate-net", "net-order")
    if len({(*net["cut"], net["fold_sha256"], net["quant_sha256"]) for net in nets}) < len(nets):
        refuse("duplicate-net", "two nets are the same")


def check_variants(manifest: Json) -> None:
    inputs = {one["id"]: [tensor["name"] for tensor in one["tensors"]] for one in manifest["inputs"]}
    nets = {net["id"] for net in manifest["nets"]}
    bases = {
        f"{variant['id']}/{artifact['net']}": artifact["base"]
        for variant in manifest["variants"]
        for artifact in variant["artifacts"]
    }
    for variant in manifest["variants"]:
        named(VARIANT_ID, variant["id"])
        if not variant["id"].startswith(variant["target"] + "-"):
            refuse("bad-name", f"{variant['id']} is not of {variant['target']}")
        named(SUFFIX, variant["suffix"])
        if variant["input"] not in inputs:
            refuse("bad-variant", f"input {variant['input']}")
        if [tensor["name"] for tensor in variant["inputs"]] != inputs[variant["input"]]:
            refuse("bad-variant", "inputs are named otherwise")
        if not variant["outputs"]:
            refuse("bad-variant", "no outputs")
        if len({tensor["name"] for tensor in variant["outputs"]}) < len(variant["outputs"]):
            refuse("bad-variant", "an output twice")
        for tensor in variant["inputs"] + variant["outputs"]:
            check_tensor(tensor)
        if not variant["artifacts"]:
            refuse("bad-variant", "no artifacts")
        for artifact in variant["artifacts"]:
            if artifact["net"] not in nets:
                refuse("unknown-net", artifact["net"])
            base, steps = artifact["base"], 0
            while base is not None:
                steps += 1
                if steps > MAX_BASES:
                    refuse("bad-base", f"{artifact['base']}: more than {MAX_BASES} steps")
                if base not in bases:
                    refuse("bad-base", f"{base} is not there")
                base = bases[base]
            check_artifact(artifact, variant["directory"])
        ascending([artifact["net"] for artifact in variant["artifacts"]], "duplicate-artifact", "artifact-order")
    ascending([variant["id"] for variant in manifest["variants"]], "duplicate-variant", "variant-order")


def check_tensor(tensor: Json) -> None:
    if len(tensor["shape"]) > 8:
        refuse("bad-variant", "more than 8 dimensions")
    if not all(1 <= dim <= MAX_AXIS for dim in tensor["shape"]):
        refuse("bad-variant", f"shape {tensor['shape']}")
    if tensor["quantised"] is not None:
        bits = tensor["quantised"]["scale_bits"]
        if not SCALE_BITS.fullmatch(bits):
            refuse("bad-variant", f"scale_bits {bits!r}")
        (scale,) = struct.unpack(">f", bytes.fromhex(bits))
        if not 0 < scale < math.inf:
            refuse("bad-variant", f"a scale of {scale}")


def check_artifact(artifact: Json, directory: bool) -> None:
    for member in ("macs", "explained_bytes", "literal_bytes"):
        if artifact[member] < 0:
            refuse("bad-artifact", f"negative {member}")
    quality = artifact["quality"]
    if quality is not None:
        decimal(quality["value"], "bad-artifact")
        if quality["agreement"] is not None:
            decimal(quality["agreement"], "bad-artifact")
        if quality["count"] < 1:
            refuse("bad-artifact", "a quality of no samples")
    files = artifact["files"]
    if not 1 <= len(files) <= (64 if directory else 1):
        refuse("bad-artifact", f"{len(files)} files")
    for file in files:
        if not 0 <= file["bytes"] <= 2**32:
            refuse("bad-artifact", f"a file of {file['bytes']} bytes")
    check_paths([file["path"] for file in files], directory)
    total = sum(file["bytes"] for file in files)
    if not 1 <= artifact["template_bytes"] <= min(MAX_TEMPLATE, total):
        refuse("inflate-limit", f"a template of {artifact['template_bytes']} bytes")
    if not 1 <= artifact["recipe_bytes"] <= MAX_RECIPE:
        refuse("inflate-limit", f"a recipe of {artifact['recipe_bytes']} bytes")


def check_paths(paths: Sequence[str], directory: bool) -> None:
    folders = set()
    for path in paths:
        parts = path.split("/")
        if len(parts) > (16 if directory else 1):
            refuse("bad-path", f"{path!r} has {len(parts)} names")
        for part in parts:
            if not PATH_PART.fullmatch(part):
                refuse("bad-path", repr(path))
            if DEVICE.fullmatch(part.lower()):
                refuse("bad-path", f"{path!r} is a device")
        folders |= {"/".join(parts[:count]).lower() for count in range(1, len(parts))}
    if sorted(paths) != list(paths):
        refuse("bad-path", "paths do not ascend")
    lower = {path.lower() for path in paths}
    if len(lower) < len(paths):
        refuse("bad-path", "a path twice")
    if lower & folders:
        refuse("bad-path", "a file and a folder of one name")


# ------------------------------------------------------------------------------------------------------- 7. Streams


def inflate(
    stored: memoryview,
    sizes: Sequence[int],
    dictionary: Callable[[list[bytes]], bytes],
    what: str,
    wanted: int | None = None,
) -> list[bytes]:
    """The contents of zlib streams that stand one after another; nothing may follow the last.

    `dictionary` gets the contents before a stream and says what the stream's preset dictionary is. With `wanted` only
    so many streams are inflated, and what follows them is not looked at.
    """
    if sum(sizes) > MAX_RATIO * len(stored):
        refuse("inflate-limit", f"{what}: {sum(sizes)} bytes in {len(stored)}")
    contents: list[bytes] = []
    place = 0
    for size in sizes[:wanted]:
        preset = dictionary(contents)
        if place + 2 <= len(stored) and bool(stored[place + 1] & 0x20) != bool(preset):
            refuse("bad-deflate", f"{what}: a dictionary that is not due, or none")
        inflater = zlib.decompressobj(zdict=preset) if preset else zlib.decompressobj()
        content = b""
        try:
            while not inflater.eof:
                if place == len(stored):
                    refuse("bad-deflate", f"{what}: cut off")
                given = stored[place : place + 16384]
                content += inflater.decompress(given, size - len(content) + 1)
                if len(content) > size:
                    refuse("inflate-limit", f"{what}: more than declared")
                place += len(given) - len(inflater.unused_data) - len(inflater.unconsumed_tail)
        except zlib.error as error:
            refuse("bad-deflate", f"{what}: {error}")
        if len(content) < size:
            refuse("bad-deflate", f"{what}: less than declared")
        contents.append(content)
    if wanted is None and place < len(stored):
        refuse("bad-deflate", f"{what}: bytes after the last stream")
    return contents


def no_dictionary(contents: list[bytes]) -> bytes:
    return b""


# -------------------------------------------------------------------------------------------------------- 6. Recipes


@dataclass(frozen=True)
class Segment:
    offset: int
    size: int
    master: int
    kind: int
    hashed: bool
    rule: int
    layout: int
    first: int
    rows: int


class Numbers:
    """The LEB128 numbers of a recipe, one after another."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.place = 0

    def next(self) -> int:
        value = 0
        for index in range(8):
            if self.place == len(self.content):
                refuse("bad-recipe", "a number cut off")
            byte = self.content[self.place]
            self.place += 1
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if byte == 0 and index:
                    refuse("bad-recipe", "a number not in its shortest form")
                if value >= 2**53:
                    refuse("bad-recipe", "a number of 2^53 or more")
                return value
        refuse("bad-recipe", "a number of more than 8 bytes")


def permutation(layout: int, axes: int) -> tuple[int, ...]:
    if layout >= math.factorial(axes):
        refuse("unknown-code", f"layout {layout} of {axes} axes")
    return next(itertools.islice(itertools.permutations(range(axes)), layout, None))


# ------------------------------------------------------------------------------------------- 4., 5. Constants of a net


def product(left: Array, right: Array) -> Floats:
    with np.errstate(all="ignore"):
        value: Floats = np.multiply(left, right, dtype=np.float32)
    if not np.isfinite(value).all():
        refuse("non-finite", "a product")
    return value


def finite(value: Array, what: str) -> Array:
    if not np.isfinite(value).all():
        refuse("non-finite", what)
    return value


def quotient(left: Array | np.float32, right: Array | np.float32) -> Floats:
    with np.errstate(all="ignore"):
        value: Floats = np.divide(left, right, dtype=np.float32)
    return value


def nearest_integer(value: Floats, limit: int) -> Integers:
    """Rounded, ties to even, and clamped."""
    bounded = np.clip(value, np.float32(-(2.0**31)), np.float32(2.0**31))
    return np.clip(np.rint(bounded).astype(np.int64), -limit, limit)


def store(values: Array, rule: int) -> bytes:
    if rule == F32:
        return values.astype("<f4").tobytes()
    if rule == I8:
        return values.astype("i1").tobytes()
    if rule == I32:
        return values.astype("<i4").tobytes()
    with np.errstate(all="ignore"):
        half = values.astype(np.float16)
    if rule == F16_COREML:
        small = (np.abs(values) > np.float32(2.0**-149)) & (np.abs(half) <= np.float16(2.0**-24))
        half = np.where(small, np.copysign(np.float16(2.0**-24), values.astype(np.float32)).astype(np.float16), half)
    return half.astype("<f2").tobytes()


class Net:
    """The numbers of one net: its fold and its quant taken apart, and the constants made from them."""

    def __init__(self, bundle: Bundle, net: Json) -> None:
        self.bundle = bundle
        self.net = net
        self.in_scale: dict[int, Floats] = {}
        self.scale: dict[int, Floats] = {}
        self.shift: dict[int, Floats] = {}
        self.own: dict[int, Floats] = {}
        self.input_scale: dict[int, Floats] = {}
        self.own_scale: dict[int, Floats] = {}
        self.correction: dict[int, Integers] = {}
        self.constants: dict[tuple[int, int], Array] = {}
        if net["fold_sha256"] is not None:
            self.read_fold()
        if net["quant_sha256"] is not None:
            self.read_quant()

    def read_fold(self) -> None:
        what = f"fold/{self.net['id']}"
        size = 4 * fold_count(self.bundle.manifest, self.net["cut"])
        (shuffled,) = inflate(self.bundle.stored(what), [size], no_dictionary, what)
        content = np.frombuffer(shuffled, np.uint8).reshape(4, -1).T.tobytes()
        if sha256(content) != self.net["fold_sha256"]:
            refuse("hash-mismatch", what)
        numbers: Floats = np.frombuffer(content, "<f4").astype(np.float32)
        if not np.isfinite(numbers).all():
            refuse("non-finite", what)
        place = 0

        def take(count: int) -> Floats:
            nonlocal place
            place += count
            return numbers[place - count : place]

        for index, master in enumerate(self.bundle.masters):
            if master["role"] == "own":
                shape = self.shape(index, VECTOR)
                self.own[index] = take(math.prod(shape)).reshape(shape)
            elif master["role"] == "weight":
                inputs, outputs = self.channels(index)
                if master["in_scale"]:
                    self.in_scale[index] = take(inputs)
                if master["scale"]:
                    self.scale[index] = take(outputs)
                if master["shift"]:
                    self.shift[index] = take(outputs)

    def read_quant(self) -> None:
        what = f"quant/{self.net['id']}"
        size = quant_bytes(self.bundle.manifest, self.net["cut"])
        if size == 0:
            refuse("bad-quant", f"{what}: no weight has integers")
        (content,) = inflate(self.bundle.stored(what), [size], no_dictionary, what)
        if sha256(content) != self.net["quant_sha256"]:
            refuse("hash-mismatch", what)
        place = 0
        for index, master in enumerate(self.bundle.masters):
            if master["integers"] == "none":
                continue
            self.input_scale[index] = np.frombuffer(content, "<f4", 1, place).astype(np.float32)
            place += 4
            if not 2.0**-40 <= float(self.input_scale[index][0]) <= 2.0**40:
                refuse("bad-quant", f"{what}: an input scale of {self.input_scale[index][0]}")
            if master["integers"] == "own":
                outputs = self.channels(index)[1]
                scale: Floats = np.frombuffer(content, "<f4", outputs, place).astype(np.float32)
                self.own_scale[index] = scale
                place += 4 * outputs
                if not (np.isfinite(scale) & (scale >= SMALLEST_S)).all():
                    refuse("bad-quant", f"{what}: a scale of {master['name']}")
        for index, master in enumerate(self.bundle.masters):
            if master["correction"]:
                outputs = self.channels(index)[1]
                self.correction[index] = np.frombuffer(content, "<i2", outputs, place).astype(np.int64)
                place += 2 * outputs

    def channels(self, index: int) -> tuple[int, int]:
        return channels_of(self.bundle.masters[index], self.bundle.sizes, self.net["cut"])

    def positions(self, axis: Sequence[int]) -> Integers:
        runs, start = [], 0
        for part in axis:
            runs.append(np.arange(start, start + self.net["cut"][part]))
            start += self.bundle.sizes[part]
        return np.concatenate(runs)

    def shape(self, index: int, kind: int) -> tuple[int, ...]:
        """The shape of a constant; refuses what the master or the net does not have."""
        master = self.bundle.masters[index]
        weight, integers = master["role"] == "weight", master["integers"]
        if (kind == VECTOR) == weight:
            refuse("bad-reference", f"kind {kind} of {master['name']}")
        if kind in (BIAS, INT32_BIAS, DEQUANTISED_BIAS) and not master["shift"] and master["bias"] is None:
            refuse("bad-reference", f"{master['name']} has no bias")
        if kind >= INTEGERS and integers == "none":
            refuse("bad-reference", f"{master['name']} has no integers")
        needs_quant = kind in (INPUT_SCALE, BIAS_SCALE, INT32_BIAS, DEQUANTISED_BIAS) or (
            kind in (INTEGERS, WEIGHT_SCALE, DEQUANTISED_WEIGHT) and integers == "own"
        )
        if needs_quant and self.net["quant_sha256"] is None:
            refuse("bad-reference", f"{self.net['id']} has no quant")
        if kind in (WEIGHT, VECTOR, INTEGERS, DEQUANTISED_WEIGHT):
            return tuple(sum(self.net["cut"][part] for part in axis) for axis in master["axes"])
        return (1,) if kind == INPUT_SCALE else (self.channels(index)[1],)

    def cut(self, index: int) -> Array:
        master = self.bundle.masters[index]
        if master["role"] == "own":
            return self.own[index]
        whole = self.bundle.master(index)
        part = whole[np.ix_(*(self.positions(axis) for axis in master["axes"]))]
        return part.astype(np.float32) if master["dtype"] == "f16" else part

    def along(self, index: int) -> tuple[Integers, Integers, Integers]:
        """For every element of a weight's cut, to be broadcast: i, o, and O, the output channel in the master."""
        master = self.bundle.masters[index]
        first, second = (self.positions(axis) for axis in master["axes"][:2])
        group = self.bundle.full_shapes[index][0] // master["groups"]
        _, groups = np.unique(first // group, return_inverse=True)
        ones = (1,) * (len(master["axes"]) - 2)
        along_0 = np.arange(len(first)).reshape(-1, 1, *ones)
        along_1 = (groups[:, None] * len(second) + np.arange(len(second))).reshape(len(first), len(second), *ones)
        if master["rows"] == 0:
            return along_1, along_0, first.reshape(-1, 1, *ones)
        position = (first // group)[:, None] * self.bundle.full_shapes[index][1] + second
        return along_0, along_1, position.reshape(len(first), len(second), *ones)

    def step(self, index: int) -> Floats:
        """One step per output channel of the whole master."""
        master = self.bundle.masters[index]
        if master["dtype"] == "i8":
            return self.bundle.step(index)
        whole = finite(self.bundle.master(index).astype(np.float32), f"a step of {master['name']}")
        if master["rows"] == 0:
            return quotient(np.abs(whole).max(axis=tuple(range(1, whole.ndim))), np.float32(127))
        grouped = np.abs(whole).reshape(master["groups"], -1, *whole.shape[1:])
        return quotient(grouped.max(axis=(1, *range(3, grouped.ndim))).reshape(-1), np.float32(127))

    def per_output(self, index: int, values: Array) -> Floats:
        """From one number per element of axes 0 and 1 to one per output channel."""
        _, output, _ = self.along(index)
        result = np.zeros(self.channels(index)[1], np.float32)
        result[output.reshape(-1)] = np.broadcast_to(values, output.shape).reshape(-1)
        return result

    def constant(self, index: int, kind: int) -> Array:
        if (index, kind) not in self.constants:
            value = self.make(index, kind)
            assert value.shape == self.shape(index, kind)
            self.constants[index, kind] = value
        return self.constants[index, kind]

    def make(self, index: int, kind: int) -> Array:
        if kind == WEIGHT:
            return self.weight(index)
        if kind == BIAS:
            return self.bias(index)
        if kind == VECTOR:
            return self.cut(index)
        if kind == INTEGERS:
            return self.integers(index)[0]
        if kind == WEIGHT_SCALE:
            return self.integers(index)[1]
        if kind == INPUT_SCALE:
            return self.input_scale[index]
        if kind == DEQUANTISED_WEIGHT:
            _, outputs, _ = self.along(index)
            s = self.constant(index, WEIGHT_SCALE)[outputs]
            return product(self.constant(index, INTEGERS).astype(np.float32), s)
        bias_scale = product(self.constant(index, WEIGHT_SCALE), self.input_scale[index])
        if kind == BIAS_SCALE:
            return bias_scale
        if kind == DEQUANTISED_BIAS:
            return product(self.constant(index, INT32_BIAS).astype(np.float32), bias_scale)
        with np.errstate(all="ignore"):
            bias = finite(self.bias(index), "a bias")
            scaled: Floats = np.multiply(bias, quotient(np.float32(1), bias_scale), dtype=np.float32)
        value = nearest_integer(scaled, 2**31 - 1)
        if index in self.correction:
            value = np.clip(value + self.correction[index], -(2**31 - 1), 2**31 - 1)
        return value

    def weight(self, index: int) -> Floats:
        inputs, outputs, rows = self.along(index)
        value = self.cut(index)
        if value.dtype == np.int8:
            value = product(value.astype(np.float32), self.step(index)[rows])
        if index in self.in_scale:
            value = product(value, self.in_scale[index][inputs])
        if index in self.scale:
            value = product(value, self.scale[index][outputs])
        return value

    def bias(self, index: int) -> Floats:
        if index in self.shift:
            return self.shift[index]
        name = self.bundle.masters[index]["bias"]
        (other,) = (number for number, master in enumerate(self.bundle.masters) if master["name"] == name)
        return self.cut(other)

    def integers(self, index: int) -> tuple[Integers, Floats]:
        _, outputs, rows = self.along(index)
        if self.bundle.masters[index]["integers"] == "own":
            s = self.own_scale[index]
            return nearest_integer(quotient(finite(self.weight(index), "a weight"), s[outputs]), 127), s
        cut = self.cut(index)
        step = self.step(index)[rows]
        s = self.per_output(index, step)
        sign = np.ones(len(s), np.int64)
        if index in self.scale:
            s = product(s, np.abs(self.scale[index]))
            sign[self.scale[index] < 0] = -1
        dead = s < SMALLEST_S
        if cut.dtype == np.int8:
            q = np.clip(cut.astype(np.int64), -127, 127)
        else:
            ratio = quotient(cut, step)
            q = nearest_integer(np.where(dead[outputs], np.float32(0), ratio), 127)
        q = q * sign[outputs]
        q[np.broadcast_to(dead[outputs], q.shape)] = 0
        return q, np.where(dead, DEAD_S, s)


# ---------------------------------------------------------------------------------------------------------- The bundle


class Bundle:
    """A bundle in memory; opening it checks header and manifest."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        manifest_sha256, self.entries, self.start = read_header(data)
        entry = self.entries.get("manifest")
        if entry is None:
            refuse("missing-tensor", "manifest")
        if entry.dtype != "U8" or len(entry.shape) != 1:
            refuse("tensor-mismatch", "manifest")
        if entry.shape[0] > MAX_MANIFEST:
            refuse("manifest-too-large", f"{entry.shape[0]} bytes")
        content = bytes(self.stored("manifest"))
        if sha256(content) != manifest_sha256:
            refuse("hash-mismatch", "manifest")
        self.manifest = parse_canonical(content)
        check_manifest(self.manifest)
        self.masters = self.manifest["masters"]
        self.sizes = [part["size"] for part in self.manifest["parts"]]
        self.full_shapes = [full_shape(master, self.sizes) for master in self.masters]
        self.nets = {net["id"]: net for net in self.manifest["nets"]}
        self.variants = {variant["id"]: variant for variant in self.manifest["variants"]}
        self.check_tensors()

    def check_tensors(self) -> None:
        expected: dict[str, tuple[str, tuple[int, ...] | None]] = {"manifest": ("U8", None)}
        for master, shape in zip(self.masters, self.full_shapes, strict=True):
            if master["sha256"] is not None:
                expected[f"master/{master['name']}"] = (master["dtype"].upper(), tuple(shape))
            if master["step_sha256"] is not None:
                expected[f"step/{master['name']}"] = ("F32", (channels_of(master, self.sizes, self.sizes)[1],))
        for net in self.manifest["nets"]:
            for word in ("fold", "quant"):
                if net[f"{word}_sha256"] is not None:
                    expected[f"{word}/{net['id']}"] = ("U8", None)
        for address in self.artifacts():
            expected[f"template/{address}"] = ("U8", None)
            expected[f"recipe/{address}"] = ("U8", None)
        for name in sorted(expected.keys() - self.entries.keys()):
            refuse("missing-tensor", name)
        for name in sorted(self.entries.keys() - expected.keys()):
            refuse("unexpected-tensor", name)
        for name, (dtype, dims) in expected.items():
            entry = self.entries[name]
            if entry.dtype != dtype:
                refuse("tensor-mismatch", f"{name}: {entry.dtype}")
            if len(entry.shape) != 1 if dims is None else entry.shape != dims:
                refuse("tensor-mismatch", f"{name}: {entry.shape}")

    def artifacts(self) -> list[str]:
        """The addresses of all artifacts, `<variant>/<net>`."""
        return [
            f"{variant['id']}/{artifact['net']}"
            for variant in self.manifest["variants"]
            for artifact in variant["artifacts"]
        ]

    def stored(self, name: str) -> memoryview:
        entry = self.entries[name]
        return memoryview(self.data)[self.start + entry.begin : self.start + entry.end]

    def tensor(self, name: str) -> Array:
        entry = self.entries[name]
        return np.frombuffer(self.stored(name), DTYPES[entry.dtype]).reshape(entry.shape)

    def tensor_name(self, index: int) -> str:
        """Whose tensor a master has: its own, or that of another."""
        return str(self.masters[index]["of"] or self.masters[index]["name"])

    def master(self, index: int) -> Array:
        return self.tensor(f"master/{self.tensor_name(index)}")

    def step(self, index: int) -> Floats:
        name = self.tensor_name(index)
        step: Floats = self.tensor(f"step/{name}").astype(np.float32)
        if not (np.isfinite(step) & (step >= 0)).all():
            refuse("bad-quant", f"a step of {name}")
        return step

    def artifact(self, address: str) -> Json:
        variant, _, net = address.partition("/")
        for artifact in self.variants[variant]["artifacts"]:
            if artifact["net"] == net:
                return artifact
        raise KeyError(address)

    def template(self, address: str, wanted: int | None = None) -> bytes:
        """The content of a template; with `wanted` only its first blocks, as many as hold so many bytes."""
        artifact = self.artifact(address)
        total = artifact["template_bytes"]
        sizes = [min(BLOCK, total - place) for place in range(0, total, BLOCK)]
        blocks = None if wanted is None else min(len(sizes), -(-wanted // BLOCK))
        base = b""
        if artifact["base"] is not None:
            last = (len(sizes[:blocks]) - 1) * BLOCK
            base = self.template(artifact["base"], max(0, last - BASE_BEFORE) + BASE_WINDOW)

        def dictionary(contents: list[bytes]) -> bytes:
            start = max(0, len(contents) * BLOCK - BASE_BEFORE)
            return base[start : start + BASE_WINDOW] + b"".join(contents[-3:])[-OWN_WINDOW:]

        what = f"template/{address}"
        return b"".join(inflate(self.stored(what), sizes, dictionary, what, blocks))

    def recipe(self, address: str, net: Net) -> list[Segment]:
        artifact = self.artifact(address)
        what = f"recipe/{address}"
        (content,) = inflate(self.stored(what), [artifact["recipe_bytes"]], no_dictionary, what)
        if sha256(content) != artifact["recipe_sha256"]:
            refuse("hash-mismatch", what)
        ends = list(itertools.accumulate(file["bytes"] for file in artifact["files"]))
        numbers = Numbers(content)
        count = numbers.next()
        if count > MAX_SEGMENTS:
            refuse("bad-recipe", f"{count} segments")
        segments = []
        place = 0
        for _ in range(count):
            segment = self.segment(numbers, place, net)
            place = segment.offset + segment.size
            end = next((end for end in ends if segment.offset < end), None)
            if end is None:
                refuse("segment-out-of-file", f"{what}: a segment after the last file")
            if place > end:
                refuse("segment-out-of-file", f"{what}: a segment ends after its file")
            segments.append(segment)
        if numbers.place < len(content):
            refuse("bad-recipe", f"{what}: bytes after the last segment")
        if artifact["template_bytes"] + sum(segment.size for segment in segments) != ends[-1]:
            refuse("template-size", address)
        return segments

    def segment(self, numbers: Numbers, place: int, net: Net) -> Segment:
        offset = place + numbers.next()
        index, kind, code = numbers.next(), numbers.next(), numbers.next()
        hashed, rule, layout = bool(code & 2), code >> 2 & 7, code >> 5
        if kind > DEQUANTISED_BIAS:
            refuse("unknown-code", f"kind {kind}")
        if rule > I32:
            refuse("unknown-code", f"rule {rule}")
        if index >= len(self.masters):
            refuse("bad-reference", f"master {index}")
        shape = net.shape(index, kind)
        permutation(layout, len(shape))
        wanted: tuple[int, ...] = (F32, F16, F16_COREML)
        if kind == INTEGERS:
            wanted = (I8,)
        elif kind == INT32_BIAS:
            wanted = (I32,)
        elif kind == VECTOR and self.masters[index]["dtype"] in ("i8", "i32"):
            wanted = (I8,) if self.masters[index]["dtype"] == "i8" else (I32,)
        if rule not in wanted:
            refuse("bad-reference", f"rule {rule} of kind {kind}")
        first, rows = 0, shape[0]
        if code & 1:
            first, rows = numbers.next(), numbers.next()
            if rows < 1:
                refuse("bad-reference", "no rows")
            if first + rows > shape[0]:
                refuse("bad-reference", "rows beyond the last")
        size = 64 if hashed else rows * math.prod(shape[1:]) * (4, 2, 2, 1, 4)[rule]
        return Segment(offset, size, index, kind, hashed, rule, layout, first, rows)

    def rebuild(self, address: str) -> dict[str, bytes]:
        """The files of an artifact."""
        artifact = self.artifact(address)
        total = sum(file["bytes"] for file in artifact["files"])
        if total > MAX_FILES:
            refuse("too-large", f"{address}: {total} bytes")
        net = Net(self, self.nets[artifact["net"]])
        segments = self.recipe(address, net)
        template = self.template(address)
        pieces = []
        place = taken = 0
        for segment in segments:
            gap = segment.offset - place
            pieces.append(template[taken : taken + gap])
            taken += gap
            pieces.append(self.write(segment, net))
            place = segment.offset + segment.size
        pieces.append(template[taken:])
        joined = b"".join(pieces)
        assert len(joined) == total
        files = {}
        place = 0
        for file in artifact["files"]:
            content = joined[place : place + file["bytes"]]
            place += file["bytes"]
            if sha256(content) != file["sha256"]:
                refuse("hash-mismatch", f"{address}: {file['path']}")
            files[file["path"]] = content
        return files

    def write(self, segment: Segment, net: Net) -> bytes:
        value = net.constant(segment.master, segment.kind)[segment.first : segment.first + segment.rows]
        content = store(value.transpose(permutation(segment.layout, value.ndim)), segment.rule)
        return sha256(content).encode() if segment.hashed else content

    def check(self, depth: str) -> None:
        """Depth `parts` or `files`: refuses what is damaged."""
        if depth not in ("parts", "files"):
            raise ValueError(depth)
        for index, master in enumerate(self.masters):
            if master["sha256"] is None:
                continue
            name = f"master/{master['name']}"
            if sha256(self.stored(name)) != master["sha256"]:
                refuse("hash-mismatch", name)
            if master["dtype"] in ("f32", "f16") and not np.isfinite(self.tensor(name)).all():
                refuse("non-finite", name)
            if master["step_sha256"] is not None:
                if sha256(self.stored(f"step/{master['name']}")) != master["step_sha256"]:
                    refuse("hash-mismatch", f"step/{master['name']}")
                self.step(index)
        nets = {name: Net(self, net) for name, net in self.nets.items()}
        for address in self.artifacts():
            artifact = self.artifact(address)
            self.recipe(address, nets[artifact["net"]])
            if sha256(self.template(address)) != artifact["template_sha256"]:
                refuse("hash-mismatch", f"template/{address}")
        if depth == "files":
            for address in self.artifacts():
                self.rebuild(address)
