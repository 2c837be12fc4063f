"""Image files become what the net wants to see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeslim.core.manifest import TensorInfo
from edgeslim.core.pixels import ImageContract
from edgeslim.errors import DataError, ImageError
from edgeslim.runtime.images import Preprocessor, image_files


def contract(size: tuple[int, int] = (8, 8), channels: int = 3, order: str = "rgb") -> ImageContract:
    return ImageContract(
        channels=channels,
        height=size[0],
        width=size[1],
        order="gray" if channels == 1 else order,  # type: ignore[arg-type]
        mean=("0.5", "0.25", "0")[:channels],
        std=("0.5", "0.25", "1")[:channels],
    )


def taken(shape: tuple[int, ...], dtype: str = "float32") -> TensorInfo:
    return TensorInfo(name="image", shape=shape, dtype=dtype, layout="NCHW" if dtype == "float32" else "NHWC")


def save(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def test_mean_and_std_by_hand(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = 255, 0, 51
    x = Preprocessor(contract(), taken((1, 3, 8, 8)))(save(tmp_path / "a.png", pixels))
    assert (x.shape, x.dtype) == ((1, 3, 8, 8), np.dtype(np.float32))
    np.testing.assert_array_equal(x[0, :, 0, 0], np.array([1.0, -1.0, 0.2], np.float32))


def test_bgr_pixels_as_they_are(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.full((8, 8, 3), (1, 2, 3), np.uint8))
    x = Preprocessor(contract(order="bgr"), taken((1, 8, 8, 3), "uint8"))(path)
    assert (x.shape, x.dtype, x[0, 0, 0].tolist()) == ((1, 8, 8, 3), np.dtype(np.uint8), [3, 2, 1])


def test_files_are_found_below_in_order(tmp_path: Path) -> None:
    for name in ("b/2.jpg", "a/1.PNG", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in image_files(tmp_path)] == ["1.PNG", "2.jpg"]
    with pytest.raises(DataError, match="no image"):
        image_files(tmp_path / "c")


@pytest.mark.parametrize(
    "wanted",
    [
        taken((1, 3, 8, 9)),
        taken((2, 3, 8, 8)),
        taken((1, 8, 8, 3)),
        taken((1, 8)),
        taken((1, 3, 8, 8), "uint8"),
        TensorInfo(name="image", shape=(1, 3, 8, 8), dtype="int8", layout="NCHW"),
        TensorInfo(name="image", shape=(1, 8, 8, 3), dtype="float32", layout="NC"),
    ],
)
def test_an_artifact_that_takes_something_else(wanted: TensorInfo) -> None:
    with pytest.raises(ImageError, match="bad-contract: the artifact takes"):
        Preprocessor(contract(), wanted)
