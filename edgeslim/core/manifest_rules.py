"""Reading a manifest from strangers: every refusal names its rule (FORMAT.md, "Manifest").

text ─► canonical JSON ─► features known? ─► shape (dataclasses) ─► check_manifest ─► SlimManifest
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeslim.core.artifact_rules import ascending, check_artifact, check_hash
from edgeslim.core.canonical_json import parse_canonical
from edgeslim.core.constants import fold_numbers, quant_bytes
from edgeslim.core.cut import master_cut
from edgeslim.core.manifest import (
    Images,
    InputInfo,
    Master,
    Net,
    PlainInput,
    SlimManifest,
    TensorInfo,
    Variant,
    artifact_id,
    full_outputs,
    full_shape,
)
from edgeslim.core.strict_json import StrictJsonError, decode
from edgeslim.core.width import MAX_PERMILLE, net_id
from edgeslim.errors import FormatError, ImageError

MAX_MANIFEST_BYTES = 4 << 20
MAX_FOLD_NUMBERS = 1 << 20
MAX_QUANT_BYTES = 4 << 20
MAX_CUT_ENTRIES = 1 << 18
MAX_SIZE = 1 << 24  # of a part, an axis, a dimension of an input or output
MAX_NUMBERS = 1 << 32  # of a master
MAX_AXES = 6
MAX_BASES = 4  # from a template to its base, to the base of that …

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,150}[A-Za-z0-9_])?")
_INPUT_ID = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,30}[a-z0-9])?")
_LABEL = re.compile(r"[a-z](?:[a-z0-9_.-]{0,62}[a-z0-9])?")
_VARIANT_ID = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
_SUFFIX = re.compile(r"\.[a-z0-9]{1,16}")
_BITS = re.compile(r"[0-9a-f]{8}")


def parse_manifest(text: bytes) -> SlimManifest:
    """Read the manifest tensor.

    Raises:
        FormatError: naming the broken rule of FORMAT.md.
    """
    if len(text) > MAX_MANIFEST_BYTES:
        raise FormatError("manifest-too-large", f"{len(text)} bytes, at most {MAX_MANIFEST_BYTES} are allowed")
    document: Any = parse_canonical(text)
    features = document.get("required_features") if isinstance(document, dict) else None
    if isinstance(features, list) and features:  # first: other fields may look different with a feature
        raise FormatError(
            "unknown-feature",
            f"the bundle needs {str(features[0])[:80]!r}, which this reader does not know",
            hint="update edgeslim",
        )
    try:
        manifest = decode(SlimManifest, document)
    except StrictJsonError as error:
        raise FormatError("bad-manifest", str(error)) from None
    except ImageError as error:  # a contract cannot be made that images could not be fed to
        raise FormatError("bad-input", error.message) from None
    check_manifest(manifest)
    return manifest


def check_manifest(manifest: SlimManifest) -> None:
    """Raise FormatError for the first rule that ``manifest`` breaks."""
    if not 1 <= manifest.low <= manifest.high <= MAX_PERMILLE:
        raise FormatError("bad-range", f"trained from {manifest.low} to {manifest.high} permille")
    check_hash(manifest.checkpoint_sha256, "the checkpoint")
    for images in (manifest.calibration, manifest.ranges):
        _check_images(images)
    _check_inputs(manifest.inputs)
    _check_parts(manifest)
    _check_masters(manifest)
    _check_nets(manifest)
    ascending([variant.id for variant in manifest.variants], "duplicate-variant", "variant-order", "variant")
    for variant in manifest.variants:
        _check_variant(variant, manifest)
    _check_bases(manifest)


def _check_images(images: Images | None) -> None:
    if images is not None:
        check_hash(images.data_sha256, "the images")
        if images.images < 1:
            raise FormatError("bad-calibration", f"statistics of {images.images} images")


# Inputs


def _check_inputs(inputs: Sequence[InputInfo]) -> None:
    if not inputs:
        raise FormatError("bad-input", "the bundle describes no input")
    for info in inputs:
        if _INPUT_ID.fullmatch(info.id) is None:
            raise FormatError("bad-name", f"an input cannot be called {info.id[:80]!r}")
        names = [tensor.name for tensor in info.tensors]
        if not names or len(set(names)) < len(names):
            raise FormatError("bad-input", f"input {info.id} has no tensors, or two with one name")
        for tensor in info.tensors:
            if (tensor.image is None) == (tensor.tensor is None):
                raise FormatError("bad-input", f"input {info.id} holds what is neither an image nor a plain tensor")
            if tensor.tensor is not None:
                _check_plain(tensor.tensor)
    ascending([info.id for info in inputs], "duplicate-input", "input-order", "input")


def _check_plain(tensor: PlainInput) -> None:
    if not 1 <= len(tensor.shape) <= 8 or not all(1 <= size <= MAX_SIZE for size in tensor.shape):
        raise FormatError("bad-input", f"a tensor of shape {list(tensor.shape)[:9]}")


# Parts, masters, nets


def _check_parts(manifest: SlimManifest) -> None:
    if not manifest.parts:
        raise FormatError("bad-part", "the bundle has no parts")
    for part in manifest.parts:
        if _NAME.fullmatch(part.name) is None:
            raise FormatError("bad-name", f"a part cannot be called {part.name[:200]!r}")
        if not 1 <= part.size <= MAX_SIZE:
            raise FormatError("bad-part", f"part {part.name!r} has {part.size} positions")
    _distinct([part.name for part in manifest.parts], "duplicate-part", "part")


def _check_masters(manifest: SlimManifest) -> None:
    if not manifest.masters:
        raise FormatError("bad-master", "the net has no masters")
    for master in manifest.masters:
        if _NAME.fullmatch(master.name) is None:
            raise FormatError("bad-name", f"a master cannot be called {master.name[:200]!r}")
        check_hash(master.sha256, master.name)
        check_hash(master.step_sha256, master.name)
        broken = _broken(master, manifest)
        if broken:
            raise FormatError("bad-master", f"master {master.name!r}: {broken}")
    _distinct([master.name for master in manifest.masters], "duplicate-master", "master")
    earlier: dict[str, Master] = {}
    for master in manifest.masters:
        if master.of is not None:
            shared = earlier.get(master.of)
            if shared is None or _alike(shared, manifest) != _alike(master, manifest) or master.role == "own":
                raise FormatError("bad-master", f"{master.name!r} cannot share the tensor of {master.of[:200]!r}")
        else:
            earlier[master.name] = master
    named = {master.name: master for master in manifest.masters}
    for master in manifest.masters:
        if master.bias is not None:
            bias = named.get(master.bias)
            fits = bias is not None and bias.role == "tensor" and bias.dtype in ("f32", "f16") and len(bias.axes) == 1
            if bias is None or not fits or full_shape(bias, manifest.parts)[0] != full_outputs(master, manifest.parts):
                raise FormatError("bad-master", f"{master.bias[:200]!r} is no bias for {master.name!r}")


def _alike(master: Master, manifest: SlimManifest) -> tuple[object, ...]:
    """What two masters that share a tensor have in common."""
    steps = (master.rows, master.groups) if master.role == "weight" and master.dtype == "i8" else None
    return master.role, master.dtype, full_shape(master, manifest.parts), steps


def _broken(master: Master, manifest: SlimManifest) -> str | None:
    """What is wrong with a master's shape, or with what it says of itself."""
    if not 1 <= len(master.axes) <= MAX_AXES or not all(master.axes):
        return f"{len(master.axes)} axes, or one without parts"
    if not all(0 <= index < len(manifest.parts) for axis in master.axes for index in axis):
        return "a part that is not there"
    shape = full_shape(master, manifest.parts)
    if max(shape) > MAX_SIZE or math.prod(shape) > MAX_NUMBERS:
        return f"shape {list(shape)}"
    if (master.sha256 is None) != (master.role == "own" or master.of is not None):
        return "a hash is missing, or too many"
    if (master.step_sha256 is not None) != (master.role == "weight" and master.dtype == "i8" and master.of is None):
        return "steps go with int8 weights, and with nothing else"
    return _broken_weight(master, shape) if master.role == "weight" else _broken_other(master)


def _broken_weight(master: Master, shape: Sequence[int]) -> str | None:
    if master.dtype == "i32" or len(shape) < 2 or master.rows not in (0, 1):
        return f"a weight of {master.dtype}, {len(shape)} axes, rows along {master.rows}"
    if not 1 <= master.groups <= shape[0] or shape[0] % master.groups:
        return f"{shape[0]} rows in {master.groups} groups"
    if master.shift and master.bias is not None:
        return "a shift and a bias of its own"
    if master.dtype == "i8" and (master.integers != "shared" or master.in_scale):
        return "int8 masters have shared integers and no in_scale"
    if master.correction and (master.integers == "none" or not (master.shift or master.bias is not None)):
        return "corrections of a bias that is not there"
    return None


def _broken_other(master: Master) -> str | None:
    plain = master.rows == 0 and master.groups == 1 and master.bias is None and master.integers == "none"
    if not plain or master.in_scale or master.scale or master.shift or master.correction:
        return "only weights are scaled, grouped, biased or quantised"
    return "own numbers are f32" if master.role == "own" and master.dtype != "f32" else None


def _check_nets(manifest: SlimManifest) -> None:
    if not manifest.nets:
        raise FormatError("no-net", "the bundle holds no net")
    entries = sum(len(axis) for master in manifest.masters for axis in master.axes)
    if entries * len(manifest.nets) > MAX_CUT_ENTRIES:
        raise FormatError("too-many-values", f"{len(manifest.nets)} nets times {entries} parts along axes")
    widths: set[int] = set()
    for net in manifest.nets:
        _check_names(net)
        if widths & set(net.widths):
            raise FormatError("duplicate-net", f"a width of net {net.id} stands twice")
        widths.update(net.widths)
        check_hash(net.fold_sha256, net.id)
        check_hash(net.quant_sha256, net.id)
        if net.params < 0:
            raise FormatError("bad-net", f"net {net.id} has {net.params} parameters")
        _check_cut(net, manifest)
    ascending([net.id for net in manifest.nets], "duplicate-net", "net-order", "net")
    if len({(net.cut, net.fold_sha256, net.quant_sha256) for net in manifest.nets}) < len(manifest.nets):
        raise FormatError("duplicate-net", "two nets are the same: their widths are names of one")


def _check_names(net: Net) -> None:
    if not net.widths:
        if _LABEL.fullmatch(net.id) is None:
            raise FormatError("bad-name", f"a net cannot be called {net.id[:80]!r}")
        return
    if not all(1 <= width <= MAX_PERMILLE for width in net.widths):
        raise FormatError("bad-net", f"net {net.id[:80]!r} has a width outside 1 to {MAX_PERMILLE}")
    ascending(list(net.widths), "duplicate-net", "net-order", f"width of net {net.id[:80]!r}")
    if net.id != net_id(net.widths[0]):
        raise FormatError("bad-net", f"the net of width {net.widths[0]} is called {net.id[:80]!r}")


def _check_cut(net: Net, manifest: SlimManifest) -> None:
    if len(net.cut) != len(manifest.parts):
        raise FormatError("bad-cut", f"net {net.id} cuts {len(net.cut)} parts of {len(manifest.parts)}")
    for count, part in zip(net.cut, manifest.parts, strict=True):
        if not (0 if part.optional else 1) <= count <= part.size:
            raise FormatError("bad-cut", f"net {net.id} uses {count} of the {part.size} positions of {part.name!r}")
    cuts = {master.name: master_cut(master, manifest.parts, net.cut) for master in manifest.masters}
    for master in manifest.masters:
        if master.bias is not None and cuts[master.bias].shape[0] != cuts[master.name].outputs:
            raise FormatError("bad-cut", f"at net {net.id} the bias of {master.name!r} does not fit")
    numbers = fold_numbers(list(cuts.values()))
    if numbers > MAX_FOLD_NUMBERS:
        raise FormatError("inflate-limit", f"net {net.id} has a fold of {numbers} numbers")
    size = 0 if net.quant_sha256 is None else quant_bytes(list(cuts.values()))
    if size > MAX_QUANT_BYTES:
        raise FormatError("inflate-limit", f"net {net.id} has a quant of {size} bytes")
    if (numbers > 0) != (net.fold_sha256 is not None):
        raise FormatError("bad-fold", f"net {net.id} must have a fold exactly when there is something in it")


# Variants


def _check_variant(variant: Variant, manifest: SlimManifest) -> None:
    if _VARIANT_ID.fullmatch(variant.id) is None or not variant.id.startswith(f"{variant.target}-"):
        raise FormatError(
            "bad-name", f"a variant of target {variant.target[:80]!r} cannot be called {variant.id[:80]!r}"
        )
    if _SUFFIX.fullmatch(variant.suffix) is None:
        raise FormatError("bad-name", f"{variant.suffix[:80]!r} is not a suffix")
    info = manifest.input_info(variant.input)
    if info is None:
        raise FormatError("bad-variant", f"variant {variant.id} takes input {variant.input[:80]!r}, which is not there")
    if [tensor.name for tensor in variant.inputs] != [tensor.name for tensor in info.tensors]:
        raise FormatError("bad-variant", f"variant {variant.id} has other inputs than input {info.id}")
    outputs = [tensor.name for tensor in variant.outputs]
    if not outputs or len(set(outputs)) < len(outputs):
        raise FormatError("bad-variant", f"variant {variant.id} has no outputs, or two with one name")
    for tensor in (*variant.inputs, *variant.outputs):
        _check_tensor(tensor, variant.id)
    if not variant.artifacts:
        raise FormatError("bad-variant", f"variant {variant.id} has no artifact")
    ascending([a.net for a in variant.artifacts], "duplicate-artifact", "artifact-order", f"artifact of {variant.id}")
    known = {net.id for net in manifest.nets}
    for artifact in variant.artifacts:
        if artifact.net not in known:
            raise FormatError("unknown-net", f"variant {variant.id} has an artifact of net {artifact.net[:80]!r}")
        check_artifact(artifact, variant)


def _check_bases(manifest: SlimManifest) -> None:
    bases = {artifact_id(v.id, a.net): a.base for v in manifest.variants for a in v.artifacts}
    for identifier in bases:
        base, steps = bases[identifier], 0
        while base is not None:
            steps += 1
            if base not in bases or steps > MAX_BASES:
                raise FormatError("bad-base", f"{identifier} cannot build on {base[:80]!r}")
            base = bases[base]


def _check_tensor(tensor: TensorInfo, variant: str) -> None:
    if len(tensor.shape) > 8 or not all(1 <= size <= MAX_SIZE for size in tensor.shape):
        raise FormatError("bad-variant", f"{variant} has a tensor of shape {list(tensor.shape)[:9]}")
    if tensor.quantised is not None:
        bits = tensor.quantised.scale_bits
        scale = float(np.frombuffer(bytes.fromhex(bits), ">f4")[0]) if _BITS.fullmatch(bits) else math.nan
        if not 0 < scale < math.inf:
            raise FormatError("bad-variant", f"{variant} has a tensor with scale {bits[:20]!r}")


def _distinct(names: list[str], rule: str, what: str) -> None:
    if len({name.lower() for name in names}) < len(names):
        raise FormatError(rule, f"two {what}s have the same name (upper and lower case count as the same)")
