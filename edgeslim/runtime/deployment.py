"""What a bundle offers one target on this machine: a file per width, and what it takes to have it.

SlimBundle + target name ─► Deployment ─► plans[Width]: key, files and hashes ─► cache.py
                                └──────► build(width, out)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeslim.core import addressing
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.manifest import FileEntry, TensorInfo, Variant, artifact_id, artifact_sha256
from edgeslim.core.pixels import ImageContract
from edgeslim.core.width import Width
from edgeslim.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactPlan:
    """One artifact as it has to lie in a cache.

    ``key`` is what rows of latency tables are bound to (``artifact_sha256``).
    """

    width: Width
    key: str
    name: str
    directory: bool
    files: tuple[FileEntry, ...]

    @property
    def size_bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    def place(self, root: Path, file: FileEntry) -> Path:
        """Where ``file`` lies when the artifact is at ``root``."""
        return root / file.path if self.directory else root


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Deployment:
    """Every width of a bundle for one target."""

    bundle: SlimBundle
    variant: Variant
    plans: Mapping[Width, ArtifactPlan]

    @classmethod
    def of(cls, bundle: SlimBundle, target: str, variant: str | None = None) -> Deployment:
        """Raises ``UsageError``: nothing for this target, or several variants and none named."""
        chosen = addressing.only_variant(bundle.manifest, target, variant)
        named = [(net, artifact) for artifact in chosen.artifacts if (net := bundle.resolve(artifact.net)).widths]
        plans = {}
        for net, artifact in sorted(named, key=lambda one: one[0].widths[0]):
            width = Width(net.widths[0])
            plans[width] = ArtifactPlan(
                width=width,
                key=artifact_sha256(artifact),
                name=f"model{chosen.suffix}",
                directory=chosen.directory,
                files=artifact.files,
            )
        return cls(bundle=bundle, variant=chosen, plans=plans)

    def build(self, width: Width, out: Path) -> None:
        """Rebuild the artifact of ``width`` at ``out``.

        Raises:
            FormatError: the bundle is damaged. OutputError: ``out`` cannot be written.
        """
        self.bundle.rebuild_artifact(artifact_id(self.variant.id, self.bundle.resolve(width).id), out)

    def artifact_of(self, width: Width) -> str:
        """The id by which tables and rungs name the artifact of ``width``."""
        return artifact_id(self.variant.id, self.bundle.resolve(width).id)

    def width_of(self, artifact: str) -> Width | None:
        """The width whose artifact has this id; None where it is not of this deployment."""
        return next((width for width in self.plans if self.artifact_of(width) == artifact), None)

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        return self.variant.inputs

    @property
    def contract(self) -> ImageContract:
        """How pixels become the input.

        Raises:
            UsageError: the input is not one image.
        """
        info = self.bundle.manifest.input_info(self.variant.input)
        if info is None or len(info.tensors) != 1 or info.tensors[0].image is None:
            raise UsageError(f"{self.variant.id} takes no single image")
        return info.tensors[0].image

    @property
    def macs(self) -> dict[Width, int]:
        found = {width: self.variant.artifact(self.bundle.resolve(width).id) for width in self.plans}
        return {width: artifact.macs for width, artifact in found.items() if artifact is not None}
