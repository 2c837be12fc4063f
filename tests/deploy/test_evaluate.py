"""Loss and accuracy per width against arithmetic a reader can redo; accuracies kept under the right name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_nets import CONTRACT, small_images, small_net
from torch import Tensor, nn

from edgeslim.core.width import Width
from edgeslim.deploy.calibration.calibrate import CalibratedModel, calibrate
from edgeslim.deploy.evaluate import evaluate_checkpoint, with_accuracies
from edgeslim.deploy.spectrum import write_spectrum
from edgeslim.errors import CheckpointError, DataError, OutputError, WidthError
from edgeslim.models.count import count
from edgeslim.tasks.classify import Accuracy, Classify
from edgeslim.tasks.evaluation import evaluate, measure

HALF, FULL = Width(500), Width(1000)


@pytest.fixture(scope="module")
def model() -> CalibratedModel:
    return calibrate(small_net(), small_images(64), [HALF, FULL])


class Table(nn.Module):
    """Answers image i of brightness b with row b of a table of logits."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[(images[:, 0, 0, 0] * 255).round().long()]


def test_accuracy_is_arithmetic() -> None:
    """Four images of seven classes; the right class is 1st, 2nd, 5th and 6th best."""
    logits = torch.zeros(4, 7)
    for row, rank in enumerate((1, 2, 5, 6)):
        others = [column for column in range(7) if column != row]
        order = [*others[: rank - 1], row, *others[rank - 1 :]]
        for place, column in enumerate(order):
            logits[row, column] = -float(place)
    data = small_images(4, classes=7)
    plain = dataclasses.replace(CONTRACT, mean=("0",) * 3, std=("1",) * 3)
    data = dataclasses.replace(data, labels=torch.arange(4), contract=plain)
    data = data.with_pixels(torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 16, 16).clone())
    metric = measure(Classify(), Table(logits), data.batches(3))
    assert isinstance(metric, Accuracy)
    found = metric.result()
    partition = sum(np.exp(-place) for place in range(7))
    assert found["loss"] == pytest.approx(np.mean([place + np.log(partition) for place in (0, 1, 4, 5)]), rel=1e-6)
    assert (found["top1"], found["top5"]) == (0.25, 0.75)
    assert metric.answers.tolist() == [0, 0, 0, 0]


def test_top5_of_four_classes_is_certain(model: CalibratedModel) -> None:
    (row,) = evaluate_checkpoint(model, small_images(16, split="test"), [HALF])
    assert row.values["top5"] == 1.0


def test_every_width_in_the_nets_own_normalisation(model: CalibratedModel) -> None:
    data = small_images(40, split="test", seed=3)
    rows = evaluate_checkpoint(model, data, [FULL, HALF, Width(501)], batch_size=7)
    assert [row.widths for row in rows] == [(HALF, Width(501)), (FULL,)]
    images, labels = next(data.prepared_as(CONTRACT).batches(40))
    with torch.no_grad():
        answers = {width: model.slice(width)(images) for width in (HALF, FULL)}
    for row in rows:
        width = row.widths[0]
        logits = answers[width]
        assert row.values["loss"] == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-4)
        assert row.values["top1"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
        assert row.macs == count(model.static(width), width, 16).macs
        assert row.misfits == ()
        same = (logits.argmax(1) == answers[FULL].argmax(1)).float().mean().item()
        assert row.agreement == pytest.approx(same)
        assert evaluate(model.static(width), data.prepared_as(CONTRACT))["loss"] == pytest.approx(row.values["loss"])


def test_agreement_is_unknown_without_the_widest(model: CalibratedModel) -> None:
    (row,) = evaluate_checkpoint(model, small_images(8), [HALF])
    assert row.agreement is None


def test_foreign_statistics_are_reported(model: CalibratedModel) -> None:
    checkpoint = model.checkpoint()
    half, full = (checkpoint.selection(width) for width in (HALF, FULL))
    (*_, tail) = checkpoint.statistics[half]
    mixed = {**checkpoint.statistics[half], tail: checkpoint.statistics[full][tail]}
    foreign = dataclasses.replace(checkpoint, statistics={**checkpoint.statistics, half: mixed})
    rows = evaluate_checkpoint(CalibratedModel.from_checkpoint(foreign), small_images(64), [HALF, FULL])
    assert [[fit.norm for fit in row.misfits] for row in rows] == [[tail], []]


def test_a_width_without_statistics_is_refused_before_anything_runs(model: CalibratedModel) -> None:
    with pytest.raises(WidthError, match="no BatchNorm statistics"):
        evaluate_checkpoint(model, small_images(8), [HALF, Width(750)], on_width=lambda width: pytest.fail("it ran"))


def test_images_of_other_classes_are_refused(model: CalibratedModel) -> None:
    with pytest.raises(DataError, match="5 classes, the net has 4"):
        evaluate_checkpoint(model, small_images(8, classes=5), [HALF])


def test_answers_that_are_not_numbers(model: CalibratedModel) -> None:
    checkpoint = model.checkpoint()
    statistics = {
        name: (mean, var * 0 - 1) for name, (mean, var) in checkpoint.statistics[checkpoint.selection(HALF)].items()
    }
    broken = CalibratedModel.from_checkpoint(
        dataclasses.replace(checkpoint, statistics={checkpoint.selection(HALF): statistics})
    )
    with pytest.raises(CheckpointError, match="finite"):
        evaluate_checkpoint(broken, small_images(8), [HALF])


def test_accuracies_are_kept_with_the_net_whatever_it_was_called(model: CalibratedModel) -> None:
    data = small_images(16, split="test")
    rows = evaluate_checkpoint(model, data, [Width(501), FULL])
    before = CalibratedModel.from_checkpoint(
        model.checkpoint().with_accuracies({Width(502): {"top1": 0.1}, Width(700): {"top1": 0.2}})
    )
    kept = with_accuracies(before, rows, data).accuracies
    assert list(kept) == [model.selection(width) for width in (HALF, Width(700), FULL)]
    assert kept[model.selection(HALF)] == {
        "data": "noise",
        "split": "test",
        "images": 16,
        "data_sha256": data.data_sha256,
        "loss": rows[0].values["loss"],
        "top1": rows[0].values["top1"],
        "top5": 1.0,
        "metric": "top1",
        "larger_is_better": True,
        "agreement": rows[0].agreement,
    }


def test_the_spectrum_is_a_png(model: CalibratedModel, tmp_path: Path) -> None:
    rows = evaluate_checkpoint(model, small_images(8), [HALF, FULL])
    write_spectrum(rows, "noise", tmp_path / "plot.png", overwrite=False)
    with Image.open(tmp_path / "plot.png") as image:
        assert image.format == "PNG"
        assert image.width > 1000
    with pytest.raises(OutputError):
        write_spectrum(rows, "noise", tmp_path / "plot.png", overwrite=False)
