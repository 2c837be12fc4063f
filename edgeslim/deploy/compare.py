"""How close a runtime's outputs are to the folded PyTorch net's, on the same pixels.

    pixels (uint8) ─┬─► net_input ──► SlicedModel ─► outputs ─┐
                    └─► the runner's own input ───► outputs ──┴─► Task.compare ─► Comparison

The worst output of the worst image counts.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgeslim.core.pixels import ImageContract, Pixels, net_input
from edgeslim.models.sliced import SlicedModel
from edgeslim.targets.base import Arrays, Runner
from edgeslim.tasks.base import Task, named


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Over some images: the lowest SQNR in dB, the largest absolute error, and the shares with the same
    answer, with another one that is a tie, and with another one that is none."""

    sqnr_db: float
    max_abs_error: float
    agreement: float
    ties: float
    changed: float


def seeded_pixels(count: int, *, height: int, width: int, channels: int, seed: int = 0) -> list[Pixels]:
    """Images (H, W, C) with the statistics of photographs: amplitudes fall with frequency (1/f), random phases,
    full contrast.

    Real images are better (``verify --data``); these need no file and are the same everywhere numpy is.
    """
    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    amplitude = 1 / np.maximum(frequency, 1 / max(height, width))
    images = []
    for _ in range(count):
        shared, own = (_field(amplitude, generator, width, channels if i else 1) for i in range(2))
        field = 0.8 * shared + 0.35 * own  # photographs' channels are strongly correlated
        low, high = field.min(), field.max()
        images.append(np.rint((field - low) / (high - low) * 255).astype(np.uint8))
    return images


def _field(
    amplitude: npt.NDArray[np.float64], generator: np.random.Generator, width: int, channels: int
) -> npt.NDArray[np.float64]:
    """(H, W, channels) of unit deviation."""
    planes = []
    for _ in range(channels):
        phase = np.exp(2j * np.pi * generator.random(amplitude.shape))
        plane = np.fft.irfft2(amplitude * phase, s=(amplitude.shape[0], width))
        planes.append((plane - plane.mean()) / plane.std())
    return np.stack(planes, axis=-1)


def runner_input(runner: Runner, pixels: Pixels, contract: ImageContract) -> Arrays:
    """``pixels`` as this runner takes them."""
    (taken,) = runner.inputs
    return {taken.name: net_input(pixels, contract, dtype=taken.dtype, layout=taken.layout)}


def fp16_floor_db(net: SlicedModel, images: Iterable[Pixels], contract: ImageContract, task: Task) -> float:
    """What fp16 leaves of ``net``: the SQNR of itself with weights and every layer's output rounded to fp16.

    Each rounding is 74 dB below its values; 50 layers with two each make 54 dB, and a net may amplify. An untrained
    MobileNetV2 was met at 22 dB. Sums inside a layer stay in float32, so no device does better.
    """
    rounded = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in rounded.parameters():
            parameter.copy_(parameter.half())
    for module in rounded.modules():
        module.register_forward_hook(lambda module, inputs, output: _half(output))
    ratios = []
    for pixels in images:
        image = torch.from_numpy(net_input(pixels, contract))
        with torch.inference_mode():
            ours, theirs = named(task, net(image)), named(task, rounded(image.half().float()))
        ratios.append(min(task.compare(ours, theirs).sqnr_db.values()))
    return min(ratios)


def _half(output: Any) -> Any:
    """Every tensor of a layer's output rounded to fp16."""
    if isinstance(output, Tensor):
        return output.half().float()
    if isinstance(output, Mapping):
        return {name: _half(value) for name, value in output.items()}
    return tuple(map(_half, output))


def compare(
    net: SlicedModel, runner: Runner, images: Iterable[Pixels], contract: ImageContract, task: Task
) -> Comparison:
    """Run both on every image, and let the task say how close their outputs are.

    Raises:
        ValueError: no images.
        ModelError: the net, or the artifact, has other outputs than the task.
    """
    ratios, errors, agreements, ties, changed = [], [], [], [], []
    for pixels in images:
        with torch.inference_mode():
            ours = named(task, net(torch.from_numpy(net_input(pixels, contract))))
        arrays = runner.run(runner_input(runner, pixels, contract))
        theirs = named(task, {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
        closeness = task.compare(ours, theirs)
        ratios.append(min(closeness.sqnr_db.values()))
        errors.append(max(float((ours[name].double() - theirs[name].double()).abs().max()) for name in ours))
        agreements.append(closeness.agreement)
        ties.append(closeness.ties)
        changed.append(max(0.0, 1 - closeness.agreement - closeness.ties))
    if not ratios:
        raise ValueError("comparing needs at least one image")
    worst = max(errors)
    return Comparison(
        sqnr_db=min(ratios),
        max_abs_error=worst if math.isfinite(worst) else 3.4e38,
        agreement=sum(agreements) / len(agreements),
        ties=sum(ties) / len(ties),
        changed=sum(changed) / len(changed),
    )
