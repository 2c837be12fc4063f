"""A data set: lines across gray pictures of 16 px; ``example_stripes``, or ``example_stripes:N`` with N of a split."""

from __future__ import annotations

import torch

from edgeslim.data import Wanted
from edgeslim.data.images import ImageSet
from edgeslim.data.named import in_memory
from edgeslim.errors import DataError

CLASSES = ("level", "upright", "diagonal")
_SEEDS = {"train": 0, "calib": 0, "test": 1}


def load(wanted: Wanted) -> ImageSet:
    """The same pictures every time.

    Raises:
        DataError: what follows the colon is no number of pictures.
    """
    if wanted.rest and not (wanted.rest.isdecimal() and int(wanted.rest) >= len(CLASSES)):
        raise DataError(f"{wanted.rest!r} is no number of pictures", hint="--data example_stripes:96")
    count = int(wanted.rest or 96)
    random = torch.Generator().manual_seed(_SEEDS[wanted.split])
    labels = torch.arange(count) % len(CLASSES)
    rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    along = torch.stack([rows, columns, rows + columns])[labels]
    offset = torch.randint(0, 8, (count, 1, 1), generator=random)
    noise = torch.randint(0, 40, (count, 16, 16), generator=random)
    pixels = (200 * ((along + offset) % 8 < 3) + noise).to(torch.uint8).unsqueeze(1)
    return in_memory(
        wanted,
        "example_stripes",
        pixels,
        labels,
        CLASSES,
        input_size=16,
        mean=("0.37",),
        std=("0.38",),
        flips=False,
    )


def broken_promise(wanted: Wanted) -> str:
    """Gives no images."""
    return wanted.split
