"""Reading a bundle: one mapped file, valid by construction.

path ─► SlimBundle.open ─► artifact(…) ─► rebuild(…, out) ─► RebuiltArtifact
                │
                └► check(depth) hashes every part, or rebuilds every file
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
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from edgeslim.core import addressing
from edgeslim.core.constants import (
    Fold,
    MasterArrays,
    NetConstants,
    Quant,
    fold_numbers,
    quant_bytes,
    split_fold,
    split_quant,
)
from edgeslim.core.cut import MasterCut, master_cut
from edgeslim.core.deflate import BLOCK_BYTES, Stored, TemplateReader, inflated, unshuffled
from edgeslim.core.header import Header, header_length, parse_header
from edgeslim.core.manifest import (
    ArtifactEntry,
    FileEntry,
    Net,
    SlimManifest,
    Variant,
    artifact_id,
    expected_tensors,
)
from edgeslim.core.manifest_rules import MAX_MANIFEST_BYTES, parse_manifest
from edgeslim.core.rebuild import check_files, write_files
from edgeslim.core.recipe import Segment, decode_recipe, segment_bytes
from edgeslim.core.width import Width
from edgeslim.errors import FormatError, UsageError
from edgeslim.files import (
    check_free,
    check_space,
    open_file,
    recover_directory,
    replace_directory,
    temporary_directory_beside,
    write_atomically,
)

DEFAULT_MAX_ARTIFACT_BYTES = 1 << 30
Depth = Literal["parts", "files"]
_FINITE_CHUNK = 1 << 18
_DTYPES = {"F32": "<f4", "I32": "<i4", "F16": "<f2", "I8": "i1", "U8": "u1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuiltArtifact:
    """What ``rebuild`` wrote; ``files`` with their paths inside ``path`` where that is a directory."""

    path: Path
    artifact: str
    files: tuple[FileEntry, ...]


class SlimBundle:
    """An open bundle. Use as a context manager or call ``close``; arrays it hands out must not outlive it.

    ``max_artifact_bytes`` is this reader's own limit for the files of one artifact: larger ones are ``too-large``.
    """

    def __init__(self, path: Path, view: memoryview, header: Header, manifest: SlimManifest) -> None:
        self.path = path
        self.header = header
        self.manifest = manifest
        self.max_artifact_bytes = DEFAULT_MAX_ARTIFACT_BYTES
        self._view = view
        self._arrays = MasterArrays(
            manifest.masters, lambda name: self.tensor(f"master/{name}"), lambda name: self.tensor(f"step/{name}")
        )

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> SlimBundle:
        """Map a bundle and check its structure and its manifest; no weight is read.

        Raises:
            FormatError: a rule of core/FORMAT.md is broken; ``rule`` names it.
            UsageError: the file cannot be read.
        """
        path = Path(path)
        try:
            with os.fdopen(open_file(path), "rb") as stream:
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
        kinds = {
            "master": "weights", "step": "weights", "fold": "folds", "quant": "folds", "template": "templates",
            "recipe": "recipes",
        }  # fmt: skip
        found = {"header": self.header.data_start, **dict.fromkeys(kinds.values(), 0), "manifest": 0}
        for name, entry in self.header.tensors.items():
            found[kinds.get(name.partition("/")[0], "manifest")] += entry.end - entry.begin
        return found

    def resolve(self, width: Width | int | str) -> Net:
        """The net that a width (or one of its aliases), a permille or a label names.

        Raises:
            WidthError: no such net; names the nearest ones.
        """
        return addressing.resolve(self.manifest, width)

    def find(self, identifier: str) -> tuple[Variant, ArtifactEntry]:
        """The artifact with the id ``<variant>/<net>``.

        Raises:
            UsageError: there is none.
        """
        return addressing.by_id(self.manifest, identifier)

    def artifact(
        self, target: str, width: Width | int | str, *, variant: str | None = None
    ) -> tuple[Variant, ArtifactEntry]:
        """The only artifact of a net for ``target``.

        Raises:
            WidthError, UsageError: no such net, target or variant; none or several artifacts fit.
        """
        return addressing.one(self.manifest, target, width, variant)

    # Its parts

    def cuts(self, net: Net) -> tuple[MasterCut, ...]:
        """Which positions of every master ``net`` uses."""
        return tuple(master_cut(master, self.manifest.parts, net.cut) for master in self.manifest.masters)

    def fold(self, net: Net) -> tuple[Fold, ...]:
        """What ``net`` brings to every master.

        Raises:
            FormatError: ``bad-deflate``, ``inflate-limit``, ``hash-mismatch``, ``non-finite``.
        """
        return self._fold(net, self.cuts(net))

    def _fold(self, net: Net, cuts: tuple[MasterCut, ...]) -> tuple[Fold, ...]:
        numbers = np.empty(0, np.float32)
        if net.fold_sha256 is not None:
            name = f"fold/{net.id}"
            content = unshuffled(inflated(self.stored(name), 4 * fold_numbers(cuts), name))
            _check_hash(content, net.fold_sha256, name)
            numbers = np.frombuffer(content, "<f4")
            _check_finite(numbers, name)
        return split_fold(numbers, cuts)

    def _quant(self, net: Net, cuts: tuple[MasterCut, ...]) -> tuple[Quant | None, ...] | None:
        if net.quant_sha256 is None:
            return None
        name = f"quant/{net.id}"
        size = quant_bytes(cuts)
        if size == 0:
            raise FormatError("bad-quant", f"{name} belongs to a net without int8 weights")
        content = inflated(self.stored(name), size, name)
        _check_hash(content, net.quant_sha256, name)
        return split_quant(content, cuts)

    def constants(self, net: Net) -> NetConstants:
        """Everything that the constants of ``net`` are made from; masters are views of the file.

        Raises:
            FormatError: as ``fold``; ``bad-quant``.
        """
        cuts = self.cuts(net)
        return NetConstants(arrays=self._arrays, cuts=cuts, folds=self._fold(net, cuts), quants=self._quant(net, cuts))

    def recipe(self, variant: Variant, artifact: ArtifactEntry) -> tuple[Segment, ...]:
        """Where every constant stands in the artifact's files.

        Raises:
            FormatError: ``bad-deflate``, ``inflate-limit``, ``hash-mismatch``, ``template-size`` and the rules of
                ``decode_recipe``.
        """
        return self._recipe(variant, artifact, self.cuts(self.resolve(artifact.net)))

    def _recipe(self, variant: Variant, artifact: ArtifactEntry, cuts: tuple[MasterCut, ...]) -> tuple[Segment, ...]:
        identifier = artifact_id(variant.id, artifact.net)
        name = f"recipe/{identifier}"
        content = inflated(self.stored(name), artifact.recipe_bytes, name)
        _check_hash(content, artifact.recipe_sha256, name)
        quantised = self.resolve(artifact.net).quant_sha256 is not None
        segments = decode_recipe(content, cuts, [file.bytes for file in artifact.files], quantised=quantised)
        covered = sum(segment_bytes(segment, cuts) for segment in segments)
        if covered + artifact.template_bytes != artifact.total_bytes:
            raise FormatError(
                "template-size",
                f"{identifier}: {covered} bytes of segments and {artifact.template_bytes} of template "
                f"do not make {artifact.total_bytes}",
            )
        return segments

    def template(self, variant: Variant, artifact: ArtifactEntry) -> TemplateReader:
        """The literal bytes of an artifact, to be read in pieces."""
        return template_reader(self.manifest, self.stored, variant, artifact)

    # What one does with it

    def rebuild(
        self,
        target: str,
        width: Width | int | str,
        out: str | os.PathLike[str],
        *,
        variant: str | None = None,
        overwrite: bool = False,
    ) -> RebuiltArtifact:
        """Write the exporter's file (or directory) of one net, byte for byte, at ``out``; whole or not at all.

        Raises:
            WidthError, UsageError: no such net, target or variant, or several artifacts fit.
            OutputError: ``out`` exists and ``overwrite`` is false, or it cannot be written.
            FormatError: the bundle is damaged.
        """
        chosen, artifact = self.artifact(target, width, variant=variant)
        return self.rebuild_artifact(artifact_id(chosen.id, artifact.net), out, overwrite=overwrite)

    def rebuild_artifact(
        self, identifier: str, out: str | os.PathLike[str], *, overwrite: bool = False
    ) -> RebuiltArtifact:
        """As ``rebuild``, for the artifact with the id ``<variant>/<net>``."""
        out = Path(out)
        chosen, artifact = self.find(identifier)
        self._check_size(artifact, identifier)
        ours = {file.path for file in artifact.files}.__contains__
        if chosen.directory:
            recover_directory(out, ours=ours)
        check_free(out, overwrite=overwrite, ours=ours if chosen.directory else None)
        check_space(out, artifact.total_bytes)
        net = self.constants(self.resolve(artifact.net))
        segments = self._recipe(chosen, artifact, net.cuts)
        template = self.template(chosen, artifact)
        if chosen.directory:
            with temporary_directory_beside(out) as folder:

                def inside(file: FileEntry) -> AbstractContextManager[BinaryIO]:
                    place = folder / file.path
                    place.parent.mkdir(parents=True, exist_ok=True)
                    return write_atomically(place, overwrite=False, lasting=False)

                write_files(artifact.files, segments, net, template, inside)
                replace_directory(folder, out, overwrite=overwrite, ours=ours)
        else:

            def alone(_: FileEntry) -> AbstractContextManager[BinaryIO]:
                return write_atomically(out, overwrite=overwrite, lasting=False)  # it can be rebuilt at any time

            write_files(artifact.files, segments, net, template, alone)
        return RebuiltArtifact(path=out, artifact=identifier, files=artifact.files)

    def _check_size(self, artifact: ArtifactEntry, identifier: str) -> None:
        if artifact.total_bytes > self.max_artifact_bytes:
            raise FormatError(
                "too-large",
                f"{identifier} has {artifact.total_bytes} bytes, this reader takes {self.max_artifact_bytes}",
            )

    def check(self, depth: Depth = "parts") -> None:
        """Hash every part and read every recipe, fold and quant; at ``files`` also rebuild every file into nothing.

        Raises:
            FormatError: naming the broken rule.
        """
        for master in self.manifest.masters:
            for kind, expected in (("master", master.sha256), ("step", master.step_sha256)):
                if expected is not None:
                    name = f"{kind}/{master.name}"
                    _check_hash(self.stored(name), expected, name)
                    if kind == "master" and master.dtype in ("f32", "f16"):
                        _check_finite(self.tensor(name), name)
            if master.step_sha256 is not None:
                self._arrays.steps(master)
        nets = {net.id: self.constants(net) for net in self.manifest.nets}
        for variant in self.manifest.variants:
            for artifact in variant.artifacts:
                net = nets[artifact.net]
                segments = self._recipe(variant, artifact, net.cuts)
                self._check_template(variant, artifact)
                if depth == "files":
                    self._check_size(artifact, artifact_id(variant.id, artifact.net))
                    check_files(artifact.files, segments, net, self.template(variant, artifact))

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
            raise FormatError("hash-mismatch", f"template/{artifact_id(variant.id, artifact.net)} is damaged")


def template_reader(
    manifest: SlimManifest, stored: Callable[[str], Stored], variant: Variant, artifact: ArtifactEntry
) -> TemplateReader:
    """Reads a template out of the stored tensors, with its base beside it."""
    name = f"template/{artifact_id(variant.id, artifact.net)}"
    beside = (
        None if artifact.base is None else template_reader(manifest, stored, *addressing.by_id(manifest, artifact.base))
    )
    return TemplateReader(stored(name), artifact.template_bytes, name, beside)


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
