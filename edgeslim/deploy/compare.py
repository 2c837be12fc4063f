"""How close a runtime's logits are to the folded PyTorch net's, on the same pixels.

    pixels (uint8) ─┬─► normalised ─► SlicedModel ─► reference logits ─┐
                    └─► the runner's own input ───► runner logits ─────┴─► Comparison

SQNR = 10·log10(Σref² / Σ(ref − out)²) over the logits of one image, in float64; the worst image counts.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from edgeslim.models.sliced import SlicedModel
from edgeslim.targets.base import Arrays, Runner

Pixels = npt.NDArray[np.uint8]  # (H, W, C)
MAX_DB = 200.0  # reported for equal logits: float32 cannot tell more apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Over some images: the lowest SQNR in dB, the largest absolute error, the share with the same first class."""

    sqnr_db: float
    max_abs_error: float
    top1_agreement: float


def sqnr_db(reference: npt.NDArray[np.float32], output: npt.NDArray[np.float32]) -> float:
    """Signal to quantisation noise ratio of one image's logits; 200 for equal ones, −200 for NaN or no signal."""
    expected, got = reference.astype(np.float64), output.astype(np.float64)
    noise, signal = float(((expected - got) ** 2).sum()), float((expected**2).sum())
    if noise == 0:
        return MAX_DB
    if not math.isfinite(noise) or signal == 0:
        return -MAX_DB
    return min(MAX_DB, 10 * math.log10(signal / noise))


def seeded_pixels(count: int, *, size: int, channels: int, seed: int = 0) -> list[Pixels]:
    """Images with the statistics of photographs: amplitudes fall with frequency (1/f), random phases, full contrast.

    Real images are better (``verify --data``); these need no file and are the same everywhere numpy is.
    """
    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    amplitude = 1 / np.maximum(frequency, 1 / size)
    images = []
    for _ in range(count):
        shared, own = (_field(amplitude, generator, channels if i else 1) for i in range(2))
        field = 0.8 * shared + 0.35 * own  # photographs' channels are strongly correlated
        low, high = field.min(), field.max()
        images.append(np.rint((field - low) / (high - low) * 255).astype(np.uint8))
    return images


def _field(
    amplitude: npt.NDArray[np.float64], generator: np.random.Generator, channels: int
) -> npt.NDArray[np.float64]:
    """(H, W, channels) of unit deviation."""
    size = amplitude.shape[0]
    planes = []
    for _ in range(channels):
        phase = np.exp(2j * np.pi * generator.random(amplitude.shape))
        plane = np.fft.irfft2(amplitude * phase, s=(size, size))
        planes.append((plane - plane.mean()) / plane.std())
    return np.stack(planes, axis=-1)


def normalised(pixels: Pixels, mean: Sequence[float], std: Sequence[float]) -> npt.NDArray[np.float32]:
    """(H, W, C) pixels → float32 (1, C, H, W), (pixel/255 − mean)/std per channel."""
    scaled = pixels.astype(np.float32) / np.float32(255)
    shifted = (scaled - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(shifted.transpose(2, 0, 1)[None])


def runner_input(runner: Runner, pixels: Pixels, mean: Sequence[float], std: Sequence[float]) -> Arrays:
    """``pixels`` as this runner takes them."""
    (spec,) = runner.inputs
    if spec.dtype == "uint8":
        return {spec.name: np.ascontiguousarray(pixels[None])}
    return {spec.name: normalised(pixels, mean, std)}


def fp16_floor_db(net: SlicedModel, images: Iterable[Pixels], *, mean: Sequence[float], std: Sequence[float]) -> float:
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
        image = torch.from_numpy(normalised(pixels, mean, std))
        with torch.inference_mode():
            ratios.append(sqnr_db(net(image).numpy(), rounded(image.half().float()).numpy()))
    return min(ratios)


def compare(
    net: SlicedModel, runner: Runner, images: Iterable[Pixels], *, mean: Sequence[float], std: Sequence[float]
) -> Comparison:
    """Run both on every image.

    Raises:
        ValueError: no images.
    """
    ratios, errors, agreements = [], [], []
    for pixels in images:
        with torch.inference_mode():
            reference = net(torch.from_numpy(normalised(pixels, mean, std))).numpy()
        (output,) = runner.run(runner_input(runner, pixels, mean, std)).values()
        ratios.append(sqnr_db(reference, output))
        errors.append(float(np.abs(reference.astype(np.float64) - output).max()))
        agreements.append(bool(reference.argmax() == output.argmax()))
    if not ratios:
        raise ValueError("comparing needs at least one image")
    worst = max(errors)
    return Comparison(
        sqnr_db=min(ratios),
        max_abs_error=worst if math.isfinite(worst) else 3.4e38,
        top1_agreement=sum(agreements) / len(agreements),
    )
