"""Image files as a net's input, by the bundle's input contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgeslim.core.manifest import TensorInfo
from edgeslim.core.pixels import ImageContract, net_input, prepare
from edgeslim.errors import DataError, ImageError
from edgeslim.host.decoding import SUFFIXES, ensure_available, read_image


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
        ImageError: ``bad-contract``: the artifact takes no such image.
        MissingExtraError: Pillow is not installed.
    """

    def __init__(self, contract: ImageContract, taken: TensorInfo) -> None:
        ensure_available()
        image = contract.channels, contract.height, contract.width
        shape = (1, *image) if taken.layout == "NCHW" else (1, *image[1:], image[0])
        if taken.shape != shape or taken.layout not in ("NCHW", "NHWC") or taken.dtype not in ("float32", "uint8"):
            raise ImageError(
                "bad-contract",
                f"the artifact takes {taken.dtype} {list(taken.shape)} as {taken.layout}, "
                f"the contract gives an image of {contract.width}x{contract.height} px in {contract.channels} channels",
            )
        self._contract = contract
        self._taken = taken

    def __call__(self, path: Path) -> NDArray[Any]:
        """The array, shape and dtype as the artifact's input.

        Raises:
            ImageError: ``bad-image``, ``too-large``.
        """
        pixels = prepare(read_image(path, self._contract.channels), self._contract)
        return net_input(pixels, self._contract, dtype=self._taken.dtype, layout=self._taken.layout)
