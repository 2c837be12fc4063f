"""``verify``: rebuild every artifact of a bundle, check its hash, run it, compare it with the folded PyTorch net.

    SlimBundle ─┬─► rebuild ─► file ─► runtime ─► logits ─┐
                └─► folded_net ─► PyTorch ───────► logits ─┴─► SQNR, error, agreement ─► VerifyRow

ExecuTorch and LiteRT run in their real runtimes. Core ML runs in Core ML on macOS; elsewhere the saved program is
evaluated operation by operation (runtime ``coreml-mil``), which covers what is in the file but not the Neural Engine.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edgeslim import targets
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.manifest import ArtifactEntry, Variant
from edgeslim.core.width import Width
from edgeslim.data.images import ImageSet
from edgeslim.deploy.bundle_net import folded_net
from edgeslim.deploy.compare import Pixels, compare, fp16_floor_db, seeded_pixels
from edgeslim.errors import CannotCheckError, DataError, FormatError, UsageError, WidthError
from edgeslim.models.sliced import SlicedModel
from edgeslim.targets.exporting import muted
from edgeslim.targets.info import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRow:
    """One artifact; without the right bytes (``hash_ok``) nothing was run and the figures are null.

    ``unchecked`` says why it could not be run or evaluated on this machine: that is no failure, and no figure.
    """

    target: str
    permille: int
    runtime: str | None
    hash_ok: bool
    sqnr_db: float | None
    max_abs_error: float | None
    top1_agreement: float | None
    ok: bool
    unchecked: str | None = None


def pixels_of(data: ImageSet, count: int) -> list[Pixels]:
    """``count`` images of a data set, spread evenly over it, as (H, W, C)."""
    pixels = data.subset(count).decoded().pixels
    assert isinstance(pixels, torch.Tensor)
    return [np.ascontiguousarray(image.numpy().transpose(1, 2, 0)) for image in pixels]


def verify(
    bundle: SlimBundle,
    *,
    targets_wanted: Sequence[str] | None = None,
    widths: Sequence[Width] | None = None,
    images: Sequence[Pixels] | None = None,
    count: int = 8,
    min_sqnr_db: float | None = None,
    threads: int = 1,
    on_row: Callable[[VerifyRow], None] = lambda row: None,
) -> list[VerifyRow]:
    """Verify artifacts of ``bundle``, ascending by target and width.

    Args:
        images: uint8 (H, W, C) in the net's input size; None: ``count`` seeded ones.
        min_sqnr_db: the least SQNR that is ``ok``; None: what the target says of the precision (``Limits``).

    Raises:
        UsageError, WidthError: the bundle has no such target or width, or nothing is left to verify.
        MissingExtraError: a runtime is not installed.
        DataError: images of another size.
    """
    chosen = _chosen(bundle, targets_wanted, widths)
    contract = bundle.manifest.input
    if images is None:
        images = seeded_pixels(count, size=contract.height, channels=contract.channels)
    for image in images:
        if image.shape != (contract.height, contract.width, contract.channels):
            raise DataError(f"an image is {image.shape}, the net takes {contract.height}x{contract.width}")
    for variant, _ in chosen:
        targets.get(variant.target).info.ensure_available(exporting=False)
    rows = []
    nets: dict[int, SlicedModel] = {}
    for variant, artifact in chosen:
        if artifact.permille not in nets:
            nets[artifact.permille] = folded_net(bundle, bundle.resolve(artifact.permille))
        net = nets[artifact.permille]
        rows.append(_verified(bundle, variant, artifact, net, images, min_sqnr_db, threads))
        on_row(rows[-1])
    return rows


def _limits(variant: Variant, min_sqnr_db: float | None) -> Limits:
    limits = targets.get(variant.target).info.precision(variant.precision).limits
    return limits if min_sqnr_db is None else dataclasses.replace(limits, min_sqnr_db=min_sqnr_db, slack_db=None)


def _numbers(decimals: Sequence[str]) -> tuple[float, ...]:
    return tuple(map(float, decimals))


def _chosen(
    bundle: SlimBundle, wanted: Sequence[str] | None, widths: Sequence[Width] | None
) -> list[tuple[Variant, ArtifactEntry]]:
    there = {name for variant in bundle.manifest.variants for name in (variant.target, variant.id)}
    for name in wanted or ():
        if name not in there:
            raise UsageError(f"{bundle.path} has nothing for {name!r}; it has {', '.join(sorted(there))}")
    permille = None if widths is None else {bundle.resolve(width).permille for width in widths}
    chosen = [
        (variant, artifact)
        for variant in bundle.manifest.variants
        if wanted is None or variant.target in wanted or variant.id in wanted
        for artifact in variant.artifacts
        if permille is None or artifact.permille in permille
    ]
    if not chosen:
        raise WidthError(f"{bundle.path} has no artifact with these targets and widths")
    return chosen


def _verified(
    bundle: SlimBundle,
    variant: Variant,
    artifact: ArtifactEntry,
    net: SlicedModel,
    images: Sequence[Pixels],
    min_sqnr_db: float | None,
    threads: int,
) -> VerifyRow:
    contract = bundle.manifest.input
    mean, std = _numbers(contract.mean), _numbers(contract.std)
    row = VerifyRow(
        target=variant.target,
        permille=artifact.permille,
        runtime=None,
        hash_ok=True,
        sqnr_db=None,
        max_abs_error=None,
        top1_agreement=None,
        ok=True,
    )
    with tempfile.TemporaryDirectory(prefix="edgeslim-verify-") as name:
        out = Path(name) / f"net{variant.suffix}"
        try:
            bundle.rebuild(variant.target, Width(artifact.permille), out, variant=variant.id)
        except FormatError:
            return dataclasses.replace(row, hash_ok=False, ok=False)
        try:
            limits = _limits(variant, min_sqnr_db)
            with muted():
                runner = targets.get(variant.target).load(out, threads=threads)
                try:
                    found = compare(net, runner, images, mean=mean, std=std)
                    runtime = runner.describe().name
                finally:
                    runner.close()
        except CannotCheckError as error:
            return dataclasses.replace(row, unchecked=error.message)
    least = limits.sqnr_db(lambda: fp16_floor_db(net, images, mean=mean, std=std))
    return dataclasses.replace(
        row,
        runtime=runtime,
        sqnr_db=found.sqnr_db,
        max_abs_error=found.max_abs_error,
        top1_agreement=found.top1_agreement,
        ok=found.sqnr_db >= least and found.top1_agreement >= limits.min_agreement,
    )
