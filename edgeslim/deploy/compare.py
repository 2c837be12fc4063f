"""How close a runtime's logits are to the folded PyTorch net's, on the same pixels.

    pixels (uint8) ─┬─► net_input ──► SlicedModel ─► reference logits ─┐
                    └─► the runner's own input ───► runner logits ─────┴─► Comparison

SQNR = 10·log10(Σref² / Σ(ref − out)²) over the logits of one image, in float64; the worst image counts.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from edgeslim.core.pixels import ImageContract, Pixels, net_input
from edgeslim.models.sliced import SlicedModel
from edgeslim.targets.base import Arrays, Runner

MAX_DB = 200.0  # reported for equal logits: float32 cannot tell more apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Over some images: the lowest SQNR in dB, the largest absolute error, the share with the same first class."""

    sqnr_db: float
    max_abs_error: float
    agreement: float


def sqnr_db(reference: npt.NDArray[np.float32], output: npt.NDArray[np.float32]) -> float:
    """Signal to quantisation noise ratio of one image's logits; 200 for equal ones, −200 for NaN or no signal."""
    expected, got = reference.astype(np.float64), output.astype(np.float64)
    noise, signal = float(((expected - got) ** 2).sum()), float((expected**2).sum())
    if noise == 0:
        return MAX_DB
    if not math.isfinite(noise) or signal == 0:
        return -MAX_DB
    return min(MAX_DB, 10 * math.log10(signal / noise))


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


def fp16_floor_db(net: SlicedModel, images: Iterable[Pixels], contract: ImageContract) -> float:
    """What fp16 leaves of ``net``: the SQNR of itself with weights and every layer's output rounded to fp16.

    Each rounding is 74 dB below its values; 50 layers with two each make 54 dB, and a net may amplify. An untrained
    MobileNetV2 was met at 22 dB. Sums inside a layer stay in float32, so no device does better.
    """
    rounded = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in rounded.parameters():
            parameter.copy_(parameter.half())
    for module in rounded.modules():
        module.register_forward_hook(lambda module, inputs, output: output.half().float())
    ratios = []
    for pixels in images:
        image = torch.from_numpy(net_input(pixels, contract))
        with torch.inference_mode():
            ratios.append(sqnr_db(net(image).numpy(), rounded(image.half().float()).numpy()))
    return min(ratios)


def compare(net: SlicedModel, runner: Runner, images: Iterable[Pixels], contract: ImageContract) -> Comparison:
    """Run both on every image.

    Raises:
        ValueError: no images.
    """
    ratios, errors, agreements = [], [], []
    for pixels in images:
        with torch.inference_mode():
            reference = net(torch.from_numpy(net_input(pixels, contract))).numpy()
        (output,) = runner.run(runner_input(runner, pixels, contract)).values()
        ratios.append(sqnr_db(reference, output))
        errors.append(float(np.abs(reference.astype(np.float64) - output).max()))
        agreements.append(bool(reference.argmax() == output.argmax()))
    if not ratios:
        raise ValueError("comparing needs at least one image")
    worst = max(errors)
    return Comparison(
        sqnr_db=min(ratios),
        max_abs_error=worst if math.isfinite(worst) else 3.4e38,
        agreement=sum(agreements) / len(agreements),
    )
