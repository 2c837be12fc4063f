"""What the verbs that read bundles share: finding a target by the names people use, and rows about parts."""

from __future__ import annotations

from typing import Any

from edgeslim import targets
from edgeslim.cli.console import resolve_widths
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.manifest import ArtifactEntry, FileEntry, SlimManifest, Variant, artifact_id
from edgeslim.core.width import Width


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
    identifier = artifact_id(variant.id, artifact.net)
    return {
        "artifact": identifier,
        "permille": bundle.resolve(artifact.net).permille,
        "net": artifact.net,
        "precision": variant.precision,
        "input": variant.input,
        "artifact_bytes": artifact.total_bytes,
        "explained_bytes": artifact.explained_bytes,
        "literal_bytes": artifact.literal_bytes,
        "template_bytes": len(bundle.stored(f"template/{identifier}")),
        "recipe_bytes": len(bundle.stored(f"recipe/{identifier}")),
    }


def chosen_nets(bundle: SlimBundle, text: str | None) -> list[Width | str] | None:
    """``--widths`` of a bundle: labels of nets, or widths as everywhere; None where it is not given."""
    if text is None:
        return None
    labels = {net.id for net in bundle.manifest.nets if not net.widths}
    parts = [part.strip() for part in text.split(",")]
    if any(part in labels for part in parts):
        return [part if part in labels else Width.parse(part) for part in parts]
    manifest = bundle.manifest
    return list(resolve_widths(text, (Width(manifest.low), Width(manifest.high))))
