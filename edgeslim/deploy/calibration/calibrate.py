"""Exact BatchNorm statistics for every width, and the proof that a net has them.

    Checkpoint + images ─ calibrate ─► CalibratedModel ─ slice(Width) ─► SlicedModel
                                            └─ checkpoint() ─► to be saved

Any width of the trained range can be calibrated, trained at or not. All widths share one decoded set of images; widths
with the same channels are one net and are calibrated once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist

from edgeslim.core.width import Width
from edgeslim.data.images import ImageSet
from edgeslim.data.named import load_data
from edgeslim.deploy.calibration.passes import pooled_statistics
from edgeslim.deploy.calibration.store import Workspace
from edgeslim.deploy.fold import fold
from edgeslim.errors import WidthError
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.models.sliced import SlicedModel
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.models.static import StaticModel, Statistics


class CalibratedModel:
    """A net that cannot be sliced at a width it has no statistics for."""

    def __init__(self, checkpoint: Checkpoint, model: SlimmableModel) -> None:
        self._checkpoint = checkpoint
        self._model = model

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> CalibratedModel:
        """The net of ``checkpoint`` at the widths it has statistics for (all, without BatchNorm)."""
        return cls(checkpoint, checkpoint.build())

    def checkpoint(self) -> Checkpoint:
        """What to save."""
        return self._checkpoint

    def has(self, width: Width) -> bool:
        """Whether the net at ``width`` can be sliced."""
        return self._model.spec.norm == "none" or self._model.statistics(width) is not None

    def check(self, width: Width) -> None:
        """Raise ``WidthError`` unless ``width`` can be sliced: in the range, listed, with statistics."""
        self._model.check_width(width)
        if not self.has(width):
            known = ", ".join(map(str, self._model.calibrated())) or "none"
            raise WidthError(
                f"no BatchNorm statistics for width {width}; there are some for {known}",
                hint=f"edgeslim calibrate CKPT --data DATA --widths {width}",
            )

    def distinct(self, widths: Sequence[Width]) -> dict[Width, tuple[Width, ...]]:
        """Different nets among ``widths``, ascending: the smallest name of each → its aliases.

        Raises:
            WidthError: outside the range, or not listed.
        """
        return self._model.distinct(widths)

    def static(self, width: Width) -> StaticModel:
        """The plain net of ``width`` with its BatchNorms and their statistics, in evaluation mode.

        Raises:
            WidthError: outside the range, not listed, or without statistics.
        """
        self.check(width)
        net = self._model.static(width)
        net.eval()
        return net

    def slice(self, width: Width) -> SlicedModel:
        """The deployable net of ``width``: BatchNorms folded.

        Raises:
            WidthError: outside the range, not listed, or without statistics.
        """
        return fold(self.static(width))


def calibrate(
    checkpoint: Checkpoint,
    data: ImageSet | str,
    widths: Sequence[Width],
    *,
    images: int | None = None,
    memory_bytes: int | None = None,
    device: torch.device | str = "cpu",
    group: dist.ProcessGroup | None = None,
    on_stage: Callable[[Width, int, int], None] | None = None,
    on_width: Callable[[Width], None] | None = None,
) -> CalibratedModel:
    """Take the statistics of every BatchNorm at every one of ``widths``, all images as one batch.

    Statistics of other widths stay; accuracies measured with replaced statistics go. A net without BatchNorm comes
    back as it is.

    Args:
        data: calibration images, or the name of a data set whose ``calib`` split is taken. They are normalised as
            the checkpoint says.
        images: at most so many, evenly spread; None: all of ``data`` (512 of a named set).
        memory_bytes: bound of the activations in memory at once; None: half of what is free, at most 4 GiB.
        group: ranks that share the work: each must get the same ``data`` and takes its own part of it.
        on_stage: called with the width, stages done and stages.
        on_width: called after each net.

    Raises:
        WidthError: a width outside the trained range, or not listed by an S-net.
        DataError: no images, damaged images, or an unknown data set.
        UsageError, OutputError: the memory, or the disk, is too small.
    """
    model = checkpoint.build()
    nets = model.distinct(widths)
    if isinstance(data, str):
        spec = checkpoint.spec
        data = load_data(data, "calib", input_size=spec.input_size, in_channels=spec.in_channels, images=images)
    elif images is not None:
        data = data.subset(images)
    if not model.norms():
        return CalibratedModel(checkpoint, model)
    share = prepared_for(checkpoint, data)
    if group is not None:
        share = share.select(list(range(dist.get_rank(group), len(share), dist.get_world_size(group))))
    share = share.decoded()
    workspace = Workspace(memory_bytes, device)
    statistics: dict[int, Statistics] = {}
    for width in sorted(nets, reverse=True):  # the widest first: it makes the workspace as large as it will be

        def stage_done(done: int, stages: int, width: Width = width) -> None:
            if on_stage is not None:
                on_stage(width, done, stages)

        pooled = pooled_statistics(model.static(width), share, workspace=workspace, group=group, on_stage=stage_done)
        statistics[width.permille] = {name: (mean.float(), var.float()) for name, (mean, var) in pooled.items()}
        if on_width is not None:
            on_width(width)
    calibrated = _without_aliases(checkpoint, model, nets).with_statistics(
        statistics, calibration_sha256=data.data_sha256
    )
    return CalibratedModel.from_checkpoint(_with_provenance(calibrated, nets, data))


def prepared_for(checkpoint: Checkpoint, data: ImageSet) -> ImageSet:
    """``data`` as the net was trained, not as the set is by default."""
    return data if checkpoint.input is None else data.prepared_as(checkpoint.input)


def _without_aliases(checkpoint: Checkpoint, model: SlimmableModel, nets: dict[Width, tuple[Width, ...]]) -> Checkpoint:
    """Drop what is known of the same nets under other names: one net has one set of statistics."""
    if checkpoint.spec.widths:  # widths of the S family are never aliases
        return checkpoint
    replaced = {model.channel_signature(width) for width in nets}
    known = {*checkpoint.statistics, *checkpoint.accuracies}
    stale = {permille for permille in known if model.channel_signature(Width(permille)) in replaced}
    return dataclasses.replace(
        checkpoint,
        statistics={permille: kept for permille, kept in checkpoint.statistics.items() if permille not in stale},
        accuracies={permille: kept for permille, kept in checkpoint.accuracies.items() if permille not in stale},
    )


def _with_provenance(checkpoint: Checkpoint, nets: dict[Width, tuple[Width, ...]], data: ImageSet) -> Checkpoint:
    """Note per width what its statistics were taken from: widths may be calibrated at different times."""
    source = {"data": data.name, "images": len(data), "data_sha256": data.data_sha256}
    before = checkpoint.provenance.get("calibration")
    notes = {**(before if isinstance(before, dict) else {}), **{str(width.permille): source for width in nets}}
    notes = {permille: note for permille, note in notes.items() if int(permille) in checkpoint.statistics}
    return dataclasses.replace(checkpoint, provenance={**checkpoint.provenance, "calibration": notes})
