"""One export, in a worker process: slice, fold, export, take apart, compare.

ExportJob ─► SlicedModel ─► Target.export ─► Artifact ─► find ─► PackedArtifact
                 │                              │
                 └────── outputs ── SQNR ── Runner┘
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from edgeslim import targets
from edgeslim.core.constants import Kind
from edgeslim.deploy.calibration.calibrate import CalibratedModel
from edgeslim.deploy.compare import compare, seeded_pixels
from edgeslim.deploy.describe import image_input
from edgeslim.deploy.masters import constants, sources
from edgeslim.deploy.task_of import task_of
from edgeslim.errors import CannotCheckError, MissingExtraError
from edgeslim.models.checkpoint import Checkpoint, load_checkpoint
from edgeslim.models.count import count
from edgeslim.models.selection import Selection
from edgeslim.press.build import MasterSet, PackedArtifact
from edgeslim.press.find import find_constants
from edgeslim.targets.base import INPUT_NAME, Artifact, InputOption, Metadata

IMAGES = 1  # compared at once here; `edgeslim verify` compares more
FLOAT_KINDS = frozenset({Kind.WEIGHT, Kind.BIAS, Kind.VECTOR})


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportJob:
    """Which artifact to make, from the calibrated checkpoint at ``checkpoint``, at ``out``; ``size`` in pixels."""

    checkpoint: Path
    target: str
    net: Selection
    size: int
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
    macs: int
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
        ExportError: the exporter failed; names target, net and log.
    """
    torch.set_num_threads(1)  # the cores belong to the jobs
    checkpoint, model = _calibrated(job.checkpoint)
    net = model.slice(job.net)
    spec = net.spec
    target, task = targets.get(job.target), task_of(checkpoint)
    began = time.monotonic()
    artifact = target.export(
        net,
        {INPUT_NAME: torch.zeros(1, spec.in_channels, job.size, job.size)},
        job.out,
        metadata=job.metadata,
        outputs=tuple(output.name for output in task.outputs),
        input_option=job.input_option,
        precision=job.precision,
        options=job.options,
    )
    seconds = time.monotonic() - began
    files = [(file.path, artifact.path_of(file).read_bytes()) for file in artifact.files]
    whole = model.slimmable
    masters = MasterSet(sources(whole, net, checkpoint.state_dict))
    packed = find_constants(files, constants(whole, net, masters), FLOAT_KINDS)
    contract = dataclasses.replace(image_input(checkpoint), height=job.size, width=job.size)
    images = seeded_pixels(IMAGES, height=job.size, width=job.size, channels=spec.in_channels)
    found, unchecked = None, None
    try:
        runner = target.load(artifact.root, threads=1)
        try:
            found = compare(net, runner, images, contract, task).sqnr_db
        finally:
            runner.close()
    except (CannotCheckError, MissingExtraError) as error:
        unchecked = error.message
    macs = count(model.static(job.net), input_size=job.size).macs
    return Exported(artifact=artifact, packed=packed, macs=macs, sqnr_db=found, unchecked=unchecked, seconds=seconds)
