"""Data sets: fixed splits, stable subsets and hashes, one evaluation transform, words for what is missing."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.io import write_png

from edgeslim.core.manifest import TensorInfo
from edgeslim.data.files import ImageFiles
from edgeslim.data.images import ImageSet
from edgeslim.data.named import load_data
from edgeslim.errors import DataError, ImageError
from edgeslim.runtime.images import Preprocessor


def pixels_of(data: ImageSet) -> Tensor:
    assert isinstance(data.pixels, Tensor)
    return data.pixels


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """Two classes, 3 + 2 training and 2 + 2 test images of different sizes above 32 px."""
    generator = torch.Generator().manual_seed(0)
    for split, counts in {"train": {"cat": 3, "dog": 2}, "test": {"cat": 2, "dog": 2}}.items():
        for name, count in counts.items():
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                image = torch.randint(0, 256, (3, 70 + i, 90), generator=generator, dtype=torch.uint8)
                write_png(image, str(folder / f"{i}.png"))
    return tmp_path / "photos"


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png"), reverse=True):  # the archive's order must not matter
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def test_the_digits_split_is_fixed() -> None:
    train, calib, test = (load_data("digits", split) for split in ("train", "calib", "test"))
    assert (len(train), len(calib), len(test)) == (1347, 512, 450)
    assert test.labels[:10].tolist() == [5, 8, 3, 2, 2, 8, 7, 2, 2, 8]
    assert test.data_sha256 == load_data("digits", "test", input_size=32, in_channels=1).data_sha256
    rows = {bytes(row) for row in pixels_of(train).flatten(1).numpy()}
    assert not rows & {bytes(row) for row in pixels_of(test).flatten(1).numpy()}


def test_normalisation_is_per_channel() -> None:
    data = load_data("digits", "test", input_size=8)
    data = data.prepared_as(dataclasses.replace(data.contract, mean=("0.5", "0.25", "0"), std=("0.5", "0.25", "1")))
    images, _ = next(data.batches(4))
    values = pixels_of(data)[:4].double() / 255
    for channel, (mean, std) in enumerate(((0.5, 0.5), (0.25, 0.25), (0.0, 1.0))):
        assert torch.equal(images[:, channel], ((values[:, channel] - mean) / std).float())
    assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("batch_size", [7, 450, 1000])
def test_batches_cover_every_image_in_order(batch_size: int) -> None:
    data = load_data("digits", "test", in_channels=1)
    batches = list(data.batches(batch_size))
    assert torch.equal(torch.cat([labels for _, labels in batches]), data.labels)
    assert torch.equal(torch.cat([images for images, _ in batches]), next(data.batches(450))[0])


def test_subsets_are_spread_and_stable() -> None:
    data = load_data("digits", "train")
    small = load_data("digits", "train", images=10)
    assert torch.equal(small.labels, data.labels[[67, 202, 336, 471, 606, 740, 875, 1010, 1144, 1279]])
    assert data.subset(5000) is data
    with pytest.raises(DataError, match="at least 1"):
        data.subset(0)


def test_folder_and_archive_are_the_same_set(photo_folder: Path) -> None:
    sets = [load_data(f"folder:{path}", "test", input_size=32) for path in (photo_folder, zipped(photo_folder))]
    assert sets[0].classes == sets[1].classes == ("cat", "dog")
    assert sets[0].labels.tolist() == sets[1].labels.tolist() == [0, 0, 1, 1]
    assert sets[0].data_sha256 == sets[1].data_sha256
    assert torch.equal(pixels_of(sets[0]), pixels_of(sets[1]))


def test_the_hash_is_of_the_content(photo_folder: Path) -> None:
    before = load_data(f"folder:{photo_folder}", "test", input_size=32).data_sha256
    assert load_data(f"folder:{photo_folder}", "test", input_size=48).data_sha256 == before
    write_png(torch.zeros(3, 70, 90, dtype=torch.uint8), str(photo_folder / "test" / "cat" / "0.png"))
    assert load_data(f"folder:{photo_folder}", "test", input_size=32).data_sha256 != before


def test_training_photos_stay_encoded_until_they_are_cropped(photo_folder: Path) -> None:
    assert isinstance(load_data(f"folder:{photo_folder}", "train", input_size=32).pixels, ImageFiles)
    assert isinstance(load_data(f"folder:{photo_folder}", "calib", input_size=32).pixels, Tensor)


def test_workers_do_not_change_the_batches(photo_folder: Path) -> None:
    lazy = [load_data(f"folder:{photo_folder}", "train", input_size=32, workers=workers) for workers in (0, 2)]
    first, second = (torch.cat([images for images, _ in data.batches(2)]) for data in lazy)
    assert torch.equal(first, second)
    assert torch.equal(lazy[0].normalise(pixels_of(lazy[0].decoded())), first)


def test_val_is_a_test_set(photo_folder: Path) -> None:
    (photo_folder / "test").rename(photo_folder / "val")
    assert len(load_data(f"folder:{photo_folder}", "test")) == 4


def test_a_set_is_prepared_as_a_net_was_trained(photo_folder: Path) -> None:
    data = load_data(f"folder:{photo_folder}", "test", input_size=32)
    assert data.contract.crop == "0.875", "photos are larger than the input"
    whole = data.prepared_as(dataclasses.replace(data.contract, crop="1"))
    path = photo_folder / "test" / "dog" / "1.png"
    for prepared in (data, whole.decoded()):
        run = Preprocessor(
            prepared.contract, TensorInfo(name="i", shape=(1, 3, 32, 32), dtype="float32", layout="NCHW")
        )
        images, _ = next(prepared.batches(4))
        assert images[3].numpy().tobytes() != bytes(images[3].nbytes)
        np.testing.assert_array_equal(images[3].numpy(), run(path)[0], "evaluate sees what run sees, to the bit")
    assert not torch.equal(pixels_of(data), pixels_of(whole.decoded()))
    assert pixels_of(data.prepared_as(data.contract)) is pixels_of(data)


def test_sets_in_memory_are_prepared_from_their_own_pixels() -> None:
    digits = load_data("digits", "test", input_size=8, in_channels=1)
    again = load_data("digits", "test", input_size=16).prepared_as(digits.contract)
    assert torch.equal(pixels_of(again), pixels_of(digits))


def test_images_of_the_inputs_size_are_not_enlarged_first(cifar_zip: Path) -> None:
    assert load_data(f"folder:{cifar_zip}", "test", images=10).contract.crop == "1"


@pytest.mark.parametrize(
    ("name", "split", "words", "hint"),
    [
        ("digit", "train", "no data set 'digit'", "did you mean 'digits'"),
        ("digits", "validation", "no split 'validation'", None),
        ("cifar10", "test", "not complete", "--download"),
        ("imagenet", "test", "no ImageNet here", "wnid"),
        ("folder:/nonexistent", "train", "no such folder", "<class>"),
    ],
)
def test_what_is_missing_is_said(name: str, split: str, words: str, hint: str | None, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words) as caught:
        load_data(name, split, root=tmp_path)
    assert hint is None or hint in (caught.value.hint or "")


def test_broken_files_are_named(photo_folder: Path) -> None:
    (photo_folder / "test" / "cat" / "0.png").write_bytes(b"not an image")
    with pytest.raises(ImageError, match=r"bad-image: .*test/cat/0\.png"):
        load_data(f"folder:{photo_folder}", "test", input_size=32)
    not_a_zip = photo_folder.with_suffix(".zip")
    not_a_zip.write_bytes(b"PK but no archive")
    with pytest.raises(DataError, match="neither a folder nor a zip"):
        load_data(f"folder:{not_a_zip}", "test")


def test_real_images(cifar_zip: Path) -> None:
    calib = load_data(f"folder:{cifar_zip}", "calib", images=100)
    assert pixels_of(calib).shape == (100, 3, 32, 32)
    assert calib.labels.bincount().tolist() == [10] * 10
    assert calib.classes[0] == "airplane"


def test_held_out_images_are_spread_and_trained_on_no_more() -> None:
    data = load_data("digits", "train", images=100)
    rest, held = data.held_out(5)
    assert (len(rest), len(held)) == (95, 5)
    assert torch.equal(pixels_of(held), pixels_of(data)[[10, 30, 50, 70, 90]])
    assert sorted(torch.cat((rest.labels, held.labels)).tolist()) == sorted(data.labels.tolist())
    assert rest.data_sha256 != data.data_sha256  # so a run that holds out others is another run
    for count in (0, 100):
        with pytest.raises(DataError, match=f"cannot hold out {count} of 100"):
            data.held_out(count)


def test_the_size_before_preparing_is_known(photo_folder: Path) -> None:
    assert load_data("digits", "train", input_size=32).original_size == 8
    photos = load_data(f"folder:{photo_folder}", "train")
    assert (photos.original_size, photos.input_size) == (72, 224)
