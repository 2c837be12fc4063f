"""What the verbs that read bundles share: finding targets and nets by the names people use."""

from __future__ import annotations

from edgeslim import targets
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.manifest import SlimManifest
from edgeslim.core.width import Width, parse_widths


def target_name(manifest: SlimManifest, name: str) -> str:
    """A target (or variant's id) of the bundle, or what a public name such as ``tflite`` stands for.

    Raises:
        UsageError: no such target anywhere; did you mean …
    """
    known = {text for variant in manifest.variants for text in (variant.id, variant.target)}
    return name if name in known else targets.get(name).info.name


def chosen_nets(bundle: SlimBundle, text: str | None) -> list[Width | str] | None:
    """``--widths`` of a bundle: labels of nets, or widths as everywhere; None where it is not given."""
    if text is None:
        return None
    labels = {net.id for net in bundle.manifest.nets if not net.widths}
    parts = [part.strip() for part in text.split(",")]
    if any(part in labels for part in parts):
        return [part if part in labels else Width.parse(part) for part in parts]
    manifest = bundle.manifest
    return list(parse_widths(text, trained=(Width(manifest.low), Width(manifest.high))))
