"""What a bundle offers one target on this machine: its artifacts, and what it takes to have each.

SlimBundle + target name ─► Deployment ─► plans[artifact id]: names, inputs, files and hashes ─► cache.py
                                └──────► build(artifact id, out)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeslim.core import addressing
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.labels import labels
from edgeslim.core.manifest import FileEntry, TensorInfo, Variant, artifact_id, artifact_sha256
from edgeslim.core.pixels import ImageContract
from edgeslim.errors import UsageError, did_you_mean
from edgeslim.runtime.bundle_file import BundleFile


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactPlan:
    """One artifact: what it is called, what goes in and comes out, and how it has to lie in a cache.

    ``key`` is what rows of latency tables are bound to (``artifact_sha256``).
    """

    artifact: str
    """Its id, ``<variant>/<net>``."""
    label: str
    variant: str
    net: str
    width_permille: int | None
    precision: str
    macs: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    contract: ImageContract | None
    """How an image becomes its input; None where it does not take one image."""
    key: str
    name: str
    directory: bool
    files: tuple[FileEntry, ...]

    @property
    def input(self) -> TensorInfo:
        """The only input.

        Raises:
            UsageError: it has several.
        """
        if len(self.inputs) != 1:
            raise UsageError(f"{self.artifact} has {len(self.inputs)} inputs: {_names(self.inputs)}")
        return self.inputs[0]

    @property
    def size_bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    def place(self, root: Path, file: FileEntry) -> Path:
        """Where ``file`` lies when the artifact is at ``root``."""
        return root / file.path if self.directory else root


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Deployment:
    """Every artifact of a bundle for one target (or of some of its variants), by id, from narrow to wide.

    Narrow and wide mean multiply-adds here: the one order that is known before anything has been measured.
    """

    bundle: SlimBundle
    target: str
    variants: tuple[Variant, ...]
    plans: Mapping[str, ArtifactPlan]
    file: BundleFile

    @classmethod
    def of(cls, bundle: SlimBundle, target: str, variants: Sequence[str] | None = None) -> Deployment:
        """Its variants called so (``fp16-224`` or the whole id), by default all of the target.

        Raises:
            UsageError: nothing for this target, or no such variant.
        """
        chosen = _variants(bundle, target, variants)
        named = labels(chosen)
        plans = [
            ArtifactPlan(
                artifact=(identifier := artifact_id(variant.id, artifact.net)),
                label=named[identifier],
                variant=variant.id,
                net=artifact.net,
                width_permille=bundle.resolve(artifact.net).permille,
                precision=variant.precision,
                macs=artifact.macs,
                inputs=variant.inputs,
                outputs=variant.outputs,
                contract=_contract(bundle, variant),
                key=artifact_sha256(artifact),
                name=f"model{variant.suffix}",
                directory=variant.directory,
                files=artifact.files,
            )
            for variant in chosen
            for artifact in variant.artifacts
        ]
        ordered = sorted(plans, key=lambda plan: (plan.macs, plan.size_bytes, plan.artifact))
        return cls(
            bundle=bundle,
            target=target,
            variants=chosen,
            plans={plan.artifact: plan for plan in ordered},
            file=BundleFile(bundle),
        )

    def build(self, artifact: str, out: Path) -> None:
        """Rebuild ``artifact`` at ``out``.

        Raises:
            FormatError: the bundle is damaged. HostError: its file has been cut short.
            OutputError: ``out`` cannot be written.
        """
        self.file.read().rebuild_artifact(artifact, out)

    def close(self) -> None:
        """Let the bundle's file go; the bundle itself stays open."""
        self.file.close()

    @property
    def inputs(self) -> tuple[TensorInfo, ...] | None:
        """What every artifact takes; None where they differ."""
        different = {plan.inputs for plan in self.plans.values()}
        return different.pop() if len(different) == 1 else None

    def named(self, name: str) -> ArtifactPlan:
        """The artifact with this id or label.

        Raises:
            UsageError: there is none.
        """
        for plan in self.plans.values():
            if name in (plan.artifact, plan.label):
                return plan
        known = [text for plan in self.plans.values() for text in (plan.artifact, plan.label)]
        raise UsageError(f"no artifact {name!r}; there are {', '.join(self.plans)}", hint=did_you_mean(name, known))


def _variants(bundle: SlimBundle, target: str, names: Sequence[str] | None) -> tuple[Variant, ...]:
    if names is None:
        return tuple(addressing.variants_of(bundle.manifest, target))
    named = [addressing.only_variant(bundle.manifest, target, name) for name in names]
    return tuple({variant.id: variant for variant in named}.values())


def _contract(bundle: SlimBundle, variant: Variant) -> ImageContract | None:
    info = bundle.manifest.input_info(variant.input)
    return info.tensors[0].image if info is not None and len(info.tensors) == 1 else None


def _names(tensors: Sequence[TensorInfo]) -> str:
    return ", ".join(repr(tensor.name) for tensor in tensors)
