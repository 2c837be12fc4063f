"""What one artifact of a bundle may say of itself (FORMAT.md, "Manifest"): files, paths, sizes, quality."""

from __future__ import annotations

import itertools
import re
from typing import Any

from edgeslim.core.canonical_json import is_decimal
from edgeslim.core.manifest import ArtifactEntry, Quality, Variant
from edgeslim.core.recipe import MAX_RECIPE_BYTES
from edgeslim.errors import FormatError

MAX_TEMPLATE_BYTES = 16 << 20
MAX_FILE_BYTES = 1 << 32
MAX_FILES = 64

_PATH_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,98}[A-Za-z0-9_-])?")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)  # device names of Windows
_HASH = re.compile(r"[0-9a-f]{64}")


def check_artifact(artifact: ArtifactEntry, variant: Variant) -> None:
    """Raise FormatError for the first rule that ``artifact`` breaks."""
    what = f"artifact {variant.id}/{artifact.net}"
    if not 1 <= len(artifact.files) <= MAX_FILES or (not variant.directory and len(artifact.files) != 1):
        raise FormatError("bad-artifact", f"{what} has {len(artifact.files)} files")
    for file in artifact.files:
        _check_path(file.path, what, single=not variant.directory)
        check_hash(file.sha256, what)
        if not 0 <= file.bytes <= MAX_FILE_BYTES:
            raise FormatError("bad-artifact", f"{what}: a file of {file.bytes} bytes")
    paths = [file.path for file in artifact.files]
    ascending(paths, "bad-path", "bad-path", f"file of {what}")
    folded = sorted(path.lower().split("/") for path in paths)  # a/b sorts directly before a/b/c
    if any(longer[: len(shorter)] == shorter for shorter, longer in itertools.pairwise(folded)):
        raise FormatError("bad-path", f"{what}: one file's path is another's, or its folder's")
    check_hash(artifact.template_sha256, what)
    check_hash(artifact.recipe_sha256, what)
    if not 1 <= artifact.template_bytes <= min(MAX_TEMPLATE_BYTES, artifact.total_bytes):
        raise FormatError("inflate-limit", f"{what}: a template of {artifact.template_bytes} bytes")
    if not 1 <= artifact.recipe_bytes <= MAX_RECIPE_BYTES:
        raise FormatError("inflate-limit", f"{what}: a recipe of {artifact.recipe_bytes} bytes")
    if min(artifact.explained_bytes, artifact.literal_bytes, artifact.macs) < 0:
        raise FormatError("bad-artifact", f"{what}: negative bytes or multiply-adds")
    if artifact.quality is not None:
        _check_quality(artifact.quality, what)


def _check_quality(quality: Quality, what: str) -> None:
    check_hash(quality.data_sha256, what)
    decimals = [quality.value] + ([] if quality.agreement is None else [quality.agreement])
    if quality.count < 1 or not all(map(is_decimal, decimals)):
        raise FormatError("bad-artifact", f"{what} has a quality that is not a decimal, or of {quality.count} samples")


def _check_path(path: str, what: str, *, single: bool) -> None:
    names = path.split("/")
    plain = len(names) <= (1 if single else 16)
    if not plain or any(_PATH_PART.fullmatch(name) is None or _RESERVED.fullmatch(name) for name in names):
        raise FormatError("bad-path", f"{what} has a file {path[:200]!r}")


def check_hash(value: str | None, what: str) -> None:
    """Raise ``bad-hash`` unless ``value`` is null or 64 lower-case hexadecimal digits."""
    if value is not None and _HASH.fullmatch(value) is None:
        raise FormatError("bad-hash", f"the hash of {what} is {value[:80]!r}, expected 64 lower-case hex digits")


def ascending(items: list[Any], duplicate: str, order: str, what: str) -> None:
    for before, after in itertools.pairwise(items):
        if before == after:
            raise FormatError(duplicate, f"{what} {after!r} stands twice")
        if before > after:
            raise FormatError(order, f"{what} {after!r} stands after {before!r}")
