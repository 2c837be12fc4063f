"""``verify``: rebuild every artifact of a bundle, check its hash, run it, compare it with the folded PyTorch net.

    SlimBundle ─┬─► rebuild ─► file ─► runtime ─► outputs ─┐
                └─► folded_net ─► PyTorch ───────► outputs ─┴─► SQNR, error, agreement ─► VerifyRow

ExecuTorch and LiteRT run in their real runtimes. Core ML runs in Core ML on macOS; elsewhere the saved program is
evaluated operation by operation (runtime ``coreml-mil``), which covers what is in the file but not the Neural Engine:
there, sums inside an operation are float32 and only results are rounded. A real device can be worse.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from edgeslim import targets
from edgeslim.core import addressing
from edgeslim.core.bundle import SlimBundle
from edgeslim.core.manifest import ArtifactEntry, Variant, artifact_id
from edgeslim.core.pixels import ImageContract, Pixels
from edgeslim.core.width import Width
from edgeslim.data.images import ImageSet
from edgeslim.deploy.bundle_net import folded_net
from edgeslim.deploy.compare import compare, fp16_floor_db, seeded_pixels
from edgeslim.deploy.reports import VerifyRow
from edgeslim.deploy.task_of import task_of_bundle
from edgeslim.errors import CannotCheckError, FormatError, UsageError, WidthError
from edgeslim.models.sliced import SlicedModel
from edgeslim.targets.exporting import muted
from edgeslim.targets.info import FEW, Limits
from edgeslim.tasks.base import Task


def pixels_of(data: ImageSet, count: int) -> list[Pixels]:
    """``count`` images of a data set, spread evenly over it, as (H, W, C)."""
    pixels = data.subset(count).decoded().pixels
    assert isinstance(pixels, torch.Tensor)
    return [np.ascontiguousarray(image.numpy().transpose(1, 2, 0)) for image in pixels]


def verify(
    bundle: SlimBundle,
    *,
    targets_wanted: Sequence[str] | None = None,
    widths: Sequence[Width | str] | None = None,
    artifacts: Sequence[str] | None = None,
    data: ImageSet | None = None,
    count: int | None = None,
    min_sqnr_db: float | None = None,
    threads: int = 1,
    on_row: Callable[[VerifyRow], None] = lambda row: None,
) -> list[VerifyRow]:
    """Verify artifacts of ``bundle``, ascending by variant and net.

    Args:
        widths: widths or labels of nets.
        artifacts: only these, by id.
        data: where images come from, prepared for every input; None: seeded ones.
        count: how many; None: as many as the precision wants (``Limits.images``), of seeded ones 8.
        min_sqnr_db: the least SQNR that is ``ok``; None: what the target says of the precision (``Limits``).

    Raises:
        UsageError, WidthError: the bundle has no such artifact, target or net, nothing is left to verify, or the
            task's package is not installed.
        MissingExtraError: a runtime is not installed.
    """
    chosen = _chosen(bundle, targets_wanted, widths, artifacts)
    task = task_of_bundle(bundle.manifest)
    for variant, _ in chosen:
        targets.get(variant.target).info.ensure_available(exporting=False)
    contracts = {variant.input: image_of(bundle, variant.input) for variant, _ in chosen}
    wanted = {variant.id: count or (FEW if data is None else _limits(variant).images) for variant, _ in chosen}

    @lru_cache(maxsize=1)  # artifacts of a variant stand together
    def images(input_id: str, number: int) -> list[Pixels]:
        return _images(contracts[input_id], data, number)

    rows = []
    nets: dict[str, SlicedModel] = {}
    for variant, artifact in chosen:
        if artifact.net not in nets:
            nets[artifact.net] = folded_net(bundle, bundle.resolve(artifact.net))
        net, contract = nets[artifact.net], contracts[variant.input]
        pixels = images(variant.input, wanted[variant.id])
        rows.append(_verified(bundle, variant, artifact, net, task, pixels, contract, min_sqnr_db, threads))
        on_row(rows[-1])
    return rows


def image_of(bundle: SlimBundle, input_id: str) -> ImageContract:
    """The only image of an input.

    Raises:
        UsageError: the input is no single image.
    """
    info = bundle.manifest.input_info(input_id)
    assert info is not None
    if len(info.tensors) != 1 or info.tensors[0].image is None:
        raise UsageError(f"input {input_id} of {bundle.path} is not one image: nothing here can feed it")
    return info.tensors[0].image


def _images(contract: ImageContract, data: ImageSet | None, count: int) -> list[Pixels]:
    if data is not None:
        return pixels_of(data.prepared_as(contract), count)
    return seeded_pixels(count, height=contract.height, width=contract.width, channels=contract.channels)


def _limits(variant: Variant) -> Limits:
    return targets.get(variant.target).info.precision(variant.precision).limits


def _chosen(
    bundle: SlimBundle,
    wanted: Sequence[str] | None,
    widths: Sequence[Width | str] | None,
    artifacts: Sequence[str] | None,
) -> list[tuple[Variant, ArtifactEntry]]:
    nets = None if widths is None else [bundle.resolve(width) for width in widths]
    found = addressing.artifacts(bundle.manifest, targets=wanted, nets=nets)
    if artifacts is not None:
        named = {artifact_id(v.id, a.net) for v, a in map(bundle.find, artifacts)}
        found = [(v, a) for v, a in found if artifact_id(v.id, a.net) in named]
    if not found:
        raise WidthError(f"{bundle.path} has no artifact with these targets and widths")
    return found


def _verified(
    bundle: SlimBundle,
    variant: Variant,
    artifact: ArtifactEntry,
    net: SlicedModel,
    task: Task,
    images: Sequence[Pixels],
    contract: ImageContract,
    min_sqnr_db: float | None,
    threads: int,
) -> VerifyRow:
    identifier = artifact_id(variant.id, artifact.net)
    row = VerifyRow(
        target=variant.target,
        artifact=identifier,
        permille=bundle.resolve(artifact.net).permille,
        net=artifact.net,
        precision=variant.precision,
        runtime=None,
        hash_ok=False,
        checked=True,
        images=len(images),
        sqnr_db=None,
        max_abs_error=None,
        agreement=None,
        tie_share=None,
        changed_share=None,
        ok=False,
    )
    with tempfile.TemporaryDirectory(prefix="edgeslim-verify-") as name:
        out = Path(name) / f"net{variant.suffix}"
        try:
            bundle.rebuild_artifact(identifier, out)
        except FormatError:
            return row
        try:
            with muted():
                runner = targets.get(variant.target).load(out, threads=threads)
                try:
                    found = compare(net, runner, images, contract, task)
                    runtime = runner.describe().name
                finally:
                    runner.close()
        except CannotCheckError as error:
            return dataclasses.replace(row, hash_ok=True, checked=False, reason=error.message, ok=True)
    precision = targets.get(variant.target).info.precision(variant.precision)
    limits = precision.limits
    if min_sqnr_db is not None:
        limits = dataclasses.replace(limits, min_sqnr_db=min_sqnr_db, slack_db=None)
    close = limits.close_enough(found.sqnr_db, lambda: fp16_floor_db(net, images, contract, task))
    ok = close and found.changed <= 1 - limits.min_clear
    return dataclasses.replace(
        row,
        runtime=runtime,
        hash_ok=True,
        sqnr_db=found.sqnr_db,
        max_abs_error=found.max_abs_error,
        agreement=found.agreement,
        tie_share=found.ties,
        changed_share=found.changed,
        remedy=None if ok else precision.remedy or None,
        ok=ok,
    )
