"""Writing bundles.

    BundleBuilder(net…).add_width(…).add_artifact(…) ─┐
    combine.merge, combine.subset ────────────────────┴─► BundleContent ─► write_bundle ─► one file

The same content gives the same bytes, in whatever order it was put together: everything is sorted here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeslim.core.bundle import SlimBundle
from edgeslim.core.deflate import Stored, deflated, deflated_template, shuffled
from edgeslim.core.header import header_bytes
from edgeslim.core.manifest import (
    ArtifactEntry,
    FileEntry,
    InputContract,
    JsonObject,
    MasterLayer,
    ModelInfo,
    Quality,
    SlimManifest,
    TensorInfo,
    Variant,
    WidthEntry,
    artifact_id,
    expected_tensors,
)
from edgeslim.core.manifest_rules import check_manifest
from edgeslim.core.rebuild import LayerArrays, LayerFold, joined_fold, layer_arrays
from edgeslim.core.recipe import Segment, encode_recipe, segment_bytes
from edgeslim.core.slicing import Cut
from edgeslim.core.width import Width
from edgeslim.errors import InternalError, UsageError
from edgeslim.files import write_atomically

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MasterSource:
    """One layer at full width. ``weight``: float32 (O, I/groups, KH, KW) or (O, I); ``bias``: (O,) or None.

    ``in_scale``, ``scale`` and ``shift`` say which of them every width brings (``LayerFold``).
    """

    name: str
    weight: Array
    bias: Array | None = None
    groups: int = 1
    in_scale: bool = False
    scale: bool = True
    shift: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NetInfo:
    """What a bundle says about its network; the fields are the manifest's."""

    model: ModelInfo
    input: InputContract
    labels: tuple[str, ...] | None
    low: Width
    high: Width
    divisor: int = 8
    policy: JsonObject | None = None
    checkpoint_sha256: str | None = None
    calibration_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantInfo:
    """A ``Variant`` without its artifacts."""

    target: str
    name: str  # "fp16-224"; the variant's id is "<target>-<name>"
    precision: str
    backend: str
    input_option: str
    suffix: str
    directory: bool
    normalisation: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    requires: dict[str, str]
    exporters: dict[str, str]

    @property
    def id(self) -> str:
        return f"{self.target}-{self.name}"

    def with_artifacts(self, artifacts: tuple[ArtifactEntry, ...]) -> Variant:
        names = self.__slots__
        fields = {name: getattr(self, name) for name in names if name != "name"}
        return Variant(id=self.id, artifacts=artifacts, **fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedArtifact:
    """One artifact taken apart: what the finder hands to the builder."""

    files: tuple[FileEntry, ...]
    segments: tuple[Segment, ...]
    template: bytes
    explained_bytes: int
    literal_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BundleContent:
    """A whole bundle in memory or mapped: its manifest, and the stored bytes of every other tensor."""

    manifest: SlimManifest
    stored: Mapping[str, Stored]

    @classmethod
    def of(cls, bundle: SlimBundle) -> BundleContent:
        """The content of an open bundle, without copying."""
        return cls(
            manifest=bundle.manifest,
            stored={name: bundle.stored(name) for name in bundle.header.tensors if name != "manifest"},
        )


class BundleBuilder:
    """Collects a net, its widths and their artifacts.

    Args:
        net: what the bundle says about the network.
        masters: every convolution and linear layer, in the order of the net.
        weights: ``f32`` or ``f16``; with ``f16`` the masters are rounded here, before anything is folded: export
            nets whose weights were rounded the same way.
    """

    def __init__(self, net: NetInfo, masters: Sequence[MasterSource], *, weights: str = "f32") -> None:
        if weights not in ("f32", "f16"):
            raise InternalError(f"weights are f32 or f16, not {weights!r}")
        dtype = "<f4" if weights == "f32" else "<f2"
        self._net = net
        self._weights = weights
        self._masters = {m.name: np.ascontiguousarray(m.weight, dtype) for m in masters}
        self._biases = {m.name: np.ascontiguousarray(m.bias, dtype) for m in masters if m.bias is not None}
        self._layers = tuple(self._layer(master) for master in masters)
        self._widths: dict[int, WidthEntry] = {}
        self._folds: dict[int, Sequence[LayerFold]] = {}
        self._variants: dict[str, VariantInfo] = {}
        self._artifacts: dict[tuple[str, int], ArtifactEntry] = {}
        self._templates: dict[tuple[str, int], bytes] = {}
        self._stored: dict[str, Stored] = {}

    def _layer(self, source: MasterSource) -> MasterLayer:
        bias = self._biases.get(source.name)
        return MasterLayer(
            name=source.name,
            kind="conv" if source.weight.ndim == 4 else "linear",
            shape=tuple(source.weight.shape),
            groups=source.groups,
            in_scale=source.in_scale,
            scale=source.scale,
            shift=source.shift,
            weight_sha256=_sha256(self._masters[source.name].data.cast("B")),
            bias_sha256=None if bias is None else _sha256(bias.data.cast("B")),
        )

    def add_width(
        self,
        width: Width,
        cuts: Sequence[Cut],
        folds: Sequence[LayerFold],
        *,
        macs: int,
        params: int,
        aliases: Sequence[Width] = (),
        quality: Quality | None = None,
        temperature: str | None = None,
        memory_bytes: int | None = None,
    ) -> BundleBuilder:
        """Add a net; ``cuts`` and ``folds`` hold one entry per master, in their order."""
        content = joined_fold(folds)
        if content:
            self._stored[f"fold/{width.permille:04d}"] = deflated(shuffled(content))
        self._folds[width.permille] = folds
        self._widths[width.permille] = WidthEntry(
            permille=width.permille,
            aliases=tuple(sorted(alias.permille for alias in aliases)),
            channels=tuple((cut.out_channels, cut.in_channels, cut.groups) for cut in cuts),
            macs=macs,
            params=params,
            fold_sha256=_sha256(content) if content else None,
            quality=quality,
            temperature=temperature,
            memory_bytes=memory_bytes,
        )
        return self

    def layers(self, width: Width) -> list[LayerArrays]:
        """Every layer at ``width``, as the finder needs them."""
        entry, folds = self._widths[width.permille], self._folds[width.permille]
        return [
            layer_arrays(
                self._masters[layer.name],
                self._biases.get(layer.name),
                Cut(out_channels=out, in_channels=into, groups=groups, full_groups=layer.groups),
                fold,
            )
            for layer, (out, into, groups), fold in zip(self._layers, entry.channels, folds, strict=True)
        ]

    def add_artifact(self, variant: VariantInfo, width: Width, packed: PackedArtifact) -> BundleBuilder:
        """Add what the finder made of one artifact.

        Raises:
            UsageError: another artifact of the variant was exported by other versions or with other options.
        """
        known = self._variants.setdefault(variant.id, variant)
        if known != variant:
            raise UsageError(f"the artifacts of {variant.id} were not made alike: {difference(known, variant)}")
        identifier = artifact_id(variant.id, width.permille)
        constants = [layer.constant for layer in self.layers(width)]
        recipe = encode_recipe(packed.segments, [segment_bytes(s, constants) for s in packed.segments])
        self._stored[f"recipe/{identifier}"] = deflated(recipe)
        self._templates[variant.id, width.permille] = packed.template
        self._artifacts[variant.id, width.permille] = ArtifactEntry(
            permille=width.permille,
            files=packed.files,
            explained_bytes=packed.explained_bytes,
            literal_bytes=packed.literal_bytes,
            template_bytes=len(packed.template),
            template_sha256=_sha256(packed.template),
            recipe_bytes=len(recipe),
            recipe_sha256=_sha256(recipe),
        )
        return self

    def content(self) -> BundleContent:
        """The bundle as it stands now."""
        variants = tuple(
            self._variants[name].with_artifacts(
                tuple(entry for (owner, _), entry in sorted(self._artifacts.items()) if owner == name)
            )
            for name in sorted(self._variants)
        )
        net = self._net
        manifest = SlimManifest(
            required_features=(),
            model=net.model,
            input=net.input,
            labels=net.labels,
            low=net.low.permille,
            high=net.high.permille,
            divisor=net.divisor,
            weights="f32" if self._weights == "f32" else "f16",
            layers=self._layers,
            widths=tuple(self._widths[p] for p in sorted(self._widths)),
            variants=variants,
            policy=net.policy,
            checkpoint_sha256=net.checkpoint_sha256,
            calibration_sha256=net.calibration_sha256,
            extra={},
        )
        masters = {f"weight/{name}": array.data.cast("B") for name, array in self._masters.items()}
        biases = {f"bias/{name}": array.data.cast("B") for name, array in self._biases.items()}
        templates: dict[str, Stored] = {}
        for variant in variants:
            raw = {a.permille: self._templates[variant.id, a.permille] for a in variant.artifacts}
            templates.update(stored_templates(variant.id, raw))
        return BundleContent(manifest=manifest, stored={**self._stored, **templates, **masters, **biases})

    def write(self, path: Path, *, overwrite: bool) -> int:
        """Write the bundle; returns its size in bytes."""
        return write_bundle(self.content(), path, overwrite=overwrite)


def stored_templates(variant: str, templates: Mapping[int, bytes]) -> dict[str, bytes]:
    """Deflate the templates of one variant, given by permille; the widest is the base of the others."""
    widest = max(templates)
    return {
        f"template/{artifact_id(variant, permille)}": deflated_template(
            content, None if permille == widest else templates[widest]
        )
        for permille, content in templates.items()
    }


def write_bundle(content: BundleContent, path: Path, *, overwrite: bool) -> int:
    """Write a bundle, whole or not at all; returns its size in bytes.

    Raises:
        FormatError: the content breaks a rule that readers would refuse it for.
        OutputError: ``path`` exists and ``overwrite`` is false, or it cannot be written.
    """
    with write_atomically(path, overwrite=overwrite) as stream:
        for part in bundle_parts(content):
            stream.write(part)
        return stream.tell()


def bundle_parts(content: BundleContent) -> list[Stored]:
    """The bytes of a bundle, in pieces."""
    check_manifest(content.manifest)
    text = content.manifest.to_bytes()
    stored = {**content.stored, "manifest": text}
    tensors = [
        (name, dtype, shape or (len(stored[name]),))
        for name, (dtype, shape) in expected_tensors(content.manifest).items()
    ]
    head, order = header_bytes(_sha256(text), tensors)
    return [head, *(stored[name] for name in order)]


def difference(a: Any, b: Any) -> str:
    """The names of the fields in which two values differ, for messages."""
    return ", ".join(name for name in a.__slots__ if getattr(a, name) != getattr(b, name)) + " differ"


def _sha256(content: Stored) -> str:
    return hashlib.sha256(content).hexdigest()
