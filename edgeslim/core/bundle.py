"""Reading a bundle: one mapped file, valid by construction.

path ─► SlimBundle.open ─► resolve(width) ─► rebuild(target, width, out) ─► RebuiltArtifact
                │
                └► check() hashes every part
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from edgeslim.core.deflate import BLOCK_BYTES, Stored, TemplateReader, inflated, unshuffled
from edgeslim.core.header import Header, header_length, parse_header
from edgeslim.core.manifest import (
    ArtifactEntry,
    FileEntry,
    SlimManifest,
    Variant,
    WidthEntry,
    artifact_id,
    expected_tensors,
)
from edgeslim.core.manifest_rules import MAX_MANIFEST_BYTES, parse_manifest
from edgeslim.core.rebuild import LayerArrays, LayerFold, layer_arrays, split_fold, write_files
from edgeslim.core.recipe import Segment, decode_recipe, segment_bytes
from edgeslim.core.width import Width
from edgeslim.errors import FormatError, UsageError, WidthError
from edgeslim.files import recover_directory, replace_directory, temporary_directory_beside, write_atomically

_FINITE_CHUNK = 1 << 18
_DTYPES = {"F32": "<f4", "F16": "<f2", "U8": "u1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuiltArtifact:
    """What ``rebuild`` wrote; ``files`` with their paths inside ``path`` where that is a directory."""

    path: Path
    permille: int
    files: tuple[FileEntry, ...]


class SlimBundle:
    """An open bundle. Use as a context manager or call ``close``; arrays it hands out must not outlive it."""

    def __init__(self, path: Path, view: memoryview, header: Header, manifest: SlimManifest) -> None:
        self.path = path
        self.header = header
        self.manifest = manifest
        self._view = view

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> SlimBundle:
        """Map a bundle and check its structure and its manifest; no weight is read.

        Raises:
            FormatError: a rule of core/FORMAT.md is broken; ``rule`` names it.
            UsageError: the file cannot be read.
        """
        path = Path(path)
        try:
            with open(path, "rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                header_length(stream.read(8), size)  # an empty or foreign file is refused before it is mapped
                view = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        except OSError as error:
            raise UsageError(
                f"cannot read {path}: {error.strerror or error}", hint="edgeslim pack CKPT --target all makes a bundle"
            ) from error
        return cls.from_bytes(view, path)

    @classmethod
    def from_bytes(cls, content: bytes | memoryview, path: Path = Path("bundle.slim")) -> SlimBundle:
        """As ``open``, for a bundle that is in memory already; ``path`` is for messages.

        Raises:
            FormatError: a rule of core/FORMAT.md is broken; ``rule`` names it.
        """
        view = memoryview(content)
        length = header_length(bytes(view[:8]), len(view))
        header = parse_header(bytes(view[8 : 8 + length]), len(view))
        return cls(path, view, header, _manifest(view, header))

    def __enter__(self) -> SlimBundle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the mapping back (it stays while arrays handed out still live)."""
        self._view = memoryview(b"")

    def stored(self, name: str) -> memoryview:
        """The bytes of a tensor as they stand in the file (deflated ones deflated)."""
        entry = self.header.tensors[name]
        return self._view[self.header.data_start + entry.begin : self.header.data_start + entry.end]

    def tensor(self, name: str) -> npt.NDArray[Any]:
        """A tensor as a read-only view of the mapped file."""
        entry = self.header.tensors[name]
        return np.frombuffer(self.stored(name), _DTYPES[entry.dtype]).reshape(entry.shape)

    # What stands in it

    @property
    def size_bytes(self) -> int:
        """Of the whole file."""
        return self.header.data_start + sum(entry.end - entry.begin for entry in self.header.tensors.values())

    def parts(self) -> dict[str, int]:
        """Bytes of the file per kind of part; they add up to ``size_bytes``."""
        kinds = {"weight": "weights", "bias": "weights", "fold": "folds", "template": "templates", "recipe": "recipes"}
        found = {"header": self.header.data_start, **dict.fromkeys(kinds.values(), 0), "manifest": 0}
        for name, entry in self.header.tensors.items():
            found[kinds.get(name.partition("/")[0], "manifest")] += entry.end - entry.begin
        return found

    def resolve(self, width: Width | int) -> WidthEntry:
        """The net that ``width`` or one of its aliases names.

        Raises:
            WidthError: no such width; names the nearest ones.
        """
        permille = width.permille if isinstance(width, Width) else width
        entry = self.manifest.width(permille)
        if entry is None:
            raise _no_width(permille, [w.permille for w in self.manifest.widths], f"{self.path} has")
        return entry

    def variant(self, target: str, variant: str | None = None) -> Variant:
        """The variant of ``target``: the only one, or the one called ``variant`` (``fp16-224`` or its whole id).

        Raises:
            UsageError: no such target or variant, or several and none named.
        """
        found = [v for v in self.manifest.variants if v.target == target]
        if not found:
            targets = sorted({v.target for v in self.manifest.variants})
            raise UsageError(f"{self.path} has nothing for {target!r}; it has {', '.join(targets) or 'no target'}")
        if variant is not None:
            found = [v for v in found if variant in (v.id, v.id.removeprefix(f"{target}-"))]
        if len(found) != 1:
            names = ", ".join(v.id for v in self.manifest.variants if v.target == target)
            raise UsageError(f"{self.path} has these variants of {target!r}: {names}", hint="name one with --variant")
        return found[0]

    def nearest(self, target: str, width: Width, *, variant: str | None = None) -> Width:
        """``width`` itself where ``target`` has it, else the next narrower one that it has.

        Raises:
            WidthError: all are wider.
        """
        there = {a.permille for a in self.variant(target, variant).artifacts}
        names = {name: w.permille for w in self.manifest.widths for name in (w.permille, *w.aliases)}
        fitting = [name for name, permille in names.items() if permille in there and name <= width.permille]
        if not fitting:
            raise _no_width(width.permille, sorted(there), f"{self.path} has")
        return Width(names[max(fitting)])

    def artifact(self, target: str, width: Width | int, *, variant: str | None = None) -> tuple[Variant, ArtifactEntry]:
        """The artifact of ``width`` for ``target``.

        Raises:
            WidthError, UsageError: as ``resolve`` and ``variant``, or the width is there for other targets only.
        """
        chosen = self.variant(target, variant)
        entry = self.resolve(width)
        artifact = chosen.artifact(entry.permille)
        if artifact is None:
            raise _no_width(entry.permille, [a.permille for a in chosen.artifacts], f"{chosen.id} has")
        return chosen, artifact

    # Its parts

    def fold(self, width: WidthEntry) -> list[LayerFold]:
        """Scales and shifts of every layer at ``width``.

        Raises:
            FormatError: ``bad-deflate``, ``inflate-limit``, ``hash-mismatch``, ``non-finite``.
        """
        layers, cuts = self.manifest.layers, self.manifest.cuts(width)
        values = np.empty(0, np.float32)
        if width.fold_sha256 is not None:
            name = f"fold/{width.permille:04d}"
            content = unshuffled(inflated(self.stored(name), 4 * self.manifest.fold_values(width), name))
            _check_hash(content, width.fold_sha256, name)
            values = np.frombuffer(content, "<f4")
            _check_finite(values, name)
        wants = ((x.in_scale, x.scale, x.shift, cut) for x, cut in zip(layers, cuts, strict=True))
        return split_fold(values, wants)

    def layers(self, width: WidthEntry) -> list[LayerArrays]:
        """Every layer at ``width``: masters as views of the file, folds beside them."""
        return [
            layer_arrays(
                self.tensor(f"weight/{layer.name}"),
                None if layer.bias_sha256 is None else self.tensor(f"bias/{layer.name}"),
                cut,
                fold,
            )
            for layer, cut, fold in zip(self.manifest.layers, self.manifest.cuts(width), self.fold(width), strict=True)
        ]

    def recipe(self, variant: Variant, artifact: ArtifactEntry) -> tuple[Segment, ...]:
        """Where every constant stands in the artifact's files.

        Raises:
            FormatError: ``bad-deflate``, ``inflate-limit``, ``hash-mismatch``, ``template-size`` and the rules of
                ``decode_recipe``.
        """
        identifier = artifact_id(variant.id, artifact.permille)
        name = f"recipe/{identifier}"
        content = inflated(self.stored(name), artifact.recipe_bytes, name)
        _check_hash(content, artifact.recipe_sha256, name)
        constants = self.manifest.constants(self.resolve(artifact.permille))
        segments = decode_recipe(content, constants, [file.bytes for file in artifact.files])
        covered = sum(segment_bytes(segment, constants) for segment in segments)
        if covered + artifact.template_bytes != artifact.total_bytes:
            raise FormatError(
                "template-size",
                f"{identifier}: {covered} bytes of segments and {artifact.template_bytes} of template "
                f"do not make {artifact.total_bytes}",
            )
        return segments

    def template(self, variant: Variant, artifact: ArtifactEntry) -> TemplateReader:
        """The literal bytes of an artifact, to be read in pieces."""
        return template_reader(self.stored, variant, artifact)

    # What one does with it

    def rebuild(
        self,
        target: str,
        width: Width | int,
        out: str | os.PathLike[str],
        *,
        variant: str | None = None,
        overwrite: bool = False,
    ) -> RebuiltArtifact:
        """Write the exporter's file (or directory) of one width, byte for byte, at ``out``; whole or not at all.

        Raises:
            WidthError, UsageError: no such width, target or variant.
            OutputError: ``out`` exists and ``overwrite`` is false, or it cannot be written.
            FormatError: the bundle is damaged.
        """
        out = Path(out)
        chosen, artifact = self.artifact(target, width, variant=variant)
        segments = self.recipe(chosen, artifact)
        layers = self.layers(self.resolve(artifact.permille))
        template = self.template(chosen, artifact)
        if chosen.directory:
            recover_directory(out)
            with temporary_directory_beside(out) as folder:

                def inside(file: FileEntry) -> AbstractContextManager[BinaryIO]:
                    place = folder / file.path
                    place.parent.mkdir(parents=True, exist_ok=True)
                    return write_atomically(place, overwrite=False, lasting=False)

                write_files(artifact.files, segments, layers, template, inside)
                replace_directory(folder, out, overwrite=overwrite)
        else:

            def alone(_: FileEntry) -> AbstractContextManager[BinaryIO]:
                return write_atomically(out, overwrite=overwrite, lasting=False)  # it can be rebuilt at any time

            write_files(artifact.files, segments, layers, template, alone)
        return RebuiltArtifact(path=out, permille=artifact.permille, files=artifact.files)

    def check(self) -> None:
        """Hash every part and read every recipe and fold; rebuilds nothing.

        Raises:
            FormatError: naming the broken rule.
        """
        for layer in self.manifest.layers:
            for kind, expected in (("weight", layer.weight_sha256), ("bias", layer.bias_sha256)):
                if expected is not None:
                    name = f"{kind}/{layer.name}"
                    _check_hash(self.stored(name), expected, name)
                    _check_finite(self.tensor(name), name)
        for width in self.manifest.widths:
            self.fold(width)
        for variant in self.manifest.variants:
            for artifact in variant.artifacts:
                self.recipe(variant, artifact)
                self._check_template(variant, artifact)

    def _check_template(self, variant: Variant, artifact: ArtifactEntry) -> None:
        reader = self.template(variant, artifact)
        digest = hashlib.sha256()
        left = artifact.template_bytes
        while left:
            piece = reader.read(min(left, BLOCK_BYTES))
            digest.update(piece)
            left -= len(piece)
        reader.finish()
        if digest.hexdigest() != artifact.template_sha256:
            raise FormatError("hash-mismatch", f"template/{artifact_id(variant.id, artifact.permille)} is damaged")


def template_reader(stored: Callable[[str], Stored], variant: Variant, artifact: ArtifactEntry) -> TemplateReader:
    """Reads a template out of the stored tensors, with the template of the variant's widest net beside it."""
    name = f"template/{artifact_id(variant.id, artifact.permille)}"
    widest = variant.artifacts[-1]
    base = None if artifact.permille == widest.permille else template_reader(stored, variant, widest)
    return TemplateReader(stored(name), artifact.template_bytes, name, base)


def _manifest(view: memoryview, header: Header) -> SlimManifest:
    entry = header.tensors.get("manifest")
    if entry is None:
        raise FormatError("missing-tensor", "the bundle has no manifest")
    if entry.end - entry.begin > MAX_MANIFEST_BYTES:
        raise FormatError("manifest-too-large", f"the manifest has {entry.end - entry.begin} bytes")
    text = bytes(view[header.data_start + entry.begin : header.data_start + entry.end])
    _check_hash(text, header.manifest_sha256, "the manifest")
    manifest = parse_manifest(text)
    expected = expected_tensors(manifest)
    for name in expected:
        if name not in header.tensors:
            raise FormatError("missing-tensor", f"the manifest speaks of {name!r}, which is not there")
    for name, found in header.tensors.items():
        if name not in expected:
            raise FormatError("unexpected-tensor", f"the manifest does not speak of {name!r}")
        dtype, shape = expected[name]
        if found.dtype != dtype or (len(found.shape) != 1 if shape is None else found.shape != shape):
            raise FormatError(
                "tensor-mismatch", f"{name!r} is {found.dtype} {list(found.shape)}, the manifest says {dtype} {shape}"
            )
    return manifest


def _check_hash(content: bytes | memoryview, expected: str, name: str) -> None:
    if hashlib.sha256(content).hexdigest() != expected:
        raise FormatError("hash-mismatch", f"{name} is damaged: its SHA-256 is not the one in the bundle")


def _check_finite(values: npt.NDArray[Any], name: str) -> None:
    for part in np.array_split(values.reshape(-1), values.size // _FINITE_CHUNK + 1):
        if not np.isfinite(part).all():
            raise FormatError("non-finite", f"{name} holds a NaN or an infinity")


def _no_width(permille: int, there: list[int], where: str) -> WidthError:
    below = max((p for p in there if p < permille), default=None)
    above = min((p for p in there if p > permille), default=None)
    nearest = " and ".join(str(Width(p)) for p in (below, above) if p is not None)
    listed = ", ".join(str(Width(p)) for p in sorted(there))
    return WidthError(
        f"no width {Width(permille)}: the nearest are {nearest}; {where} {listed}",
        hint="choose one of them" + (", or the next narrower with --nearest" if below is not None else ""),
    )
