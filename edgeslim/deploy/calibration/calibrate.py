"""Exact BatchNorm statistics for every net, and the proof that a net has them.

    Checkpoint + images ─ calibrate ─► CalibratedModel ─ slice(net) ─► SlicedModel
                                            └─ checkpoint() ─► to be saved

Any width of the trained range can be calibrated, trained at or not, and so can any other choice of channels. All nets
share one decoded set of images; widths with the same channels are one net and are calibrated once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence

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
from edgeslim.models.selection import Net, Selection
from edgeslim.models.sliced import SlicedModel
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.models.static import StaticModel, Statistics


class CalibratedModel:
    """A model of which no net can be sliced that it has no statistics for."""

    def __init__(self, checkpoint: Checkpoint, model: SlimmableModel) -> None:
        self._checkpoint = checkpoint
        self._model = model

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> CalibratedModel:
        """The net of ``checkpoint`` with the channels it has statistics for (any, without BatchNorm)."""
        return cls(checkpoint, checkpoint.build())

    @property
    def slimmable(self) -> SlimmableModel:
        """The network that all nets are cut from."""
        return self._model

    def checkpoint(self) -> Checkpoint:
        """What to save."""
        return self._checkpoint

    def has(self, net: Net) -> bool:
        """Whether ``net`` can be sliced."""
        return self._model.spec.norm == "none" or self._model.statistics(net) is not None

    def check(self, net: Net) -> None:
        """Raise ``WidthError`` unless ``net`` can be sliced: in the range, listed, with statistics."""
        chosen = self._model.selection(net)
        if not self.has(chosen):
            known = ", ".join(map(str, self._model.calibrated())) or "none"
            what = "width" if chosen.width is not None else "net"
            raise WidthError(
                f"no BatchNorm statistics for {what} {chosen}; there are some for {known}",
                hint=f"edgeslim calibrate CKPT --data DATA --widths {chosen}",
            )

    def selection(self, net: Net) -> Selection:
        """The channels of ``net``.

        Raises:
            WidthError, ModelError: there is no such net.
        """
        return self._model.selection(net)

    def distinct(self, widths: Sequence[Width]) -> dict[Width, tuple[Width, ...]]:
        """Different nets among ``widths``, ascending: the smallest name of each → its aliases.

        Raises:
            WidthError: outside the range, or not listed.
        """
        return self._model.distinct(widths)

    def static(self, net: Net) -> StaticModel:
        """The plain twin of ``net`` with its BatchNorms and their statistics, in evaluation mode.

        Raises:
            WidthError: outside the range, not listed, or without statistics.
        """
        self.check(net)
        twin = self._model.static(net)
        twin.eval()
        return twin

    def slice(self, net: Net) -> SlicedModel:
        """The deployable twin of ``net``: BatchNorms folded.

        Raises:
            WidthError: outside the range, not listed, or without statistics.
        """
        return fold(self.static(net))


def calibrate(
    checkpoint: Checkpoint,
    data: ImageSet | str,
    nets: Sequence[Net],
    *,
    images: int | None = None,
    memory_bytes: int | None = None,
    device: torch.device | str = "cpu",
    group: dist.ProcessGroup | None = None,
    on_stage: Callable[[Selection, int, int], None] | None = None,
    on_net: Callable[[Selection], None] | None = None,
) -> CalibratedModel:
    """Take the statistics of every BatchNorm in every one of ``nets``, all images as one batch.

    Statistics of other nets stay; accuracies measured with replaced statistics go. A net without BatchNorm comes
    back as it is.

    Args:
        data: calibration images, or the name of a data set whose ``calib`` split is taken. They are normalised as
            the checkpoint says.
        images: at most so many, evenly spread; None: all of ``data`` (512 of a named set).
        memory_bytes: bound of the activations in memory at once; None: half of what is free, at most 4 GiB.
        group: ranks that share the work: each must get the same ``data`` and takes its own part of it.
        on_stage: called with the net, stages done and stages.
        on_net: called after each net.

    Raises:
        WidthError: a width outside the trained range, or not listed by an S-net.
        DataError: no images, damaged images, or an unknown data set.
        UsageError, OutputError: the memory, or the disk, is too small.
    """
    model = checkpoint.build()
    chosen = dict.fromkeys(sorted((model.selection(net) for net in nets), key=lambda net: net.label))
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
    statistics: dict[Net, Statistics] = {}
    for net in sorted(chosen, key=lambda net: net.channels, reverse=True):  # the widest first: it sizes the workspace

        def stage_done(done: int, stages: int, net: Selection = net) -> None:
            if on_stage is not None:
                on_stage(net, done, stages)

        pooled = pooled_statistics(model.static(net), share, workspace=workspace, group=group, on_stage=stage_done)
        statistics[net] = {name: (mean.float(), var.float()) for name, (mean, var) in pooled.items()}
        if on_net is not None:
            on_net(net)
    calibrated = checkpoint.with_statistics(statistics, calibration_sha256=data.data_sha256)
    return CalibratedModel.from_checkpoint(_with_provenance(calibrated, chosen, data))


def prepared_for(checkpoint: Checkpoint, data: ImageSet) -> ImageSet:
    """``data`` as the net was trained, not as the set is by default."""
    return data if checkpoint.input is None else data.prepared_as(checkpoint.input)


def _with_provenance(checkpoint: Checkpoint, nets: Collection[Selection], data: ImageSet) -> Checkpoint:
    """Note per net what its statistics were taken from: nets may be calibrated at different times."""
    source = {"data": data.name, "images": len(data), "data_sha256": data.data_sha256}
    before = checkpoint.provenance.get("calibration")
    notes = {**(before if isinstance(before, dict) else {}), **{net.name: source for net in nets}}
    names = {net.name for net in checkpoint.statistics}
    notes = {name: note for name, note in notes.items() if name in names}
    return dataclasses.replace(checkpoint, provenance={**checkpoint.provenance, "calibration": notes})
