"""Exact BatchNorm statistics for every width, and the proof that a net has them.

    Checkpoint + images ─ calibrate ─► CalibratedModel ─ slice(Width) ─► SlicedModel
                                            └─ checkpoint() ─► to be saved
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgeslim.core.width import Width
from edgeslim.deploy.calibrate_pass import DEFAULT_MEMORY_BYTES, pooled_statistics
from edgeslim.deploy.calibrate_store import Workspace
from edgeslim.deploy.fold import fold
from edgeslim.errors import WidthError
from edgeslim.models.checkpoint import Checkpoint
from edgeslim.models.sliced import SlicedModel
from edgeslim.models.slimmable import SlimmableModel
from edgeslim.models.static import Statistics
from edgeslim.training.images import ImageSet


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

    def slice(self, width: Width) -> SlicedModel:
        """The deployable net of ``width``.

        Raises:
            WidthError: outside the range, not listed, or without statistics.
        """
        self._model.check_width(width)
        if not self.has(width):
            known = ", ".join(map(str, self._model.calibrated())) or "none"
            raise WidthError(
                f"no BatchNorm statistics for width {width}; there are some for {known}",
                hint=f"edgeslim calibrate CKPT --data DATA --widths {width}",
            )
        return fold(self._model.static(width))


def calibrate(
    checkpoint: Checkpoint,
    images: ImageSet,
    widths: Sequence[Width],
    *,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    on_width: Callable[[Width], None] = lambda width: None,
) -> CalibratedModel:
    """Take the statistics of every BatchNorm at every one of ``widths`` from ``images``, as one batch.

    Raises:
        WidthError: a width outside the trained range, or not listed by an S-net.
        DataError: no images, or NaN in them.
    """
    model = checkpoint.build()
    for width in widths:
        model.check_width(width)
    statistics: dict[int, Statistics] = {}
    for width in model.distinct(widths):
        pooled = pooled_statistics(model.static(width), images, workspace=Workspace(memory_bytes))
        statistics[width.permille] = {name: (mean.float(), var.float()) for name, (mean, var) in pooled.items()}
        on_width(width)
    return CalibratedModel.from_checkpoint(
        checkpoint.with_statistics(statistics, calibration_sha256=images.data_sha256)
    )
