"""Training batches: each image once per epoch, every rank its share, the same batch at the same step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.io import write_png

from edgeslim.data import rng
from edgeslim.data.augment import Augment
from edgeslim.data.batch_plan import BatchPlan
from edgeslim.data.named import load_data
from edgeslim.data.stream import batches
from edgeslim.errors import UsageError

CPU = torch.device("cpu")
AUGMENT = Augment(padding=2, flip=True, jitter=0.3)


def test_an_epoch_shows_each_image_once() -> None:
    plan = BatchPlan(images=30, batch_size=10, seed=0)
    epochs = [torch.cat([plan.batch(3 * epoch + place) for place in range(3)]) for epoch in (0, 1)]
    assert all(sorted(epoch.tolist()) == list(range(30)) for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1])


def test_ranks_share_a_batch() -> None:
    one = BatchPlan(images=30, batch_size=10, seed=0)
    two = [BatchPlan(images=30, batch_size=10, seed=0, rank=rank, ranks=2) for rank in (0, 1)]
    parts = [plan.batch(4)[plan.share()] for plan in two]
    assert torch.equal(torch.cat(parts), one.batch(4))


def test_a_small_set_is_one_batch() -> None:
    plan = BatchPlan(images=7, batch_size=64, seed=0, ranks=1)
    assert (plan.size, plan.steps_per_epoch) == (7, 1)
    assert BatchPlan(images=7, batch_size=64, seed=0, ranks=2).size == 6


@pytest.mark.parametrize(("batch_size", "ranks"), [(10, 4), (2, 2)])
def test_batches_that_do_not_divide(batch_size: int, ranks: int) -> None:
    with pytest.raises(UsageError):
        BatchPlan(images=100, batch_size=batch_size, seed=0, ranks=ranks)


def test_a_crop_is_a_shifted_and_mirrored_copy() -> None:
    pixels = torch.randint(1, 256, (16, 3, 8, 8), dtype=torch.uint8)
    augment = Augment(padding=2, flip=True)
    draw = augment.draw(16, rng.generator(0, "test"))
    assert 0 < int(draw.flipped.sum()) < 16
    padded = torch.nn.functional.pad(pixels, (2, 2, 2, 2))
    for i, image in enumerate(augment.apply(pixels, draw)):
        row, column = draw.corners[i].tolist()
        expected = padded[i, :, row : row + 8, column : column + 8]
        assert torch.equal(image, expected.flip(2) if draw.flipped[i] else expected)


def test_jitter_keeps_the_range() -> None:
    pixels = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8)
    changed = AUGMENT.apply(pixels, AUGMENT.draw(8, rng.generator(0, "test")))
    assert changed.dtype == torch.uint8
    assert not torch.equal(changed, pixels)


def test_memory_batches_start_anywhere() -> None:
    data, plan = load_data("digits", "train", images=60), BatchPlan(images=60, batch_size=20, seed=3)
    whole = list(batches(data, plan, AUGMENT, range(6), CPU))
    images, labels = next(batches(data, plan, AUGMENT, range(4, 6), CPU))
    assert torch.equal(images, whole[4][0])
    assert torch.equal(labels, whole[4][1])
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_file_batches_do_not_depend_on_the_workers(tmp_path: Path) -> None:
    for i in range(6):
        folder = tmp_path / "train" / str(i % 2)
        folder.mkdir(parents=True, exist_ok=True)
        write_png(torch.randint(0, 256, (3, 50, 60), dtype=torch.uint8), str(folder / f"{i}.png"))
    plan = BatchPlan(images=6, batch_size=3, seed=0)
    runs = []
    for workers, first in ((0, 0), (2, 0), (0, 2)):
        data = load_data(f"folder:{tmp_path}", "train", input_size=16, workers=workers)
        runs.append(list(batches(data, plan, AUGMENT, range(first, 4), CPU)))
    for one, other in ((runs[0], runs[1]), (runs[0][2:], runs[2])):
        for (images, labels), (images_too, labels_too) in zip(one, other, strict=True):
            assert torch.equal(images, images_too)
            assert torch.equal(labels, labels_too)
