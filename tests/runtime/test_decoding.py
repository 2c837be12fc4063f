"""One decoder: what a file's pixels are does not depend on who asks."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeslim.errors import ImageError
from edgeslim.host import decoding
from edgeslim.host.decoding import decode, read_image


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def corners() -> np.ndarray:
    """4 x 6, every corner its own colour; blocks of 2 so that JPEG's subsampling leaves them alone."""
    pixels = np.full((32, 48, 3), 128, np.uint8)
    pixels[:16, :16], pixels[:16, -16:], pixels[-16:, :16] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    return pixels


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "WEBP"])
def test_lossless_kinds_keep_every_byte(kind: str) -> None:
    data = encoded(Image.fromarray(corners()), kind, **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(decode(data, "x", 3), corners())


def test_gray_and_colour() -> None:
    gray = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    data = encoded(Image.fromarray(gray))
    np.testing.assert_array_equal(decode(data, "x", 1)[..., 0], gray)
    np.testing.assert_array_equal(decode(data, "x", 3), np.repeat(gray[..., None], 3, axis=2))
    expected = np.asarray(Image.fromarray(corners()).convert("L"))
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(corners())), "x", 1)[..., 0], expected)


def test_sixteen_bits_keep_their_high_byte() -> None:
    values = np.array([[0, 255, 256, 32767, 32768, 65535]], np.uint16)
    assert decode(encoded(Image.fromarray(values)), "x", 1)[0, :, 0].tolist() == [0, 0, 1, 127, 128, 255]
    pgm = b"P5 6 1 65535\n" + values.astype(">u2").tobytes()
    assert decode(pgm, "x", 3)[0, :, 2].tolist() == [0, 0, 1, 127, 128, 255]


def test_transparent_pixels_lie_on_white() -> None:
    pixels = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [0, 0, 0, 51]]], np.uint8)
    assert decode(encoded(Image.fromarray(pixels)), "x", 3).tolist() == [[[200, 100, 0], [255] * 3, [204] * 3]]
    gray = Image.fromarray(np.array([[[10, 255], [10, 0]]], np.uint8), "LA")
    assert decode(encoded(gray), "x", 1)[0, :, 0].tolist() == [10, 255]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([9, 8, 7, 1, 2, 3])
    assert decode(encoded(palette), "x", 3).tolist() == [[[9, 8, 7], [1, 2, 3]]]
    assert decode(encoded(palette, transparency=1), "x", 3).tolist() == [[[9, 8, 7], [255, 255, 255]]]
    one_colour = encoded(Image.fromarray(np.array([[[9, 8, 7], [1, 2, 3]]], np.uint8)), transparency=(1, 2, 3))
    assert decode(one_colour, "x", 3).tolist() == [[[9, 8, 7], [255, 255, 255]]]


def test_bits_and_cmyk() -> None:
    bits = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert decode(encoded(bits), "x", 1)[0, :, 0].tolist() == [0, 255]
    cmyk = Image.fromarray(np.full((16, 16, 3), (255, 0, 0), np.uint8)).convert("CMYK")
    assert np.abs(decode(encoded(cmyk, "JPEG", quality=100), "x", 3).astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_photos_stand_upright(orientation: int, kind: str) -> None:
    stored = Image.fromarray(corners())
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, kind, exif=exif, **({"quality": 100} if kind == "JPEG" else {}))
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)  # fmt: skip
    expected = np.asarray(stored if turn is None else stored.transpose(turn)).astype(int)
    got = decode(data, "x", 3)
    assert got.shape == expected.shape
    away = [abs(got[y, x].astype(int) - expected[y, x]).max() for y in (4, -5) for x in (4, -5)]
    assert max(away) < (1 if kind == "PNG" else 40)


def test_of_an_animation_the_first_frame() -> None:
    first, second = (Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (10, 200))
    data = encoded(first, "GIF", save_all=True, append_images=[second])
    assert decode(data, "x", 1).max() == 10


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (8192, 8193), (65_537, 1), (10_000, 9_000)])
def test_too_many_pixels_are_refused_before_they_are_decoded(width: int, height: int) -> None:
    with pytest.raises(ImageError, match="too-large"):
        decode(png_header(width, height), "x", 3)


def test_too_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_BYTES", 10)
    (tmp_path / "a.png").write_bytes(b"x" * 11)
    with pytest.raises(ImageError, match=r"too-large: .*a\.png: it has 11 bytes"):
        read_image(tmp_path / "a.png", 3)


@pytest.mark.parametrize("data", [b"", b"not an image", encoded(Image.fromarray(corners()))[:60], b"%!PS-Adobe-3.0\n"])
def test_what_is_no_image_is_named(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"bad-image: cannot decode cat\.png"):
        decode(data, "cat.png", 3)


def test_damaged_bytes_are_decoded_or_refused_but_never_a_traceback() -> None:
    generator = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "PPM"):
        whole = encoded(Image.fromarray(corners()), kind)
        for _ in range(60):
            data = bytearray(whole)
            for at in generator.integers(0, len(data), 3):
                data[at] = generator.integers(0, 256)
            with contextlib.suppress(ImageError):
                assert decode(bytes(data), "x", 3).ndim == 3


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="bad-image: cannot read the image"):
        read_image(tmp_path / "none.png", 3)
