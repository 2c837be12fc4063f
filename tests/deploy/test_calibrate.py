"""Calibration of checkpoints: every width exactly, one decoded set, nothing stale, any number of processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from literal import largest_error, literal_statistics
from small_nets import CONTRACT, small_images, small_net
from torch import Tensor, nn

from edgeslim.core.width import Width
from edgeslim.data.images import ImageSet
from edgeslim.deploy.calibration.calibrate import CalibratedModel, calibrate
from edgeslim.deploy.calibration.passes import pooled_statistics
from edgeslim.errors import DataError, WidthError
from edgeslim.models.checkpoint import Checkpoint, load_checkpoint
from edgeslim.models.selection import Selection

HALF, FULL = Width(500), Width(1000)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return small_net()


@pytest.fixture(scope="module")
def calibrated(checkpoint: Checkpoint) -> CalibratedModel:
    return calibrate(checkpoint, small_images(), [Width(250), HALF, Width(637), FULL])


def as_the_net_wants(data: ImageSet) -> Tensor:
    images, _ = next(data.prepared_as(CONTRACT).batches(len(data)))
    return images


@pytest.mark.parametrize("permille", [250, 500, 637, 1000])
def test_every_width_equals_the_literal_definition(
    checkpoint: Checkpoint, calibrated: CalibratedModel, permille: int
) -> None:
    """0.637 was never anyone's training width; the images are normalised as the checkpoint says."""
    found = calibrated.checkpoint().statistics[calibrated.selection(Width(permille))]
    net = checkpoint.build().static(Width(permille))
    wanted = literal_statistics(net, as_the_net_wants(small_images()))
    assert largest_error({name: found[name] for name in wanted}, wanted) < 1e-5


def test_the_slimmable_net_in_training_mode_normalises_alike(
    checkpoint: Checkpoint, calibrated: CalibratedModel
) -> None:
    """One batch through the slimmable net in training mode = the calibrated net in evaluation mode."""
    images = as_the_net_wants(small_images())
    model = checkpoint.build().train()
    with torch.no_grad(), model.at(HALF):
        batch_normalised = model(images)
    with torch.no_grad():
        assert (calibrated.static(HALF)(images) - batch_normalised).abs().max() < 1e-4
        assert (calibrated.slice(HALF)(images) - batch_normalised).abs().max() < 1e-4


def test_the_tail_has_statistics_of_its_own_at_every_width(calibrated: CalibratedModel) -> None:
    """Its channel count never changes, but what reaches it does."""
    half, full = (calibrated.checkpoint().statistics[calibrated.selection(width)] for width in (HALF, FULL))
    (*_, tail) = half
    assert half[tail][0].shape == full[tail][0].shape
    assert not torch.allclose(half[tail][0], full[tail][0], rtol=1e-2)
    assert not torch.allclose(half[tail][1], full[tail][1], rtol=1e-2)


def test_a_width_without_statistics_cannot_be_sliced(calibrated: CalibratedModel) -> None:
    with pytest.raises(WidthError, match=r"no BatchNorm statistics for width 0\.75") as caught:
        calibrated.slice(Width(750))
    assert "edgeslim calibrate" in (caught.value.hint or "")
    with pytest.raises(WidthError, match="outside the range"):
        calibrated.slice(Width(1500))


@pytest.mark.parametrize("name", ["us_mobilenet_v2", "s_mobilenet_v2"])
@pytest.mark.parametrize("width", [Width(200), Width(1001)])
def test_widths_outside_the_range_are_refused_before_anything_runs(name: str, width: Width) -> None:
    with pytest.raises(WidthError):
        calibrate(small_net(name), small_images(), [HALF, width], on_net=lambda net: pytest.fail("it ran"))


def test_s_nets_calibrate_at_their_listed_widths_only() -> None:
    checkpoint = small_net("s_mobilenet_v2")
    found = calibrate(checkpoint, small_images(), [HALF, FULL]).checkpoint().statistics
    for width in (HALF, FULL):
        wanted = literal_statistics(checkpoint.build().static(width), as_the_net_wants(small_images()))
        assert largest_error({name: found[checkpoint.selection(width)][name] for name in wanted}, wanted) < 1e-5
    with pytest.raises(WidthError):
        calibrate(checkpoint, small_images(), [Width(750)])


def test_nets_without_batchnorm_come_back_as_they_are() -> None:
    checkpoint = small_net("us_mobilenet_v1", norm="none")
    model = calibrate(checkpoint, small_images(), [HALF])
    assert model.checkpoint() is checkpoint
    assert model.slice(Width(321)).counts.macs > 0


def test_same_channels_are_calibrated_once(checkpoint: Checkpoint) -> None:
    done: list[Selection] = []
    model = calibrate(checkpoint, small_images(), [Width(501), HALF, Width(502)], on_net=done.append)
    assert [net.width for net in done] == [HALF]
    assert model.checkpoint().ladder == (HALF,)
    assert model.slice(Width(502)).selection == model.selection(HALF)


def test_nothing_older_about_the_same_net_survives(checkpoint: Checkpoint) -> None:
    """Not under its own name, nor under an alias: statistics and the accuracies measured with them go together."""
    first = calibrate(checkpoint, small_images(), [Width(502), FULL]).checkpoint()
    full = first.selection(FULL)
    first = first.with_accuracies({Width(502): {"top1": 0.9}, FULL: {"top1": 0.95}})
    again = calibrate(first, small_images(seed=9), [HALF]).checkpoint()
    assert again.ladder == (HALF, FULL)
    assert again.accuracies == {full: {"top1": 0.95}}
    assert largest_error(again.statistics[full], first.statistics[full]) == 0.0
    notes: Any = again.provenance["calibration"]
    assert sorted(notes) == ["1000", "500"]
    assert notes["500"]["data_sha256"] == small_images(seed=9).data_sha256 == again.calibration_sha256
    assert notes["1000"]["data_sha256"] == small_images().data_sha256


def test_a_saved_checkpoint_slices_without_the_images(calibrated: CalibratedModel, tmp_path: Path) -> None:
    from edgeslim import load_checkpoint

    calibrated.checkpoint().save(tmp_path / "calibrated.pt")
    again = CalibratedModel.from_checkpoint(load_checkpoint(tmp_path / "calibrated.pt"))
    images = as_the_net_wants(small_images())
    with torch.no_grad():
        assert torch.equal(again.slice(HALF)(images), calibrated.slice(HALF)(images))


def test_images_are_decoded_once(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    original = ImageSet.decoded

    def counting(self: ImageSet) -> ImageSet:
        decoded.append(len(self))
        return original(self)

    monkeypatch.setattr(ImageSet, "decoded", counting)
    calibrate(checkpoint, small_images(), [Width(250), HALF, FULL])
    assert decoded == [32]


def test_so_many_images(checkpoint: Checkpoint) -> None:
    found = calibrate(checkpoint, small_images(), [HALF], images=8).checkpoint().statistics[checkpoint.selection(HALF)]
    subset = as_the_net_wants(small_images().subset(8))
    assert largest_error(found, pooled_statistics(checkpoint.build().static(HALF), subset)) < 1e-6
    with pytest.raises(DataError):
        calibrate(checkpoint, small_images(), [HALF], images=0)


def test_data_by_name(checkpoint: Checkpoint) -> None:
    found = calibrate(checkpoint, "digits", [HALF], images=16).checkpoint()
    assert found.provenance["calibration"]["500"]["data"] == "digits"


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes found, one holding 3 images and the other 29."""
    out = tmp_path_factory.mktemp("ranks") / "found.pt"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("calibrate_rank.py")), str(out), "3,29"],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in (0, 1)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    return [torch.load(f"{out}.{rank}", weights_only=True) for rank in (0, 1)]


def test_moments_are_merged_exactly_over_ranks(checkpoint: Checkpoint, two_ranks: list[dict[str, Any]]) -> None:
    images, _ = next(small_images().batches(32))
    net = checkpoint.build().static(HALF)
    one_process = pooled_statistics(net, images)
    shares = images.split([3, 29])
    for rank in (0, 1):
        assert largest_error(two_ranks[rank]["uneven"], one_process) < 1e-5
        assert largest_error(two_ranks[rank]["alone"], pooled_statistics(net, shares[rank])) < 1e-6
    assert largest_error(two_ranks[0]["uneven"], two_ranks[1]["uneven"]) == 0.0


def test_ranks_share_one_set(
    checkpoint: Checkpoint, calibrated: CalibratedModel, two_ranks: list[dict[str, Any]]
) -> None:
    for rank in (0, 1):
        assert two_ranks[rank]["sha256"] == small_images().data_sha256
        for width in (HALF, FULL):
            wanted = calibrated.checkpoint().statistics[calibrated.selection(width)]
            assert largest_error(two_ranks[rank]["statistics"][width.permille], wanted) < 1e-5


def test_an_error_on_one_rank_stops_all(two_ranks: list[dict[str, Any]]) -> None:
    assert [found["refused"] for found in two_ranks] == [True, True]


def test_statistics_go_into_every_batchnorm(calibrated: CalibratedModel) -> None:
    net = calibrated.static(HALF)
    norms = {name: module for name, module in net.named_modules() if isinstance(module, nn.BatchNorm2d)}
    found = calibrated.checkpoint().statistics[calibrated.selection(HALF)]
    assert norms.keys() == found.keys()
    for name, norm in norms.items():
        assert torch.equal(norm.running_mean, found[name][0])  # type: ignore[arg-type]
        assert torch.equal(norm.running_var, found[name][1])  # type: ignore[arg-type]


def test_a_vector_of_channels_is_calibrated_kept_and_folded(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """A search over channels is a script: no width gives these counts."""
    model = checkpoint.build()
    counts = {group.name: group.at(HALF if i % 2 else FULL) for i, group in enumerate(model.groups())}
    net = Selection.of(counts, label="found")
    calibrate(checkpoint, small_images(), [net, HALF]).checkpoint().save(tmp_path / "net.pt")
    again = CalibratedModel.from_checkpoint(load_checkpoint(tmp_path / "net.pt"))
    assert [one.label for one in again.checkpoint().statistics] == ["0500", "found"]
    assert sorted(again.checkpoint().provenance["calibration"]) == ["500", "found"]
    images = as_the_net_wants(small_images())
    with torch.no_grad():
        model.train()
        with model.at(net):
            batch_normalised = model(images)
        assert (again.static(net)(images) - batch_normalised).abs().max() < 1e-4
        assert (again.slice(net)(images) - batch_normalised).abs().max() < 1e-4
