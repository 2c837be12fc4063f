"""Images that a verb's options name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from edgeslim.data.images import ImageSet
    from edgeslim.models.spec import ModelSpec

Split = Literal["train", "calib", "test"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """``data``: a data set's name, or ``folder:PATH``; ``images``: at most so many, evenly spread; ``data_root``: where
    downloaded sets are kept (None: the user's cache); ``download``: fetch what is missing; ``workers``: processes that
    decode photos."""

    data: str
    split: Split = "test"
    images: int | None = None
    data_root: Path | None = None
    download: bool = False
    workers: int = 2

    def load(self, spec: ModelSpec) -> ImageSet:
        """The images, in the size and channels of ``spec``'s nets.

        Raises:
            DataError: unknown, missing or damaged data.
        """
        from edgeslim.data.named import load_data

        return load_data(
            self.data,
            self.split,
            input_size=spec.input_size,
            in_channels=spec.in_channels,
            images=self.images,
            root=self.data_root,
            download=self.download,
            workers=self.workers,
        )
