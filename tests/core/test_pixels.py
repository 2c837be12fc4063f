"""Pixels to input: the goldens, properties, and arithmetic that a reader can redo."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgeslim.core.camera import YUV_RULES, CameraBuffer, Plane, rgb, turned
from edgeslim.core.pixels import (
    ImageContract,
    net_input,
    place,
    prepare,
    value_table,
    with_channels,
)
from edgeslim.core.resample import resample
from edgeslim.errors import ImageError

MAKER = Path(__file__).parents[1] / "golden" / "make_pixels.py"
NOISE = np.random.default_rng(0)


def noise(*shape: int) -> np.ndarray:
    return NOISE.integers(0, 256, shape, dtype=np.uint8)


def contract(height: int, width: int, **more: Any) -> ImageContract:
    return dataclasses.replace(ImageContract.imagenet(3, height, width, crop="1"), **more)


def test_the_goldens_are_what_this_code_makes() -> None:
    subprocess.run([sys.executable, str(MAKER), "--check"], check=True)


def test_the_goldens_cover_every_word() -> None:
    folder = MAKER.with_name("pixels")
    cases = [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    cameras = [case["camera"] for case in cases if "camera" in case and "refused" not in case["result"]]
    assert {one["format"] for one in cameras} == {"nv12", "nv21", "i420", "rgb", "bgr", "rgba", "bgra", "gray"}
    assert {(one["matrix"], one["range"]) for one in cameras} == set(YUV_RULES)
    turns = {(one["rotation"], one["mirror"]) for one in cameras}
    assert turns == {(turn, mirror) for turn in (0, 90, 180, 270) for mirror in (False, True)}
    assert {case["result"].get("refused") for case in cases} == {
        None, "bad-buffer", "bad-contract", "bad-image", "too-large"
    }  # fmt: skip
    assert sum(path.stat().st_size for path in folder.iterdir()) < 300_000


# --- resize


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 90)] * 4),
    seed=st.integers(0, 1 << 30),
    how=st.sampled_from(["bilinear", "bicubic"]),
    channels=st.sampled_from([1, 3]),
    edges=st.booleans(),
)
def test_every_pass_is_pillows(sizes: tuple[int, ...], seed: int, how: str, channels: int, edges: bool) -> None:
    height, width, rows, columns = sizes
    image = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    image = np.where(image > 127, 255, 0).astype(np.uint8) if edges else image
    pillow = Image.fromarray(image[..., 0] if channels == 1 else image)
    method = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[how]
    # one axis at a time: from version 13 on Pillow itself chooses which comes first
    expected = np.asarray(pillow.resize((columns, height), method).resize((columns, rows), method))
    got = resample(image, rows, columns, range(rows), range(columns), how, antialias=True)  # type: ignore[arg-type]
    np.testing.assert_array_equal(got.reshape(expected.shape), expected)


@pytest.mark.parametrize(("height", "width"), [(480, 640), (1080, 1920), (500, 333)])
def test_photos_of_usual_sizes_are_pillows(height: int, width: int) -> None:
    image = noise(height, width, 3)
    there = place(height, width, contract(224, 224, crop="0.875"))
    pillow = Image.fromarray(image).resize((there.width, height), Image.Resampling.BILINEAR)
    whole = np.asarray(pillow.resize((there.width, there.height), Image.Resampling.BILINEAR))
    expected = whole[there.top : there.top + 224, there.left : there.left + 224]
    np.testing.assert_array_equal(prepare(image, contract(224, 224, crop="0.875")), expected)


@pytest.mark.parametrize("how", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [True, False])
def test_a_part_is_a_part_of_the_whole(how: Any, antialias: bool) -> None:
    image = noise(37, 29, 3)
    for height, width in ((20, 50), (37, 9), (80, 29), (37, 29)):
        whole = resample(image, height, width, range(height), range(width), how, antialias=antialias)
        rows, columns = range(height // 3, height - 2), range(2, width // 2)
        part = resample(image, height, width, rows, columns, how, antialias=antialias)
        np.testing.assert_array_equal(part, whole[rows.start : rows.stop, columns.start : columns.stop])


def test_nearest_takes_the_pixel_below_the_centre() -> None:
    row = np.arange(6, dtype=np.uint8).reshape(1, 6, 1)
    assert resample(row, 1, 4, range(1), range(4), "nearest", antialias=False)[0, :, 0].tolist() == [0, 2, 3, 5]
    assert resample(row, 1, 3, range(1), range(3), "nearest", antialias=False)[0, :, 0].tolist() == [1, 3, 5]


def test_without_antialias_two_neighbours_count() -> None:
    row = np.array([0, 0, 0, 100, 200, 0, 0, 0], np.uint8).reshape(1, 8, 1)
    sharp = resample(row, 1, 2, range(1), range(2), "bilinear", antialias=False)[0, :, 0]
    assert sharp.tolist() == [0, 0], "centres lie between pixels 1 and 2, 5 and 6"
    soft = resample(row, 1, 2, range(1), range(2), "bilinear", antialias=True)[0, :, 0]
    # weights 0.625 and 0.375 of 3.5 for the two bright pixels, then 0.375 and 0.625
    assert soft.tolist() == [round((62.5 + 75) / 3.5), round((37.5 + 125) / 3.5)]


# --- where the input lies


@pytest.mark.parametrize(
    ("size", "wanted", "expected"),
    [
        ((480, 640), contract(224, 224, crop="0.875"), (256, 341, 16, 58)),
        ((640, 480), contract(224, 224, crop="0.875"), (341, 256, 58, 16)),
        ((480, 640), contract(224, 224), (224, 298, 0, 37)),
        ((480, 640), contract(224, 224, resize="stretch", crop="0.9"), (248, 248, 12, 12)),
        ((480, 640), contract(640, 640, resize="letterbox"), (480, 640, -80, 0)),
        ((1080, 810), contract(640, 640, resize="letterbox"), (640, 480, 0, -80)),
        ((100, 33), contract(64, 64, resize="letterbox"), (64, 21, 0, -21)),
        ((1, 10_000), contract(8, 8, resize="letterbox"), (1, 8, -3, 0)),
    ],
)
def test_placements(size: tuple[int, int], wanted: ImageContract, expected: tuple[int, ...]) -> None:
    assert dataclasses.astuple(place(*size, wanted)) == expected


def test_a_letterbox_shows_all_and_fills_the_rest() -> None:
    made = prepare(np.full((4, 8, 3), 9, np.uint8), contract(7, 8, resize="letterbox", pad=200))
    assert made[:, 0, 0].tolist() == [200, 9, 9, 9, 9, 200, 200]


def test_what_grows_too_large_is_refused_without_being_made() -> None:
    with pytest.raises(ImageError, match="too-large: the image of 1x65000 px, resized"):
        prepare(np.zeros((65_000, 1, 3), np.uint8), contract(224, 224))
    assert prepare(np.zeros((65_000, 1, 3), np.uint8), contract(8, 8, resize="stretch")).shape == (8, 8, 3)


# --- values


def test_values_by_hand() -> None:
    wanted = contract(1, 1, mean=("0.5", "0.25", "0"), std=("0.5", "0.25", "1"))
    pixel = np.array([[[255, 0, 51]]], np.uint8)
    assert net_input(pixel, wanted)[0, :, 0, 0].tolist() == [1.0, -1.0, float(np.float32(0.2))]
    assert net_input(pixel, wanted, layout="NHWC").shape == (1, 1, 1, 3)
    assert net_input(pixel, wanted, dtype="uint8", layout="NCHW")[0, :, 0, 0].tolist() == [255, 0, 51]


def test_the_table_is_within_half_a_step_of_the_exact_value() -> None:
    wanted = contract(1, 1)
    for channel, (mean, std) in enumerate(zip(wanted.mean, wanted.std, strict=True)):
        for byte in range(256):
            exact = (Fraction(byte, 255) - Fraction(mean)) / Fraction(std)
            got = value_table(wanted)[channel, byte]
            assert abs(Fraction(float(got)) - exact) <= Fraction(float(np.spacing(abs(got)))) * Fraction(501, 1000)


def test_video_range_ends_at_16_and_235() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    made = prepare(levels, contract(16, 16, range="video"))[..., 0].ravel()
    assert (made[0], made[255], bool((np.diff(made.astype(int)) >= 0).all())) == (16, 235, True)


def test_luma_is_pillows() -> None:
    image = noise(30, 30, 3)
    np.testing.assert_array_equal(with_channels(image, 1)[..., 0], np.asarray(Image.fromarray(image).convert("L")))


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
    ],
)
def test_what_is_no_image(bad: Any) -> None:
    with pytest.raises(ImageError, match="bad-image"):
        prepare(bad, contract(2, 2))
    with pytest.raises(ImageError, match="bad-image"):
        net_input(bad, contract(2, 2))


# --- cameras


def test_the_yuv_numbers_are_the_recommendations() -> None:
    def whole(value: Fraction) -> int:
        return int(value * 65536 + Fraction(1, 2))

    for (matrix, colours), rule in YUV_RULES.items():
        red, blue = map(Fraction, {"bt601": ("0.299", "0.114"), "bt709": ("0.2126", "0.0722")}[matrix])
        green = 1 - red - blue
        luma, chroma = (Fraction(1), Fraction(1)) if colours == "full" else (Fraction(255, 219), Fraction(255, 224))
        assert dataclasses.astuple(rule) == (
            0 if colours == "full" else 16,
            whole(luma),
            whole(2 * (1 - red) * chroma),
            whole(2 * (1 - blue) * blue / green * chroma),
            whole(2 * (1 - red) * red / green * chroma),
            whole(2 * (1 - blue) * chroma),
        )


def one_colour(y: int, u: int, v: int, **more: Any) -> list[int]:
    planes = tuple(Plane(data=np.array([value], np.uint8), row_stride=1) for value in (y, u, v))
    pixels = rgb(CameraBuffer(format="i420", width=1, height=1, planes=planes, **more))
    return pixels[0, 0].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_black_and_white_are_black_and_white(matrix: Any) -> None:
    assert one_colour(16, 128, 128, matrix=matrix, range="video") == [0, 0, 0]
    assert one_colour(235, 128, 128, matrix=matrix, range="video") == [255] * 3
    assert one_colour(0, 128, 128, matrix=matrix, range="full") == [0, 0, 0]
    assert one_colour(255, 128, 128, matrix=matrix, range="full") == [255] * 3
    assert one_colour(0, 128, 128, matrix=matrix, range="video") == [0, 0, 0], "below black"
    assert one_colour(255, 128, 128, matrix=matrix, range="video") == [255] * 3, "above white"


def test_red_as_cameras_tell_it() -> None:
    assert one_colour(81, 90, 240, matrix="bt601", range="video") == [254, 0, 0]
    assert one_colour(63, 102, 240, matrix="bt709", range="video") == [255, 1, 0]
    assert one_colour(76, 85, 255, matrix="bt601", range="full") == [254, 0, 0]


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 9),
    height=st.integers(1, 9),
    slack=st.tuples(*[st.integers(0, 9)] * 2),
    step=st.integers(1, 4),
    seed=st.integers(0, 1 << 30),
)
def test_strides_do_not_matter(width: int, height: int, slack: tuple[int, int], step: int, seed: int) -> None:
    """NV12, NV21 and I420 of any strides that hold the same samples are the same image."""
    generator = np.random.default_rng(seed)
    half = (height + 1) // 2, (width + 1) // 2
    y, u, v = (generator.integers(0, 256, size, dtype=np.uint8) for size in ((height, width), half, half))

    def spread(samples: np.ndarray, pixel_stride: int, more: int) -> Plane:
        rows, columns = samples.shape
        stride = pixel_stride * columns + more
        data = generator.integers(0, 256, stride * rows, dtype=np.uint8)
        data.reshape(rows, stride)[:, : pixel_stride * columns : pixel_stride] = samples
        return Plane(data=data, row_stride=stride, pixel_stride=pixel_stride)

    def image(form: Any, *planes: Plane) -> np.ndarray:
        return rgb(CameraBuffer(format=form, width=width, height=height, planes=planes))

    plain = image("i420", spread(y, 1, 0), spread(u, 1, 0), spread(v, 1, 0))
    wide = image("i420", spread(y, step, slack[0]), spread(u, step, slack[1]), spread(v, step, slack[0]))
    np.testing.assert_array_equal(wide, plain)
    for form, first, second in (("nv12", u, v), ("nv21", v, u)):
        packed = np.stack([first, second], axis=-1).reshape(half[0], -1)
        chroma = dataclasses.replace(spread(packed, 1, slack[1]), pixel_stride=0)
        np.testing.assert_array_equal(image(form, spread(y, 1, slack[0]), chroma), plain)


@pytest.mark.parametrize(("form", "columns"), [("rgb", 3), ("bgr", 3), ("rgba", 4), ("bgra", 4)])
def test_packed_pixels(form: Any, columns: int) -> None:
    pixels = noise(3, 5, columns)
    plane = Plane(data=np.ascontiguousarray(pixels).ravel(), row_stride=5 * columns)
    got = rgb(CameraBuffer(format=form, width=5, height=3, planes=(plane,)))
    np.testing.assert_array_equal(got, pixels[..., [2, 1, 0]] if form.startswith("b") else pixels[..., :3])


def test_turning() -> None:
    image = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)[..., None]
    assert turned(image, 90, mirror=False)[..., 0].tolist() == [[4, 1], [5, 2], [6, 3]]
    assert turned(image, 270, mirror=False)[..., 0].tolist() == [[3, 6], [2, 5], [1, 4]]
    assert turned(image, 180, mirror=False)[..., 0].tolist() == [[6, 5, 4], [3, 2, 1]]
    assert turned(image, 90, mirror=True)[..., 0].tolist() == [[1, 4], [2, 5], [3, 6]]
    again = image
    for _ in range(4):
        again = turned(again, 90, mirror=False)
    np.testing.assert_array_equal(again, image)
    np.testing.assert_array_equal(turned(turned(image, 0, mirror=True), 0, mirror=True), image)
