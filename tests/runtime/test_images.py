"""Image files become what the net wants to see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeslim.core.manifest import InputContract, TensorInfo
from edgeslim.errors import DataError
from edgeslim.runtime.images import Preprocessor, image_files


def contract(size: tuple[int, int] = (8, 8), channels: int = 3, order: str = "rgb") -> InputContract:
    return InputContract(
        channels=channels,
        height=size[0],
        width=size[1],
        channel_order=order,
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
    assert (x.shape, x.dtype) == ((1, 3, 8, 8), np.float32)
    np.testing.assert_allclose(x[0, :, 0, 0], [1.0, -1.0, 0.2], rtol=1e-5)


def test_bgr_and_pixels_as_they_are(tmp_path: Path) -> None:
    pixels = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    path = save(tmp_path / "a.png", pixels)
    x = Preprocessor(contract(), taken((1, 8, 8, 3), "uint8"))(path)
    np.testing.assert_array_equal(x[0], pixels)
    x = Preprocessor(contract(order="bgr"), taken((1, 8, 8, 3), "uint8"))(path)
    np.testing.assert_array_equal(x[0], pixels[..., ::-1])


def test_grey(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.full((8, 8, 3), 255, np.uint8))
    x = Preprocessor(contract(channels=1), taken((1, 1, 8, 8)))(path)
    np.testing.assert_allclose(x, np.ones((1, 1, 8, 8)))


@pytest.mark.parametrize("size", [(16, 40), (40, 16), (8, 30), (7, 7), (9, 8), (500, 333)])
@pytest.mark.parametrize("wanted", [(8, 8), (8, 12)])
def test_any_size_is_cropped_from_the_centre(tmp_path: Path, size: tuple[int, int], wanted: tuple[int, int]) -> None:
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[size[0] * 2 // 5 : size[0] * 3 // 5 + 1, size[1] * 2 // 5 : size[1] * 3 // 5 + 1] = 255
    x = Preprocessor(contract(wanted), taken((1, 3, *wanted)))(save(tmp_path / "a.png", pixels))
    assert x.shape == (1, 3, *wanted)
    assert x[0, 0, wanted[0] // 2, wanted[1] // 2] > 0, "the bright centre stays in the centre"
    assert x[0, 0, 0, 0] == -1


def test_files_are_found_below_in_order(tmp_path: Path) -> None:
    for name in ("b/2.jpg", "a/1.PNG", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in image_files(tmp_path)] == ["1.PNG", "2.jpg"]
    with pytest.raises(DataError, match="no image"):
        image_files(tmp_path / "c")


def test_a_file_that_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match="cannot read the image"):
        Preprocessor(contract(), taken((1, 3, 8, 8)))(tmp_path / "a.png")
