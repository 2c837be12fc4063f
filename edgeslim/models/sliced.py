"""The deployable net of one choice of channels: layers with bias, nothing slimmable and no BatchNorm."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from edgeslim.core.constants import Float32
from edgeslim.models.count import Counts
from edgeslim.models.selection import Selection
from edgeslim.models.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoldedLayer:
    """What folding made of one convolution or linear layer, beside its weight: see ``core.constants.Fold``.

    ``scale`` and ``shift`` are float32 of shape (output channels,), ``in_scale`` (a BatchNorm *before* the layer) of
    shape (input channels,). Without ``shift`` the layer keeps its own bias.
    """

    name: str
    in_scale: Float32 | None
    scale: Float32 | None
    shift: Float32 | None


class SlicedModel(nn.Module):
    """(N, C, H, W) float → (N, classes) logits; made by ``deploy.fold.fold``, always in evaluation mode.

    ``counts`` are those of the net before folding (the published convention); ``layers`` are in module order.
    """

    def __init__(
        self,
        features: nn.Module,
        classifier: nn.Module,
        *,
        spec: ModelSpec,
        selection: Selection,
        counts: Counts,
        layers: tuple[FoldedLayer, ...],
    ) -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier
        self.spec = spec
        self.selection = selection
        self.counts = counts
        self.layers = layers
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))  # type: ignore[no-any-return]
