"""Camera buffers become upright uint8 RGB, by whole numbers only (PIXELS.md, "Camera buffers").

planes with any row and pixel stride ─► bytes ─► RGB (BT.601 or 709, full or video range) ─► turned, mirrored
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeslim.core.pixels import Pixels, check_size
from edgeslim.errors import ImageError

Format = Literal["nv12", "nv21", "i420", "rgb", "bgr", "rgba", "bgra", "gray"]
Matrix = Literal["bt601", "bt709"]
ColourRange = Literal["full", "video"]

# format → where each of its samples lies: (plane, offset in it, bytes from one to the next where samples are packed)
_YUV = {
    "nv12": ((0, 0, 1), (1, 0, 2), (1, 1, 2)),
    "nv21": ((0, 0, 1), (1, 1, 2), (1, 0, 2)),
    "i420": ((0, 0, 1), (1, 0, 1), (2, 0, 1)),
}
_PACKED = {
    "rgb": ((0, 0, 3), (0, 1, 3), (0, 2, 3)),
    "bgr": ((0, 2, 3), (0, 1, 3), (0, 0, 3)),
    "rgba": ((0, 0, 4), (0, 1, 4), (0, 2, 4)),
    "bgra": ((0, 2, 4), (0, 1, 4), (0, 0, 4)),
    "gray": ((0, 0, 1),),
}
MAX_STRIDE = (1 << 31) - 1
FORMATS = (*_YUV, *_PACKED)


@dataclass(frozen=True, slots=True, kw_only=True)
class YuvRule:
    """Whole numbers of one (matrix, range), in 65536ths: with y = Y - black, u = U - 128, v = V - 128,
    red = luma·y + red_v·v, green = luma·y - green_u·u - green_v·v, blue = luma·y + blue_u·u.
    """

    black: int
    luma: int
    red_v: int
    green_u: int
    green_v: int
    blue_u: int


YUV_RULES: dict[tuple[Matrix, ColourRange], YuvRule] = {
    ("bt601", "full"): YuvRule(black=0, luma=65536, red_v=91881, green_u=22553, green_v=46802, blue_u=116130),
    ("bt601", "video"): YuvRule(black=16, luma=76309, red_v=104597, green_u=25675, green_v=53279, blue_u=132201),
    ("bt709", "full"): YuvRule(black=0, luma=65536, red_v=103206, green_u=12276, green_v=30679, blue_u=121609),
    ("bt709", "video"): YuvRule(black=16, luma=76309, red_v=117489, green_u=13975, green_v=34925, blue_u=138438),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plane:
    """Bytes of a camera. Sample (x, y) is ``data[y * row_stride + x * pixel_stride]``; the last row may end with its
    last sample. ``pixel_stride`` 0: samples lie as close as the format has them."""

    data: NDArray[np.uint8]
    row_stride: int
    pixel_stride: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CameraBuffer:
    """One frame of ``width`` x ``height`` px as the camera gives it.

    Planes: ``nv12`` and ``nv21`` Y and interleaved chroma (U first, V first), ``i420`` Y, U, V (with pixel stride 2
    this is Android's YUV_420_888), the others one. ``matrix`` and ``range`` matter to YUV. ``rotation``: degrees to
    turn the frame clockwise until it is upright; ``mirror``: then left and right are exchanged.
    """

    format: Format
    width: int
    height: int
    planes: tuple[Plane, ...]
    matrix: Matrix = field(default="bt601")
    range: ColourRange = field(default="full")
    rotation: int = 0
    mirror: bool = False


def rgb(buffer: CameraBuffer) -> Pixels:
    """The frame upright, uint8 (H, W, 3), or (H, W, 1) of a ``gray`` one.

    Raises:
        ImageError: ``bad-buffer``: unknown words, or planes that do not hold the frame; ``too-large``.
    """
    if buffer.format not in FORMATS or (buffer.matrix, buffer.range) not in YUV_RULES:
        told = f"{buffer.format!r}, {buffer.matrix!r}, {buffer.range!r}"[:200]
        raise ImageError(
            "bad-buffer", f"got {told}, expected one of {', '.join(FORMATS)}, bt601 or bt709, full or video"
        )
    if buffer.width < 1 or buffer.height < 1:
        raise ImageError("bad-buffer", f"a frame of {buffer.width}x{buffer.height} px")
    check_size(buffer.height, buffer.width, "the frame")
    places = _YUV[buffer.format] if buffer.format in _YUV else _PACKED[buffer.format]
    expected = 1 + max(plane for plane, _, _ in places)
    if len(buffer.planes) != expected:
        raise ImageError("bad-buffer", f"{buffer.format} has {expected} planes, got {len(buffer.planes)}")
    if buffer.format in _YUV:
        half = (buffer.height + 1) // 2, (buffer.width + 1) // 2
        sizes = ((buffer.height, buffer.width), half, half)
        y, u, v = (_samples(buffer, place, size) for place, size in zip(places, sizes, strict=True))
        pixels = _from_yuv(y, u, v, YUV_RULES[buffer.matrix, buffer.range])
    else:
        size = buffer.height, buffer.width
        pixels = np.stack([_samples(buffer, place, size) for place in places], axis=-1)
    return turned(pixels, buffer.rotation, mirror=buffer.mirror)


def _samples(buffer: CameraBuffer, place: tuple[int, int, int], size: tuple[int, int]) -> NDArray[np.uint8]:
    """One sample per pixel, (rows, columns): a view of the plane's bytes."""
    index, offset, packed = place
    plane = buffer.planes[index]
    rows, columns = size
    step = plane.pixel_stride or packed
    if plane.data.ndim != 1 or plane.data.dtype != np.uint8:
        raise ImageError("bad-buffer", f"plane {index} is {plane.data.dtype} {list(plane.data.shape)}, expected bytes")
    if not packed <= step <= plane.row_stride <= MAX_STRIDE or plane.row_stride < step * (columns - 1) + packed:
        raise ImageError(
            "bad-buffer",
            f"plane {index} has a row stride of {plane.row_stride} and a pixel stride of {step} for {columns} samples "
            f"of {packed} bytes",
        )
    needed = offset + (rows - 1) * plane.row_stride + (columns - 1) * step + 1
    if len(plane.data) < needed:
        raise ImageError("bad-buffer", f"plane {index} has {len(plane.data)} bytes, expected at least {needed}")
    return np.lib.stride_tricks.as_strided(
        plane.data[offset:], (rows, columns), (plane.row_stride, step), writeable=False
    )


def _from_yuv(y: NDArray[np.uint8], u: NDArray[np.uint8], v: NDArray[np.uint8], rule: YuvRule) -> Pixels:
    """Every pixel takes the chroma sample of its 2 x 2 square; sums fit int32."""
    height, width = y.shape
    luma = (y.astype(np.int32) - rule.black) * rule.luma + 32768
    blueish, reddish = (
        np.repeat(np.repeat(plane.astype(np.int32) - 128, 2, axis=0)[:height], 2, axis=1)[:, :width] for plane in (u, v)
    )
    red = luma + rule.red_v * reddish
    green = luma - rule.green_u * blueish - rule.green_v * reddish
    blue = luma + rule.blue_u * blueish
    pixels: Pixels = np.clip(np.stack([red, green, blue], axis=-1) >> 16, 0, 255).astype(np.uint8)
    return pixels


def turned(pixels: Pixels, rotation: int, *, mirror: bool) -> Pixels:
    """uint8 (H, W, C) turned clockwise by ``rotation`` degrees, then mirrored left to right.

    Raises:
        ImageError: ``bad-buffer``: not 0, 90, 180 or 270.
    """
    if rotation not in (0, 90, 180, 270):
        raise ImageError("bad-buffer", f"a frame is turned by 0, 90, 180 or 270 degrees, got {rotation}")
    pixels = np.rot90(pixels, -rotation // 90)
    return np.ascontiguousarray(pixels[:, ::-1] if mirror else pixels)
