"""What a bundle offers one target on this machine: a file per width, and what it takes to have it.

SlimBundle + target name ─► Deployment ─► plans[Width]: key, files and hashes ─► cache.py
                                └──────► build(width, out)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeslim.core.bundle import SlimBundle
from edgeslim.core.manifest import FileEntry, InputContract, TensorInfo, Variant, artifact_sha256
from edgeslim.core.width import Width
from edgeslim.runtime.bundle_file import BundleFile


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
    file: BundleFile

    @classmethod
    def of(cls, bundle: SlimBundle, target: str, variant: str | None = None) -> Deployment:
        """Raises ``UsageError``: nothing for this target, or several variants and none named."""
        chosen = bundle.variant(target, variant)
        plans = {}
        for artifact in sorted(chosen.artifacts, key=lambda artifact: artifact.permille):
            width = Width(artifact.permille)
            plans[width] = ArtifactPlan(
                width=width,
                key=artifact_sha256(artifact),
                name=f"model{chosen.suffix}",
                directory=chosen.directory,
                files=artifact.files,
            )
        return cls(bundle=bundle, variant=chosen, plans=plans, file=BundleFile(bundle))

    def build(self, width: Width, out: Path) -> None:
        """Rebuild the artifact of ``width`` at ``out``.

        Raises:
            FormatError: the bundle is damaged. HostError: its file has been cut short.
            OutputError: ``out`` cannot be written.
        """
        self.file.read().rebuild(self.variant.target, width, out, variant=self.variant.id)

    def close(self) -> None:
        """Let the bundle's file go; the bundle itself stays open."""
        self.file.close()

    @property
    def input(self) -> TensorInfo:
        return self.variant.inputs[0]

    @property
    def contract(self) -> InputContract:
        return self.bundle.manifest.input

    @property
    def macs(self) -> dict[Width, int]:
        return {width: self.bundle.resolve(width).macs for width in self.plans}
