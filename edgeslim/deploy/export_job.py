"""One export, in a worker process: slice, fold, export, take apart, compare.

ExportJob ─► SlicedModel ─► Target.export ─► Artifact ─► find ─► PackedArtifact
                 │                              │
                 └────── logits ── SQNR ── Runner┘
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from edgeslim import targets
from edgeslim.core.width import Width
from edgeslim.deploy.calibration.calibrate import CalibratedModel
from edgeslim.deploy.compare import compare, seeded_pixels
from edgeslim.deploy.masters import arrays, masters
from edgeslim.errors import CannotCheckError, MissingExtraError
from edgeslim.models.checkpoint import Checkpoint, load_checkpoint
from edgeslim.press.build import PackedArtifact
from edgeslim.press.find import find_constants
from edgeslim.targets.base import INPUT_NAME, Artifact, InputOption, Metadata

IMAGES = 1  # compared at once here; `edgeslim verify` compares more


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportJob:
    """Which artifact to make, from the calibrated checkpoint at ``checkpoint``, at ``out``."""

    checkpoint: Path
    target: str
    width: Width
    precision: str
    input_option: InputOption
    metadata: Metadata
    options: Mapping[str, Any]
    out: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What came of a job; the artifact itself lies at ``artifact.root``.

    ``unchecked`` says why it could not be run on this machine; then there is no ``sqnr_db``.
    """

    artifact: Artifact
    packed: PackedArtifact
    sqnr_db: float | None
    unchecked: str | None
    seconds: float


@lru_cache(maxsize=1)
def _calibrated(path: Path) -> tuple[Checkpoint, CalibratedModel]:
    checkpoint = load_checkpoint(path)
    return checkpoint, CalibratedModel.from_checkpoint(checkpoint)


def run(job: ExportJob) -> Exported:
    """Do one job.

    Raises:
        ExportError: the exporter failed; names target, width and log.
    """
    torch.set_num_threads(1)  # the cores belong to the jobs
    checkpoint, model = _calibrated(job.checkpoint)
    net = model.slice(job.width)
    spec = net.spec
    target = targets.get(job.target)
    began = time.monotonic()
    artifact = target.export(
        net,
        {INPUT_NAME: torch.zeros(1, spec.in_channels, spec.input_size, spec.input_size)},
        job.out,
        metadata=job.metadata,
        input_option=job.input_option,
        precision=job.precision,
        options=job.options,
    )
    seconds = time.monotonic() - began
    files = [(file.path, artifact.path_of(file).read_bytes()) for file in artifact.files]
    packed = find_constants(files, arrays(net, masters(net.layers, checkpoint.state_dict)))
    images = seeded_pixels(IMAGES, size=spec.input_size, channels=spec.in_channels)
    found, unchecked = None, None
    try:
        runner = target.load(artifact.root, threads=1)
        try:
            found = compare(net, runner, images, mean=job.metadata.mean, std=job.metadata.std).sqnr_db
        finally:
            runner.close()
    except (CannotCheckError, MissingExtraError) as error:
        unchecked = error.message
    return Exported(artifact=artifact, packed=packed, sqnr_db=found, unchecked=unchecked, seconds=seconds)
