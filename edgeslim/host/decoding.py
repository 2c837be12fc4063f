"""Encoded images become uint8 arrays, the same for every verb (Pillow; extra ``images``).

JPEG, PNG, WebP, GIF, BMP, PNM ─► size checked ─► decoded ─► palette, alpha, CMYK, 16 bits ─► upright by EXIF
"""

from __future__ import annotations

import errno
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeslim.core.camera import turned
from edgeslim.core.pixels import MAX_PIXELS, Pixels, check_size, with_channels
from edgeslim.errors import ImageError, MissingExtraError
from edgeslim.files import read_file

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".ppm", ".pgm")
MAX_BYTES = 4 * MAX_PIXELS  # of an encoded file
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM")  # never those that start other programs
_ORIENTATION = 0x0112
# EXIF orientation → (degrees clockwise, mirrored afterwards)
_TURNS = {2: (0, True), 3: (180, False), 4: (180, True), 5: (90, True), 6: (90, False), 7: (270, True), 8: (270, False)}


def ensure_available() -> None:
    """Raises ``MissingExtraError`` where Pillow is not installed."""
    try:
        import PIL.Image  # noqa: F401
    except ModuleNotFoundError:
        raise MissingExtraError("PIL", "images") from None


def read_image(path: Path, channels: int) -> Pixels:
    """``decode`` of a file.

    Raises:
        ImageError: ``bad-image``, ``too-large``. MissingExtraError: no Pillow.
    """
    try:
        data = read_file(path, most_bytes=MAX_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise ImageError("too-large", f"{path}: {error.strerror}") from None
        raise ImageError("bad-image", f"cannot read the image {path}: {error.strerror or error}") from None
    return decode(data, str(path), channels)


def decode(data: bytes, name: str, channels: int) -> Pixels:
    """Encoded image → upright uint8 (H, W, ``channels``); of an animation the first frame.

    16 bits keep their high byte, transparent pixels are laid on white, CMYK becomes RGB without a profile.

    Args:
        name: what an error calls the image. channels: 1 or 3.

    Raises:
        ImageError: ``bad-image``: none that can be decoded; ``too-large``. MissingExtraError: no Pillow.
    """
    ensure_available()
    import PIL.Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's limit is above ours, and damaged metadata does not matter
            image = PIL.Image.open(io.BytesIO(data), formats=_FORMATS)
            check_size(image.height, image.width, name)
            rotation, mirror = _turn(image)
            pixels = _array(image)
    except ImageError:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise ImageError("too-large", f"{name}: {error}", hint="make the image smaller first") from None
    except PIL.UnidentifiedImageError:
        expected = ", ".join(_FORMATS)
        raise ImageError("bad-image", f"cannot decode {name}: expected {expected}") from None
    except Exception as error:  # plugins answer damaged files with nearly every exception there is
        raise ImageError("bad-image", f"cannot decode {name}: {error}"[:300]) from None
    return turned(with_channels(pixels, channels), rotation, mirror=mirror)


def _turn(image: Image) -> tuple[int, bool]:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # as viewers do: damaged metadata turns nothing
        return 0, False
    return _TURNS.get(orientation, (0, False)) if isinstance(orientation, int) else (0, False)


def _array(image: Image) -> Pixels:
    """uint8 (H, W, 1) or (H, W, 3)."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return _owned(image)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    if image.mode.startswith("I"):  # 16-bit gray
        high: Pixels = (np.clip(np.asarray(image), 0, 65535).astype(np.uint16) >> 8).astype(np.uint8)
        return high[..., None]
    if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA"):
        layered = _owned(image.convert("LA" if image.mode in ("L", "LA") else "RGBA")).astype(np.uint32)
        colour, alpha = layered[..., :-1], layered[..., -1:]
        laid: Pixels = ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
        return laid
    return _owned(image.convert("L" if image.mode == "1" else "RGB"))


def _owned(image: Image) -> Pixels:
    pixels = np.array(image, np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels
