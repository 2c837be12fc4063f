"""Reading a manifest from strangers: every refusal names its rule (FORMAT.md, "Rules of the manifest").

text ─► canonical JSON ─► features known? ─► shape (dataclasses) ─► check_manifest ─► SlimManifest
"""

from __future__ import annotations

import itertools
import re
from typing import Any

from edgeslim.core.canonical_json import is_decimal, parse_canonical
from edgeslim.core.manifest import ArtifactEntry, InputContract, MasterLayer, SlimManifest, Variant, WidthEntry
from edgeslim.core.recipe import MAX_RECIPE_BYTES
from edgeslim.core.strict_json import StrictJsonError, decode
from edgeslim.core.width import MAX_PERMILLE
from edgeslim.errors import FormatError

MAX_MANIFEST_BYTES = 2 << 20
MAX_TEMPLATE_BYTES = 16 << 20
MAX_FOLD_VALUES = 1 << 20
MAX_FILE_BYTES = 1 << 32
MAX_FILES = 64
MAX_DIM = 1 << 24

_LAYER_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,150}[A-Za-z0-9_])?")
_VARIANT_ID = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
_SUFFIX = re.compile(r"\.[a-z0-9]{1,16}")
_PATH_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,98}[A-Za-z0-9_-])?")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)  # device names of Windows
_HASH = re.compile(r"[0-9a-f]{64}")


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
            f"the bundle needs {features[0]!r}, which this reader does not know",
            hint="update edgeslim",
        )
    try:
        manifest = decode(SlimManifest, document)
    except StrictJsonError as error:
        raise FormatError("bad-manifest", str(error)) from None
    check_manifest(manifest)
    return manifest


def check_manifest(manifest: SlimManifest) -> None:
    """Raise FormatError for the first rule that ``manifest`` breaks."""
    _check_input(manifest.input)
    if not 1 <= manifest.low <= manifest.high <= MAX_PERMILLE or manifest.divisor < 1:
        raise FormatError("bad-range", f"trained from {manifest.low} to {manifest.high} in steps of {manifest.divisor}")
    for value, what in ((manifest.checkpoint_sha256, "checkpoint"), (manifest.calibration_sha256, "calibration set")):
        _check_hash(value, what)
    if not manifest.layers:
        raise FormatError("bad-layer", "the net has no layer")
    names = [layer.name for layer in manifest.layers]
    if len({name.lower() for name in names}) < len(names):
        raise FormatError("duplicate-layer", "two layers have the same name (upper and lower case count as the same)")
    for layer in manifest.layers:
        _check_layer(layer)
    _check_widths(manifest)
    _ascending([variant.id for variant in manifest.variants], "duplicate-variant", "variant-order", "variant")
    for variant in manifest.variants:
        _check_variant(variant, manifest)


def _check_hash(value: str | None, what: str) -> None:
    if value is not None and _HASH.fullmatch(value) is None:
        raise FormatError("bad-hash", f"the hash of {what} is {value[:80]!r}, expected 64 lower-case hex digits")


def _check_input(contract: InputContract) -> None:
    if not all(1 <= n <= 65_536 for n in (contract.channels, contract.height, contract.width)):
        raise FormatError("bad-input", f"an input of {contract.channels}x{contract.height}x{contract.width}")
    for numbers in (contract.mean, contract.std):
        if len(numbers) != contract.channels or not all(map(is_decimal, numbers)):
            raise FormatError("bad-input", f"mean and std are one decimal per channel, got {list(numbers)}"[:200])
    if any(float(number) <= 0 for number in contract.std):
        raise FormatError("bad-input", f"std must be above 0, got {list(contract.std)}"[:200])


def _check_layer(layer: MasterLayer) -> None:
    if _LAYER_NAME.fullmatch(layer.name) is None:
        raise FormatError("bad-name", f"a layer cannot be called {layer.name[:200]!r}")
    _check_hash(layer.weight_sha256, layer.name)
    _check_hash(layer.bias_sha256, layer.name)
    axes = 4 if layer.kind == "conv" else 2
    count = 1
    for dim in layer.shape:
        count *= dim if 1 <= dim <= MAX_DIM else 0
    if len(layer.shape) != axes or not 1 <= count <= MAX_FILE_BYTES:
        raise FormatError("bad-layer", f"layer {layer.name!r} has shape {list(layer.shape)}")
    if not 1 <= layer.groups <= layer.shape[0] or layer.shape[0] % layer.groups:
        raise FormatError("bad-layer", f"layer {layer.name!r} has {layer.shape[0]} rows in {layer.groups} groups")
    if layer.kind == "linear" and layer.groups != 1:
        raise FormatError("bad-layer", f"linear layer {layer.name!r} has groups")
    if layer.shift and layer.bias_sha256 is not None:
        raise FormatError("bad-layer", f"layer {layer.name!r} has a shift and a bias of its own")


def _check_widths(manifest: SlimManifest) -> None:
    if not manifest.widths:
        raise FormatError("no-width", "the bundle holds no width")
    names: set[int] = set()
    for width in manifest.widths:
        mine = [width.permille, *width.aliases]
        if not all(1 <= name <= MAX_PERMILLE for name in mine):
            raise FormatError("bad-width", f"width {width.permille} or an alias is not in 1 to {MAX_PERMILLE}")
        if len(set(mine)) < len(mine) or names & set(mine):
            raise FormatError("duplicate-width", f"width {width.permille} or one of its aliases stands twice")
        if list(width.aliases) != sorted(width.aliases) or (width.aliases and width.aliases[0] < width.permille):
            raise FormatError("width-order", f"the aliases of width {width.permille} do not ascend from it")
        names.update(mine)
        _check_width(width, manifest)
    permilles = [width.permille for width in manifest.widths]
    if permilles != sorted(permilles):
        raise FormatError("width-order", "widths do not ascend")
    if len({width.channels for width in manifest.widths}) < len(manifest.widths):
        raise FormatError("duplicate-width", "two widths have the same channels: one is an alias of the other")


def _check_width(width: WidthEntry, manifest: SlimManifest) -> None:
    what = f"width {width.permille}"
    _check_hash(width.fold_sha256, what)
    if min(width.macs, width.params) < 0 or (width.memory_bytes is not None and width.memory_bytes < 0):
        raise FormatError("bad-width", f"{what} has negative costs")
    decimals = [width.temperature]
    if width.quality is not None:
        decimals += [width.quality.value, width.quality.agreement]
        _check_hash(width.quality.data_sha256, what)
        if width.quality.images < 1:
            raise FormatError("bad-width", f"{what} was measured on {width.quality.images} images")
    if not all(is_decimal(number) for number in decimals if number is not None):
        raise FormatError("bad-width", f"{what} has a quality or temperature that is not a decimal")
    if len(width.channels) != len(manifest.layers):
        raise FormatError("bad-channels", f"{what} has {len(width.channels)} layers, the net {len(manifest.layers)}")
    for layer, channels in zip(manifest.layers, width.channels, strict=True):
        if len(channels) != 3 or not _fits(layer, *channels):
            raise FormatError("bad-channels", f"{what}: {list(channels)[:9]} does not fit layer {layer.name!r}")
    values = manifest.fold_values(width)
    if values > MAX_FOLD_VALUES:
        raise FormatError("inflate-limit", f"{what} has a fold of {values} numbers, at most {MAX_FOLD_VALUES} fit")
    if (values > 0) != (width.fold_sha256 is not None):
        raise FormatError("bad-fold", f"{what} must have a fold exactly when a layer has scales or shifts")


def _fits(layer: MasterLayer, out: int, into: int, groups: int) -> bool:
    if not (1 <= groups <= layer.groups and 1 <= out <= MAX_DIM and 1 <= into <= MAX_DIM):
        return False
    whole = out % groups == 0 and into % groups == 0
    return whole and out // groups <= layer.shape[0] // layer.groups and into // groups <= layer.shape[1]


def _check_variant(variant: Variant, manifest: SlimManifest) -> None:
    if _VARIANT_ID.fullmatch(variant.id) is None or not variant.id.startswith(f"{variant.target}-"):
        raise FormatError(
            "bad-name", f"a variant of target {variant.target[:80]!r} cannot be called {variant.id[:80]!r}"
        )
    if _SUFFIX.fullmatch(variant.suffix) is None:
        raise FormatError("bad-name", f"{variant.suffix[:80]!r} is not a suffix")
    if not variant.artifacts:
        raise FormatError("bad-artifact", f"variant {variant.id} has no artifact")
    permilles = [artifact.permille for artifact in variant.artifacts]
    _ascending(permilles, "duplicate-artifact", "artifact-order", f"artifact of {variant.id}")
    known = {width.permille for width in manifest.widths}
    for artifact in variant.artifacts:
        if artifact.permille not in known:
            raise FormatError("unknown-width", f"variant {variant.id} has an artifact of width {artifact.permille}")
        _check_artifact(artifact, variant)


def _check_artifact(artifact: ArtifactEntry, variant: Variant) -> None:
    what = f"artifact {variant.id}/{artifact.permille:04d}"
    if not 1 <= len(artifact.files) <= MAX_FILES or (not variant.directory and len(artifact.files) != 1):
        raise FormatError("bad-artifact", f"{what} has {len(artifact.files)} files")
    for file in artifact.files:
        _check_path(file.path, what, single=not variant.directory)
        _check_hash(file.sha256, what)
        if not 0 <= file.bytes <= MAX_FILE_BYTES:
            raise FormatError("bad-artifact", f"{what}: a file of {file.bytes} bytes")
    paths = [file.path for file in artifact.files]
    _ascending(paths, "bad-path", "bad-path", f"file of {what}")
    folded = sorted(path.lower().split("/") for path in paths)  # a/b sorts directly before a/b/c
    if any(longer[: len(shorter)] == shorter for shorter, longer in itertools.pairwise(folded)):
        raise FormatError("bad-path", f"{what}: one file's path is another's, or its folder's")
    _check_hash(artifact.template_sha256, what)
    _check_hash(artifact.recipe_sha256, what)
    if not 0 <= artifact.template_bytes <= min(MAX_TEMPLATE_BYTES, artifact.total_bytes):
        raise FormatError("inflate-limit", f"{what}: a template of {artifact.template_bytes} bytes")
    if not 1 <= artifact.recipe_bytes <= MAX_RECIPE_BYTES:
        raise FormatError("inflate-limit", f"{what}: a recipe of {artifact.recipe_bytes} bytes")
    if artifact.explained_bytes < 0 or artifact.literal_bytes < 0:
        raise FormatError("bad-artifact", f"{what}: negative explained or literal bytes")


def _check_path(path: str, what: str, *, single: bool) -> None:
    parts = path.split("/")
    plain = len(parts) <= (1 if single else 16)
    if not plain or any(_PATH_PART.fullmatch(part) is None or _RESERVED.fullmatch(part) for part in parts):
        raise FormatError("bad-path", f"{what} has a file {path[:200]!r}")


def _ascending(items: list[Any], duplicate: str, order: str, what: str) -> None:
    for before, after in itertools.pairwise(items):
        if before == after:
            raise FormatError(duplicate, f"{what} {after!r} stands twice")
        if before > after:
            raise FormatError(order, f"{what} {after!r} stands after {before!r}")
