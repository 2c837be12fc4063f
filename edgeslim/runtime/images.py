"""Image files as a net's input, by the bundle's input contract.

The evaluation transform of edgeslim's data sets: an image whose shorter side is above the input's is resized to 8/7 of
it (256 for 224) and centre-cropped, others are resized to it and centre-cropped; then (pixel/255 - mean) / std.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeslim.core.manifest import InputContract, TensorInfo
from edgeslim.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm"})


def image_files(folder: Path) -> list[Path]:
    """Every image below ``folder``, sorted by path.

    Raises:
        DataError: none there.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise DataError(f"no image in {folder}", hint=f"files ending in {', '.join(sorted(SUFFIXES))} are looked for")
    return found


class Preprocessor:
    """From a file to the array that the artifact takes.

    Raises:
        MissingExtraError: Pillow is not installed.
    """

    def __init__(self, contract: InputContract, taken: TensorInfo) -> None:
        try:
            import PIL.Image
        except ModuleNotFoundError:
            raise MissingExtraError("PIL", "images") from None
        self._open = PIL.Image.open
        self._contract = contract
        self._taken = taken
        shape = (contract.channels, 1, 1)
        mean, std = (np.array(values, np.float32).reshape(shape) for values in (contract.mean, contract.std))
        self._factor = 1 / (255 * std)
        self._offset = -mean / std

    def __call__(self, path: Path) -> NDArray[Any]:
        """The array, shape and dtype as the artifact's input.

        Raises:
            DataError: not an image.
        """
        from PIL import UnidentifiedImageError

        try:
            with self._open(path) as opened:
                image = opened.convert("L" if self._contract.channels == 1 else "RGB")
        except (UnidentifiedImageError, OSError) as error:
            raise DataError(f"cannot read the image {path}: {error}") from None
        pixels = np.asarray(self._cropped(image))
        pixels = pixels.reshape(*pixels.shape[:2], self._contract.channels)
        if self._contract.channel_order == "bgr":
            pixels = pixels[..., ::-1]
        if self._taken.dtype == "uint8":
            return np.ascontiguousarray(pixels[None])
        planes = pixels.transpose(2, 0, 1).astype(np.float32)
        return np.ascontiguousarray((planes * self._factor + self._offset)[None])

    def _cropped(self, image: Image) -> Image:
        from PIL.Image import Resampling

        height, width = self._contract.height, self._contract.width
        shorter = min(image.size)
        scale = (8 / 7 if shorter > min(height, width) else 1) * max(width / image.width, height / image.height)
        size = max(round(image.width * scale), width), max(round(image.height * scale), height)
        if size != image.size:
            image = image.resize(size, Resampling.BILINEAR)
        left, top = (size[0] - width) // 2, (size[1] - height) // 2
        return image.crop((left, top, left + width, top + height))
