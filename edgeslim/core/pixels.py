"""Pixels become a net's input, the same bytes in every language (PIXELS.md).

    camera buffer ─ camera.rgb ─┐
    decoded file ───────────────┴► uint8 (H, W, 1 or 3)
                                        │ prepare: channels, resize, crop or pad, range, order
                                        ▼
                                   uint8 (height, width, channels) ─ net_input ─► float32 NCHW or NHWC, or uint8

Everything up to ``net_input`` is whole numbers but for the resize's coefficients (``resample``); ``net_input`` looks
every byte up in a table of 256 float32 per channel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeslim.core.canonical_json import is_decimal
from edgeslim.core.resample import Interpolation, resample
from edgeslim.core.strict_json import IN_TEXT
from edgeslim.errors import ImageError

Pixels = NDArray[np.uint8]  # (H, W, C)

MAX_SIDE = 65_536
MAX_PIXELS = 1 << 26  # of an image, before and after resizing: 200 MB of RGB
IMAGENET_MEAN = ("0.485", "0.456", "0.406")
IMAGENET_STD = ("0.229", "0.224", "0.225")
_CHANNELS = {"rgb": 3, "bgr": 3, "gray": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageContract:
    """What a net wants to see, and how an image of any size gets there.

    ``mean`` and ``std``: decimals for pixels scaled to [0, 1], one per channel, in the order of the input's channels
    (of a ``bgr`` input the first is blue's). ``resize``: ``short_side`` keeps the ratio and covers the input,
    ``stretch`` does not keep it, ``letterbox`` keeps it and fills the rest with ``pad``. ``crop``: share of the
    resized image that the input shows (0.875 for 224 of 256). ``range``: ``full`` gives bytes as they are, ``video``
    squeezes 0…255 into 16…235.

    Raises:
        ImageError: ``bad-contract``.
    """

    channels: int
    height: int
    width: int
    order: Literal["rgb", "bgr", "gray"]
    mean: tuple[str, ...]
    std: tuple[str, ...]
    resize: Literal["short_side", "stretch", "letterbox"] = field(default="short_side", metadata=IN_TEXT)
    crop: str = field(default="0.875", metadata=IN_TEXT)
    interpolation: Interpolation = field(default="bilinear", metadata=IN_TEXT)
    antialias: bool = field(default=True, metadata=IN_TEXT)
    range: Literal["full", "video"] = field(default="full", metadata=IN_TEXT)
    pad: int = field(default=114, metadata=IN_TEXT)  # the gray that detectors are trained with

    def __post_init__(self) -> None:
        for complaint in _complaints(self):
            raise ImageError("bad-contract", complaint)

    @classmethod
    def imagenet(cls, channels: int, height: int, width: int, crop: str = "0.875") -> ImageContract:
        """What nets trained on ImageNet are used to; a gray one gets the averages of the three channels."""
        gray = channels == 1
        return cls(
            channels=channels,
            height=height,
            width=width,
            order="gray" if gray else "rgb",
            mean=("0.449",) if gray else IMAGENET_MEAN,
            std=("0.226",) if gray else IMAGENET_STD,
            crop=crop,
        )


def _complaints(contract: ImageContract) -> Any:
    sides = contract.channels, contract.height, contract.width
    if not all(type(side) is int and 1 <= side <= MAX_SIDE for side in sides):
        yield f"an input of {contract.channels}x{contract.height}x{contract.width}, expected 1 to {MAX_SIDE} each"
    elif contract.height * contract.width > MAX_PIXELS:
        yield f"an input of {contract.height}x{contract.width} px, expected at most {MAX_PIXELS} px"
    for name, known in (
        ("order", tuple(_CHANNELS)),
        ("resize", ("short_side", "stretch", "letterbox")),
        ("interpolation", ("nearest", "bilinear", "bicubic")),
        ("range", ("full", "video")),
    ):
        if getattr(contract, name) not in known:
            yield f"{name} is one of {', '.join(known)}, got {str(getattr(contract, name))[:80]!r}"
    if _CHANNELS[contract.order] != contract.channels:
        yield f"{contract.order} has {_CHANNELS[contract.order]} channels, the input has {contract.channels}"
    for numbers in (contract.mean, contract.std):
        if len(numbers) != contract.channels or not all(map(_is_decimal, numbers)):
            yield f"mean and std are one decimal text per channel, got {list(numbers)}"[:200]
    if any(float(number) <= 0 for number in contract.std):
        yield f"std must be above 0, got {list(contract.std)}"[:200]
    if not _is_decimal(contract.crop) or contract.crop[0] == "-" or not 0 < billionths(contract.crop) <= 10**9:
        yield f"crop is a decimal text above 0 and at most 1, got {contract.crop!r}"[:200]
    if contract.resize == "letterbox" and contract.crop != "1":
        yield f"a letterbox shows the whole image: its crop is 1, not {contract.crop}"
    if type(contract.antialias) is not bool or (contract.antialias and contract.interpolation == "nearest"):
        yield "antialias is true or false, and false for nearest"
    if type(contract.pad) is not int or not 0 <= contract.pad <= 255:
        yield f"pad is a byte, got {contract.pad!r}"


def _is_decimal(value: Any) -> bool:
    return type(value) is str and is_decimal(value)


def billionths(text: str) -> int:
    """A decimal text that is not negative, exactly: ``"0.875"`` → 875,000,000."""
    whole, _, part = text.partition(".")
    return int(whole) * 10**9 + int(part.ljust(9, "0"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the input lies on the resized image of ``height`` x ``width`` px: its pixel (0, 0) is the resized image's
    (``top``, ``left``); both are negative where a letterbox begins outside."""

    height: int
    width: int
    top: int
    left: int


def check_size(height: int, width: int, what: str) -> None:
    """Raises ``ImageError`` ``too-large``: a side above ``MAX_SIDE`` or more than ``MAX_PIXELS`` in all."""
    if max(height, width) > MAX_SIDE or height * width > MAX_PIXELS:
        raise ImageError(
            "too-large",
            f"{what} has {width}x{height} px, expected at most {MAX_SIDE:,} a side and {MAX_PIXELS:,} in all",
            hint="make the image smaller first",
        )


def place(height: int, width: int, contract: ImageContract) -> Placement:
    """How an image of ``height`` x ``width`` px is resized, and where the input lies on it.

    Raises:
        ImageError: ``too-large``.
    """
    check_size(height, width, "the image")
    rows, columns = contract.height, contract.width
    if contract.resize == "letterbox":
        if width * rows >= height * columns:
            size = max(1, (2 * height * columns + width) // (2 * width)), columns
        else:
            size = rows, max(1, (2 * width * rows + height) // (2 * height))
    else:
        shown = billionths(contract.crop)
        size = rows * 10**9 // shown, columns * 10**9 // shown
        if contract.resize == "short_side":
            size = (
                (size[0], width * size[0] // height)
                if width * size[0] >= height * size[1]
                else (height * size[1] // width, size[1])
            )
    if max(size) > MAX_SIDE or size[0] * size[1] > MAX_PIXELS:
        check_size(*size, f"the image of {width}x{height} px, resized,")
    top, left = (
        (have - want) // 2 if have >= want else -((want - have) // 2)
        for have, want in zip(size, (rows, columns), strict=True)
    )
    return Placement(height=size[0], width=size[1], top=top, left=left)


def prepare(image: Pixels, contract: ImageContract) -> Pixels:
    """uint8 (H, W), (H, W, 1) or (H, W, 3) RGB → uint8 (height, width, channels) as ``contract`` says.

    Raises:
        ImageError: ``bad-image``, ``too-large``.
    """
    image = with_channels(image, contract.channels)
    there = place(image.shape[0], image.shape[1], contract)
    top, left = max(there.top, 0), max(there.left, 0)
    rows = range(top, min(there.top + contract.height, there.height))
    columns = range(left, min(there.left + contract.width, there.width))
    part = resample(
        image, there.height, there.width, rows, columns, contract.interpolation, antialias=contract.antialias
    )
    if part.shape[:2] != (contract.height, contract.width):
        padded = np.full((contract.height, contract.width, contract.channels), contract.pad, np.uint8)
        padded[-there.top or 0 :, -there.left or 0 :][: len(rows), : len(columns)] = part
        part = padded
    if contract.range == "video":
        part = _TO_VIDEO[part]
    return np.ascontiguousarray(part[..., ::-1] if contract.order == "bgr" else part)


_TO_VIDEO = ((np.arange(256) * 219 + 127) // 255 + 16).astype(np.uint8)


def with_channels(image: Pixels, channels: int) -> Pixels:
    """uint8 (H, W), (H, W, 1) or (H, W, 3) RGB → (H, W, ``channels``): gray is repeated, RGB becomes its luma.

    Raises:
        ImageError: ``bad-image``.
    """
    if image.ndim == 2:
        image = image[..., None]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or not image.size:
        raise ImageError(
            "bad-image", f"got {image.dtype} {list(image.shape)}, expected uint8 (height, width, 1 or 3 channels)"
        )
    if image.shape[2] == channels:
        return image
    if channels == 3:
        return np.repeat(image, 3, axis=2)
    red, green, blue = (image[..., channel].astype(np.uint32) for channel in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 32768) >> 16).astype(np.uint8)[..., None]


@lru_cache(maxsize=64)
def value_table(contract: ImageContract) -> NDArray[np.float32]:
    """float32 (channels, 256): what every byte of every channel means.

    byte / 255, minus mean, divided by std, in float64 in this order, rounded to float32 once.
    """
    bytes_ = np.arange(256, dtype=np.float64)[None]
    mean, std = (np.array([float(text) for text in texts])[:, None] for texts in (contract.mean, contract.std))
    table: NDArray[np.float32] = ((bytes_ / 255.0 - mean) / std).astype(np.float32)
    table.flags.writeable = False
    return table


def net_input(
    pixels: Pixels, contract: ImageContract, *, dtype: str = "float32", layout: str = "NCHW"
) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Prepared pixels, uint8 (height, width, channels), as an input (1, …) in C order.

    Args:
        dtype: ``float32``: ``value_table``'s numbers; ``uint8``: the bytes themselves.
        layout: ``NCHW`` or ``NHWC``.

    Raises:
        ImageError: ``bad-image``: not prepared for this contract; ``bad-contract``: another dtype or layout.
    """
    wanted = contract.height, contract.width, contract.channels
    if pixels.dtype != np.uint8 or pixels.shape != wanted:
        raise ImageError("bad-image", f"got {pixels.dtype} {list(pixels.shape)}, the net takes uint8 {list(wanted)}")
    if dtype not in ("float32", "uint8") or layout not in ("NCHW", "NHWC"):
        raise ImageError(
            "bad-contract", f"an image goes in as float32 or uint8 in NCHW or NHWC, not as {dtype} in {layout}"[:200]
        )
    values: NDArray[Any] = pixels
    if dtype == "float32":
        values = np.empty(wanted, np.float32)
        for channel, table in enumerate(value_table(contract)):
            values[..., channel] = table[pixels[..., channel]]
    return np.ascontiguousarray((values.transpose(2, 0, 1) if layout == "NCHW" else values)[None])
