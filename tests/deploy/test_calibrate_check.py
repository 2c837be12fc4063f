"""Statistics that do not fit are noticed, in whichever BatchNorm they are."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from small_nets import small_images, small_net

from edgeslim.core.width import Width
from edgeslim.deploy.calibration.calibrate import CalibratedModel, calibrate, prepared_for
from edgeslim.deploy.calibration.check import check_statistics
from edgeslim.models.checkpoint import Checkpoint

HALF, FULL = Width(500), Width(1000)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return calibrate(small_net(), small_images(64), [HALF, FULL]).checkpoint()


def with_foreign(checkpoint: Checkpoint, name: str) -> CalibratedModel:
    """0.5x with the statistics of 1.0x in one BatchNorm (their first channels, where it is narrower)."""
    own, other = checkpoint.statistics[checkpoint.selection(HALF)], checkpoint.statistics[checkpoint.selection(FULL)]
    channels = len(own[name][0])
    mixed = {**own, name: (other[name][0][:channels], other[name][1][:channels])}
    statistics = {**checkpoint.statistics, checkpoint.selection(HALF): mixed}
    return CalibratedModel.from_checkpoint(dataclasses.replace(checkpoint, statistics=statistics))


def test_the_calibration_images_fit_exactly(checkpoint: Checkpoint) -> None:
    images = prepared_for(checkpoint, small_images(64))
    for width in (HALF, FULL):
        for fit in check_statistics(CalibratedModel.from_checkpoint(checkpoint).static(width), images):
            assert fit.shift < 1e-4
            assert fit.spread < 1e-4


def test_other_images_of_the_kind_fit(checkpoint: Checkpoint) -> None:
    images = prepared_for(checkpoint, small_images(64, seed=5))
    found = check_statistics(CalibratedModel.from_checkpoint(checkpoint).static(HALF), images)
    assert all(fit.fits for fit in found)


def test_a_tail_with_the_widest_nets_statistics_is_noticed(checkpoint: Checkpoint) -> None:
    """Its channel count never changes, so nothing else can notice."""
    half, full = (checkpoint.statistics[checkpoint.selection(width)] for width in (HALF, FULL))
    (*_, tail) = half
    assert half[tail][0].shape == full[tail][0].shape
    images = prepared_for(checkpoint, small_images(64, seed=5))
    found = check_statistics(with_foreign(checkpoint, tail).static(HALF), images)
    assert [fit.norm for fit in found if not fit.fits] == [tail]
    assert "means off by" in str(found[-1])


def test_foreign_statistics_anywhere_show(checkpoint: Checkpoint) -> None:
    """From the third BatchNorm on: before it, a narrow net's channels are the first of the widest's."""
    images = prepared_for(checkpoint, small_images(64))
    for name in list(checkpoint.statistics[checkpoint.selection(HALF)])[2::8]:
        found = {fit.norm: fit for fit in check_statistics(with_foreign(checkpoint, name).static(HALF), images)}
        assert max(found[name].shift, found[name].spread) > 100 * 1e-4


def test_dead_channels_fit() -> None:
    checkpoint = small_net("us_mobilenet_v1")
    key = next(key for key in checkpoint.state_dict if key.endswith("0.0.weight"))
    state = {**checkpoint.state_dict, key: torch.zeros_like(checkpoint.state_dict[key])}
    dead = calibrate(dataclasses.replace(checkpoint, state_dict=state), small_images(), [HALF])
    images = prepared_for(checkpoint, small_images())
    assert all(fit.fits for fit in check_statistics(dead.static(HALF), images))
