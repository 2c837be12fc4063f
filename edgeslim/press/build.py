"""Writing bundles.

    BundleBuilder(info, parts, masters…).add_net(…).add_artifact(…) ─┐
    combine.merge, combine.subset ───────────────────────────────────┴─► BundleContent ─► write_bundle ─► one file

The same content gives the same bytes, in whatever order it was put together: everything is sorted here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeslim.core.bundle import SlimBundle
from edgeslim.core.constants import Fold, NetConstants, Quant, joined_fold, joined_quant, of_arrays
from edgeslim.core.deflate import Stored, deflated, deflated_template, shuffled
from edgeslim.core.header import header_bytes
from edgeslim.core.manifest import (
    ArtifactEntry,
    FileEntry,
    Images,
    InputInfo,
    Integers,
    JsonObject,
    Master,
    MasterDtype,
    ModelInfo,
    Net,
    Part,
    Quality,
    Role,
    SlimManifest,
    TaskName,
    Variant,
    artifact_id,
    expected_tensors,
)
from edgeslim.core.manifest_rules import check_manifest
from edgeslim.core.recipe import Segment, encode_recipe, segment_bytes
from edgeslim.core.width import Width, net_id
from edgeslim.errors import InternalError, UsageError
from edgeslim.files import write_atomically

Array = npt.NDArray[Any]
_NUMPY = {"f32": "<f4", "f16": "<f2", "i8": "i1", "i32": "<i4"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MasterSource:
    """One constant of the full-size network, or one that every net brings itself (``role`` ``own``, no ``array``).

    Args:
        axes: per axis the parts along it.
        array: full size; rounded to ``dtype`` by the builder.
        of: the name of a master whose tensor this one shares; then it has no ``array`` and ``step`` of its own.
        step: float32 (output channels,) of an int8 weight: how much one integer is worth.
        in_scale, scale, shift: which of them every net brings (``core.constants.Fold``).
    """

    name: str
    axes: tuple[tuple[Part, ...], ...]
    array: Array | None
    role: Role = "weight"
    dtype: MasterDtype = "f32"
    rows: int = 0
    groups: int = 1
    in_scale: bool = False
    scale: bool = False
    shift: bool = False
    bias: str | None = None
    integers: Integers = "none"
    correction: bool = False
    step: Array | None = None
    of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleInfo:
    """What a bundle says about its network; the fields are the manifest's."""

    model: ModelInfo
    task: TaskName
    inputs: tuple[InputInfo, ...]
    low: Width
    high: Width
    task_spec: JsonObject
    labels: tuple[str, ...] | None = None
    policy: JsonObject | None = None
    checkpoint_sha256: str | None = None
    calibration: Images | None = None
    ranges: Images | None = None


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


class MasterSet:
    """Masters with their parts numbered and their arrays rounded: what nets are cut from.

    Exporting processes and the builder make the same set from the same sources.
    """

    def __init__(self, sources: Sequence[MasterSource]) -> None:
        self.parts = _parts(sources)
        index = {part.name: position for position, part in enumerate(self.parts)}
        self.stored = {s.name: np.ascontiguousarray(s.array, _NUMPY[s.dtype]) for s in sources if s.array is not None}
        self.steps = {s.name: np.ascontiguousarray(s.step, "<f4") for s in sources if s.step is not None}
        self.masters = tuple(self._master(source, index) for source in sources)
        self.arrays = of_arrays(self.masters, self.stored, self.steps)

    def _master(self, source: MasterSource, index: Mapping[str, int]) -> Master:
        array, step = self.stored.get(source.name), self.steps.get(source.name)
        return Master(
            name=source.name,
            role=source.role,
            dtype=source.dtype,
            axes=tuple(tuple(index[part.name] for part in axis) for axis in source.axes),
            rows=source.rows,
            groups=source.groups,
            in_scale=source.in_scale,
            scale=source.scale,
            shift=source.shift,
            bias=source.bias,
            integers=source.integers,
            correction=source.correction,
            of=source.of,
            sha256=None if array is None else _sha256(array.data.cast("B")),
            step_sha256=None if step is None else _sha256(step.data.cast("B")),
        )

    def cut(self, counts: Mapping[str, int]) -> tuple[int, ...]:
        """How many positions of every part, given by name; parts that are not named are whole."""
        return tuple(counts.get(part.name, part.size) for part in self.parts)

    def constants(
        self, cut: Sequence[int], folds: Sequence[Fold], quants: Sequence[Quant | None] | None = None
    ) -> NetConstants:
        """The constants of one net, as finder and rebuilder take them."""
        return NetConstants.of(self.arrays, self.parts, cut, folds, quants)


def _parts(sources: Sequence[MasterSource]) -> tuple[Part, ...]:
    """Every part, in the order in which masters first speak of it."""
    parts: dict[str, Part] = {}
    for source in sources:
        for axis in source.axes:
            for part in axis:
                if parts.setdefault(part.name, part) != part:
                    raise InternalError(f"two parts are called {part.name!r}")
    return tuple(parts.values())


class BundleBuilder:
    """Collects a network, its nets and their artifacts."""

    def __init__(self, info: BundleInfo, masters: MasterSet) -> None:
        self._info = info
        self._set = masters
        self._nets: dict[str, Net] = {}
        self._constants: dict[str, NetConstants] = {}
        self._variants: dict[str, Variant] = {}
        self._artifacts: dict[tuple[str, str], ArtifactEntry] = {}
        self._templates: dict[tuple[str, str], bytes] = {}
        self._stored: dict[str, Stored] = {}

    def add_net(
        self,
        cut: Sequence[int],
        folds: Sequence[Fold],
        *,
        widths: Sequence[Width] = (),
        label: str | None = None,
        quants: Sequence[Quant | None] | None = None,
        params: int,
    ) -> str:
        """Add a net under its ``widths`` or its ``label``; ``folds`` and ``quants`` go with the masters.

        Returns:
            The net's id.
        """
        names = tuple(sorted(width.permille for width in widths))
        identifier = net_id(names[0]) if names else label
        if identifier is None or (names and label is not None):
            raise InternalError("a net is named by widths, or by a label")
        constants = self._set.constants(cut, folds, quants)
        fold = joined_fold(folds)
        quant = b"" if quants is None else joined_quant(quants)
        if fold:
            self._stored[f"fold/{identifier}"] = deflated(shuffled(fold))
        if quant:
            self._stored[f"quant/{identifier}"] = deflated(quant)
        self._constants[identifier] = constants
        self._nets[identifier] = Net(
            id=identifier,
            widths=names,
            cut=tuple(cut),
            params=params,
            fold_sha256=_sha256(fold) if fold else None,
            quant_sha256=_sha256(quant) if quant else None,
        )
        return identifier

    def constants(self, net: str) -> NetConstants:
        """Everything that the constants of a net are made from, as the finder needs it."""
        return self._constants[net]

    def add_artifact(
        self,
        variant: Variant,
        net: str,
        packed: PackedArtifact,
        *,
        macs: int,
        requires: Mapping[str, str] | None = None,
        quality: Quality | None = None,
    ) -> BundleBuilder:
        """Add what the finder made of one artifact; the artifacts of ``variant`` itself are not looked at.

        Raises:
            UsageError: another artifact of the variant was exported by other versions or with other options.
        """
        variant = replace(variant, artifacts=())
        known = self._variants.setdefault(variant.id, variant)
        if known != variant:
            raise UsageError(f"the artifacts of {variant.id} were not made alike: {difference(known, variant)}")
        cuts = self._constants[net].cuts
        recipe = encode_recipe(packed.segments, [segment_bytes(s, cuts) for s in packed.segments])
        self._stored[f"recipe/{artifact_id(variant.id, net)}"] = deflated(recipe)
        self._templates[variant.id, net] = packed.template
        self._artifacts[variant.id, net] = ArtifactEntry(
            net=net,
            base=None,
            macs=macs,
            requires=dict(requires or {}),
            quality=quality,
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
        variants = with_bases(
            replace(
                self._variants[name],
                artifacts=tuple(entry for (owner, _), entry in sorted(self._artifacts.items()) if owner == name),
            )
            for name in sorted(self._variants)
        )
        info = self._info
        used = {variant.input for variant in variants}
        manifest = SlimManifest(
            required_features=(),
            model=info.model,
            task=info.task,
            task_spec=info.task_spec,
            labels=info.labels,
            low=info.low.permille,
            high=info.high.permille,
            inputs=tuple(sorted((i for i in info.inputs if i.id in used or not used), key=lambda one: one.id)),
            parts=self._set.parts,
            masters=self._set.masters,
            nets=tuple(self._nets[name] for name in sorted(self._nets)),
            variants=variants,
            policy=info.policy,
            checkpoint_sha256=info.checkpoint_sha256,
            calibration=info.calibration,
            ranges=info.ranges,
            extra={},
        )
        masters = {f"master/{name}": array.data.cast("B") for name, array in self._set.stored.items()}
        steps = {f"step/{name}": array.data.cast("B") for name, array in self._set.steps.items()}
        contents = {artifact_id(variant, net): content for (variant, net), content in self._templates.items()}
        templates = stored_templates(variants, contents)
        return BundleContent(manifest=manifest, stored={**self._stored, **templates, **masters, **steps})

    def write(self, path: Path, *, overwrite: bool) -> int:
        """Write the bundle; returns its size in bytes."""
        return write_bundle(self.content(), path, overwrite=overwrite)


def with_bases(variants: Iterable[Variant]) -> tuple[Variant, ...]:
    """The variants, ascending, each artifact with the base that FORMAT.md's "Writing" gives it.

    The same net at another input size is the best base there is; in one variant, the longest template is.
    """
    first: dict[tuple[str, str, str], Variant] = {}
    based = []
    for variant in sorted(variants, key=lambda one: one.id):
        root = first.setdefault((variant.target, variant.precision, variant.form), variant)
        longest = _longest(variant)

        def base_of(net: str, variant: Variant = variant, root: Variant = root, longest: str = longest) -> str | None:
            if root is not variant and root.artifact(net) is not None:
                return artifact_id(root.id, net)
            return None if net == longest else artifact_id(variant.id, longest)

        artifacts = tuple(replace(a, base=base_of(a.net)) for a in variant.artifacts)
        based.append(replace(variant, artifacts=artifacts))
    return tuple(based)


def _longest(variant: Variant) -> str:
    return max(variant.artifacts, key=lambda artifact: (artifact.template_bytes, artifact.net)).net


def stored_templates(variants: Iterable[Variant], templates: Mapping[str, bytes]) -> dict[str, Stored]:
    """Deflate templates, given by artifact id."""
    return {
        f"template/{identifier}": deflated_template(
            templates[identifier], None if artifact.base is None else templates[artifact.base]
        )
        for variant in variants
        for artifact in variant.artifacts
        if (identifier := artifact_id(variant.id, artifact.net)) in templates
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
