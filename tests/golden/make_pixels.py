"""Writes tests/golden/pixels/: camera buffers and images, and the input that comes of them, for every language.

    .venv/bin/python tests/golden/make_pixels.py          writes them
    .venv/bin/python tests/golden/make_pixels.py --check  exits 1 if they are not what this code makes

Format: tests/golden/pixels/README.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgeslim.core.camera import CameraBuffer, Plane, rgb
from edgeslim.core.pixels import ImageContract, net_input, prepare
from edgeslim.core.strict_json import encode
from edgeslim.errors import ImageError

FOLDER = Path(__file__).with_name("pixels")
GUARD = 0xA5  # fills strides and everything else that must not be read
SMALL_BYTES = 3000  # results up to here are written out


def sample(seed: int, count: int) -> np.ndarray:
    """``count`` bytes that differ everywhere: byte i is (i·i·31 + i·17 + seed·101 + (i >> 3)·57) mod 256."""
    i = np.arange(count, dtype=np.int64)
    return ((i * i * 31 + i * 17 + seed * 101 + (i >> 3) * 57) % 256).astype(np.uint8)


def plane(
    samples: np.ndarray, row_stride: int, pixel_stride: int, offset: int = 0, into: np.ndarray | None = None
) -> np.ndarray:
    """(rows, columns) samples as the bytes of a plane that ends with its last sample."""
    rows, columns = samples.shape
    needed = offset + (rows - 1) * row_stride + (columns - 1) * pixel_stride + 1
    data = np.full(needed, GUARD, np.uint8)
    if into is not None:
        data[: len(into)] = into
    for y in range(rows):
        start = offset + y * row_stride
        data[start : start + (columns - 1) * pixel_stride + 1 : pixel_stride] = samples[y]
    return data


def camera(kind: str, width: int, height: int, *, slack: int = 0, pixel_stride: int = 0, **more: Any) -> dict[str, Any]:
    """A buffer of ``kind`` with ``slack`` bytes behind every row, as the goldens write it."""
    if kind in ("nv12", "nv21", "i420"):
        half = (height + 1) // 2, (width + 1) // 2
        y = sample(1, width * height).reshape(height, width)
        u, v = (sample(seed, half[0] * half[1]).reshape(half) for seed in (2, 3))
        planes = [(plane(y, width + slack, 1), width + slack, 0)]
        if kind == "i420":
            step = pixel_stride or 1
            stride = step * half[1] + slack
            planes += [(plane(samples, stride, step), stride, pixel_stride) for samples in (u, v)]
        else:
            first, second = (u, v) if kind == "nv12" else (v, u)
            stride = 2 * half[1] + slack
            planes += [(plane(second, stride, 2, 1, plane(first, stride, 2)), stride, 0)]
    else:
        channels = {"rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4, "gray": 1}[kind]
        step = pixel_stride or channels
        pixels = sample(4, width * height * channels).reshape(height, width, channels)
        stride, data = step * width + slack, np.empty(0, np.uint8)
        for channel in range(channels):
            data = plane(pixels[..., channel], stride, step, channel, data)
        planes = [(data, stride, pixel_stride)]
    return {
        "format": kind,
        "width": width,
        "height": height,
        "planes": [{"data": text(data), "row_stride": stride, "pixel_stride": step} for data, stride, step in planes],
        "matrix": "bt601",
        "range": "full",
        "rotation": 0,
        "mirror": False,
        **more,
    }


def image(width: int, height: int, channels: int, kind: str = "noise") -> dict[str, Any]:
    pixels = sample(7, width * height * channels).reshape(height, width, channels)
    if kind == "edges":  # black and white, so that a cubic filter overshoots
        pixels = np.where(pixels > 127, 255, 0).astype(np.uint8)
    return {"width": width, "height": height, "channels": channels, "data": text(pixels)}


def contract(width: int, height: int, **more: Any) -> dict[str, Any]:
    made = encode(ImageContract.imagenet(1 if more.get("order") == "gray" else 3, height, width, crop="1"))
    return {**made, **more}


def text(data: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(data).tobytes()).decode()


def data_of(told: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(told), np.uint8)


def buffer_of(told: dict[str, Any]) -> CameraBuffer:
    planes = tuple(Plane(**{**one, "data": data_of(one["data"])}) for one in told["planes"])
    return CameraBuffer(**{**told, "planes": planes})


def contract_of(told: dict[str, Any]) -> ImageContract:
    return ImageContract(**{**told, "mean": tuple(told["mean"]), "std": tuple(told["std"])})


def result(case: dict[str, Any]) -> dict[str, Any]:
    """What comes of a case: the input's bytes, or the name of the refusal."""
    try:
        wanted = contract_of(case["contract"])
        if "camera" in case:
            pixels = rgb(buffer_of(case["camera"]))
        else:
            told = case["image"]
            pixels = data_of(told["data"]).reshape(told["height"], told["width"], told["channels"])
        made = net_input(prepare(pixels, wanted), wanted, dtype=case["dtype"], layout=case["layout"])
    except ImageError as error:
        return {"refused": error.rule}
    content = made.astype(made.dtype.newbyteorder("<")).tobytes()
    found: dict[str, Any] = {"shape": list(made.shape), "sha256": hashlib.sha256(content).hexdigest()}
    return found | ({"bytes": base64.b64encode(content).decode()} if len(content) <= SMALL_BYTES else {})


def case(
    name: str, source: dict[str, Any], wanted: dict[str, Any], dtype: str = "uint8", layout: str = "NHWC"
) -> dict[str, Any]:
    made = {
        "name": name,
        "camera" if "planes" in source else "image": source,
        "contract": wanted,
        "dtype": dtype,
        "layout": layout,
    }
    return made | {"result": result(made)}


def cameras() -> Iterator[dict[str, Any]]:
    same = contract(10, 6, resize="stretch")
    for kind in ("nv12", "nv21", "i420", "rgb", "bgr", "rgba", "bgra"):
        yield case(f"{kind}, rows end where they end", camera(kind, 10, 6), same)
        yield case(f"{kind}, rows with 7 bytes more", camera(kind, 10, 6, slack=7), same)
    gray = contract(10, 6, resize="stretch", order="gray", channels=1, mean=["0.5"], std=["0.5"])
    yield case("gray for a gray net", camera("gray", 10, 6, slack=3), gray)
    yield case("gray for a colour net", camera("gray", 10, 6), same)
    yield case("bgra for a gray net", camera("bgra", 10, 6), gray)
    yield case(
        "i420 with every second chroma byte, as YUV_420_888 has it",
        camera("i420", 10, 6, pixel_stride=2, slack=1),
        same,
    )
    yield case("bgra with 6 bytes a pixel", camera("bgra", 10, 6, pixel_stride=6), same)
    for width, height in ((9, 6), (10, 5), (1, 1), (3, 1)):
        wanted = contract(width, height, resize="stretch")
        for kind in ("nv12", "i420"):
            yield case(f"{kind} of {width} x {height}", camera(kind, width, height, slack=2), wanted)
    for matrix in ("bt601", "bt709"):
        for colours in ("full", "video"):
            yield case(f"nv12, {matrix}, {colours}", camera("nv12", 10, 6, matrix=matrix, range=colours), same)
    for rotation in (0, 90, 180, 270):
        turned = same if rotation % 180 == 0 else contract(6, 10, resize="stretch")
        for mirror in (False, True):
            name = f"nv21 turned by {rotation}" + (", mirrored" if mirror else "")
            yield case(name, camera("nv21", 10, 6, rotation=rotation, mirror=mirror), turned)
    phone = contract(16, 16, crop="0.875")
    told = camera("nv12", 40, 30, slack=24, matrix="bt709", range="video", rotation=90, mirror=True)
    yield case("a whole way: nv12 turned, mirrored, cropped, as float32", told, phone, "float32", "NCHW")
    yield case("the same in NHWC", told, phone, "float32", "NHWC")


def images() -> Iterator[dict[str, Any]]:
    photo, tall = image(31, 23, 3), image(13, 37, 3)
    for interpolation in ("bilinear", "bicubic"):
        for antialias in (True, False):
            how = {"interpolation": interpolation, "antialias": antialias}
            words = interpolation + ("" if antialias else " without antialias")
            yield case(f"{words}, smaller", photo, contract(9, 7, resize="stretch", **how))
            yield case(f"{words}, larger", image(5, 4, 3), contract(17, 13, resize="stretch", **how))
            yield case(f"{words}, wider and lower", photo, contract(50, 9, resize="stretch", **how))
            yield case(
                f"{words}, black and white", image(31, 23, 3, "edges"), contract(12, 12, resize="stretch", **how)
            )
    near = {"interpolation": "nearest", "antialias": False}
    yield case("nearest, smaller", photo, contract(9, 7, resize="stretch", **near))
    yield case("nearest, larger, positions on borders", image(2, 6, 3), contract(9, 4, resize="stretch", **near))
    for name, source in (("wide", photo), ("tall", tall), ("one pixel", image(1, 1, 3)), ("one row", image(40, 1, 3))):
        for width, height in ((12, 12), (14, 9)):
            for resize, crop in (("short_side", "1"), ("short_side", "0.875"), ("stretch", "0.9"), ("letterbox", "1")):
                words = f"{name} into {width} x {height}, {resize}, crop {crop}"
                yield case(words, source, contract(width, height, resize=resize, crop=crop))
    yield case("a letterbox with its own padding", tall, contract(12, 12, resize="letterbox", pad=0))
    yield case("a crop of many places", photo, contract(10, 10, crop="0.123456789"))
    yield case("video range, with padding", tall, contract(12, 12, resize="letterbox", range="video"))
    yield case("blue first", photo, contract(8, 8, order="bgr"))
    gray = {"order": "gray", "channels": 1, "mean": ["0.306"], "std": ["0.319"]}
    yield case("colour for a gray net", photo, contract(8, 8, **gray))
    yield case("gray for a colour net", image(9, 9, 1), contract(8, 8))
    yield case("the size it has", image(8, 8, 3), contract(8, 8))
    every = {"width": 16, "height": 16, "channels": 1, "data": text(np.arange(256, dtype=np.uint8))}
    for mean, std in (("0.485", "0.229"), ("0", "1"), ("0.5", "0.5"), ("-1.5", "0.000000001"), ("0.1", "999999999")):
        wanted = contract(16, 16, **{**gray, "mean": [mean], "std": [std]})
        yield case(f"every byte, mean {mean}, std {std}", every, wanted, "float32", "NCHW")
    imagenet = contract(8, 8)
    for layout in ("NCHW", "NHWC"):
        yield case(f"float32 in {layout}", photo, imagenet, "float32", layout)
        yield case(f"bytes in {layout}", photo, imagenet, "uint8", layout)
    yield case("blue first: mean and std follow", photo, contract(8, 8, order="bgr"), "float32", "NCHW")
    yield case(
        "224 of 256, from a photo's shape", image(96, 64, 3), contract(224, 224, crop="0.875"), "float32", "NCHW"
    )


def refusals() -> Iterator[dict[str, Any]]:
    good, same = camera("nv12", 10, 6), contract(10, 6)
    y, uv = good["planes"]
    short = base64.b64encode(base64.b64decode(uv["data"])[:-1]).decode()
    for name, planes in (
        ("one plane too few", [y]),
        ("one plane too many", [y, uv, uv]),
        ("a byte too few", [y, {**uv, "data": short}]),
        ("rows that overlap", [{**y, "row_stride": 9}, uv]),
        ("a row stride of 0", [{**y, "row_stride": 0}, uv]),
        ("a negative row stride", [{**y, "row_stride": -10}, uv]),
        ("a row stride beyond 2^31", [{**y, "row_stride": 1 << 31}, uv]),
        ("chroma samples that overlap", [y, {**uv, "pixel_stride": 1}]),
        ("a negative pixel stride", [{**y, "pixel_stride": -1}, uv]),
    ):
        yield case(name, {**good, "planes": planes}, same)
    change: dict[str, Any]
    for name, change in (
        ("a format nobody has", {"format": "p010"}),
        ("a matrix nobody has", {"matrix": "bt2020"}),
        ("a range nobody has", {"range": "limited"}),
        ("an odd turn", {"rotation": 45}),
        ("a turn the other way", {"rotation": -90}),
        ("no width", {"width": 0}),
        ("a side of 65,537", {"width": 65_537, "height": 1}),
        ("more pixels than 2^26", {"width": 8192, "height": 8193}),
    ):
        yield case(name, {**good, **change}, same)
    small = image(4, 4, 3)
    for name, change in (
        ("two channels", {"channels": 2, "mean": ["0"] * 2, "std": ["1"] * 2}),
        ("channels of another order", {"order": "gray"}),
        ("an order nobody has", {"order": "rbg"}),
        ("no height", {"height": 0}),
        ("an input of 65,537", {"width": 65_537}),
        ("an input of 2^32 pixels", {"width": 65_536, "height": 65_536}),
        ("a mean too few", {"mean": ["0", "0"]}),
        ("a mean that is no plain decimal", {"mean": ["0", "1e-3", "0"]}),
        ("a mean with a zero at its end", {"mean": ["0", "0.50", "0"]}),
        ("a std of 0", {"std": ["1", "0", "1"]}),
        ("a negative std", {"std": ["1", "-1", "1"]}),
        ("a resize nobody has", {"resize": "crop"}),
        ("a crop of 0", {"crop": "0"}),
        ("a crop above 1", {"crop": "1.1"}),
        ("a negative crop", {"crop": "-0.5"}),
        ("a letterbox that crops", {"resize": "letterbox", "crop": "0.9"}),
        ("an interpolation nobody has", {"interpolation": "lanczos"}),
        ("nearest with antialias", {"interpolation": "nearest"}),
        ("a range nobody has, of the input", {"range": "limited"}),
        ("a pad of 256", {"pad": 256}),
        ("a pad below 0", {"pad": -1}),
    ):
        yield case(f"contract: {name}", small, {**contract(4, 4), **change})
    yield case(
        "too large only once it is resized",
        {"width": 1, "height": 300, "channels": 1, "data": text(np.zeros(300, np.uint8))},
        contract(4096, 4),
    )
    yield case("a crop so small that the resized image is too large", small, contract(4, 4, crop="0.00001"))
    yield case(
        "two channels, of the image",
        {"width": 2, "height": 2, "channels": 2, "data": text(sample(0, 8))},
        contract(4, 4),
    )
    yield case("a layout nobody has", small, contract(4, 4), "uint8", "CHWN")
    yield case("a dtype no image goes in as", small, contract(4, 4), "int8", "NHWC")


FILES = {"cameras": cameras, "images": images, "refusals": refusals}


def texts() -> Iterator[tuple[Path, str]]:
    for name, cases in FILES.items():
        lines = [json.dumps(one, separators=(",", ":"), sort_keys=True) for one in cases()]
        yield FOLDER / f"{name}.jsonl", "\n".join(lines) + "\n"


def main() -> None:
    check = "--check" in sys.argv[1:]
    wrong = []
    for path, content in texts():
        if check and (not path.exists() or path.read_text() != content):
            wrong.append(path.name)
        elif not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
    if wrong:
        raise SystemExit(f"not what this code makes: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
