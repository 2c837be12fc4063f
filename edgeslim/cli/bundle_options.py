"""What the verbs that read bundles share: finding a target by the names people use, and rows about parts."""

from __future__ import annotations

from typing import Any

from edgeslim import targets
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.manifest import ArtifactEntry, FileEntry, SlimManifest, Variant, artifact_id


def target_name(manifest: SlimManifest, name: str) -> str:
    """A target (or variant's id) of the bundle, or what a public name such as ``tflite`` stands for.

    Raises:
        UsageError: no such target anywhere; did you mean …
    """
    known = {text for variant in manifest.variants for text in (variant.id, variant.target)}
    return name if name in known else targets.get(name).info.name


def file_rows(files: tuple[FileEntry, ...]) -> list[dict[str, Any]]:
    """Files as the contract shows them."""
    return [{"path": file.path, "bytes": file.bytes, "sha256": file.sha256} for file in files]


def artifact_row(bundle: SlimBundle, variant: Variant, artifact: ArtifactEntry) -> dict[str, Any]:
    """What one artifact costs in the bundle; template and recipe as stored."""
    identifier = artifact_id(variant.id, artifact.permille)
    return {
        "permille": artifact.permille,
        "artifact_bytes": artifact.total_bytes,
        "explained_bytes": artifact.explained_bytes,
        "literal_bytes": artifact.literal_bytes,
        "template_bytes": len(bundle.stored(f"template/{identifier}")),
        "recipe_bytes": len(bundle.stored(f"recipe/{identifier}")),
    }
