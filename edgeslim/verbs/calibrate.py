"""``edgeslim.calibrate``: exact BatchNorm statistics of every asked width, into a new checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeslim.core.width import Width, parse_widths
from edgeslim.deploy.reports import CalibrateReport
from edgeslim.files import check_free
from edgeslim.verbs.checkpoints import load_named
from edgeslim.verbs.data import DataOptions
from edgeslim.verbs.words import LOGGED, Words

if TYPE_CHECKING:
    from edgeslim.models.selection import Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrateOptions:
    """``images``: to calibrate with; ``widths``: any of the trained range, as text (None: those it has, else its
    ladder); ``memory_bytes``: for activations (None: half of what is free, at most 4 GiB); ``model``,
    ``trained_widths``: of a published state dict; ``out``: None writes into the checkpoint itself."""

    images: DataOptions
    widths: str | None = None
    memory_bytes: int | None = None
    model: str | None = None
    trained_widths: str | None = None
    device: str = "auto"
    out: Path | None = None
    overwrite: bool = False


def calibrate(
    checkpoint: str | Path,
    options: CalibrateOptions,
    *,
    words: Words = LOGGED,
    on_plan: Callable[[int, bool], None] = lambda nets, first: None,
    on_stage: Callable[[Selection, int, int], None] = lambda net, stage, stages: None,
    on_net: Callable[[Selection], None] = lambda net: None,
) -> CalibrateReport:
    """Give every BatchNorm of ``checkpoint`` its own statistics at every width.

    They are those of all images as one batch: layer by layer, the same whatever the memory, the batch size or the
    number of processes (torchrun shares the work; the first one writes). Statistics of other widths stay.

    Args:
        on_plan: called with the number of widths, and whether this process is the first.
        on_stage, on_net: as in ``deploy.calibration``.

    Raises:
        CheckpointError, DataError, WidthError: unreadable input, or widths outside the trained range.
        OutputError: the result is there already, or cannot be written.
    """
    path = options.out or Path(checkpoint)
    check_free(path, overwrite=options.overwrite)
    import torch.distributed as dist

    from edgeslim.deploy.calibration.calibrate import calibrate as calibrate_nets
    from edgeslim.models.devices import pick
    from edgeslim.models.registry import default_ladder
    from edgeslim.training.distributed import joined

    device = pick(options.device)
    loaded = load_named(checkpoint, words, model=options.model, trained_widths=options.trained_widths)
    trained = loaded.trained
    chosen = (
        parse_widths(options.widths, trained=trained)
        if options.widths
        else loaded.ladder or default_ladder(loaded.spec)
    )
    images = options.images.load(loaded.spec)
    done: list[Selection] = []

    def net_done(net: Selection) -> None:
        done.append(net)
        on_net(net)

    with contextlib.ExitStack() as stack:
        ranks = stack.enter_context(joined(device))
        on_plan(len(chosen), ranks.first)
        calibrated = calibrate_nets(
            loaded,
            images,
            chosen,
            memory_bytes=options.memory_bytes,
            device=device,
            group=dist.group.WORLD if ranks.count > 1 else None,
            on_stage=on_stage,
            on_net=net_done,
        )
    nets: dict[Width, tuple[Width, ...]] = calibrated.distinct(chosen)
    if ranks.first:
        calibrated.checkpoint().save(path, overwrite=options.overwrite)
        if not done:
            words.say(f"{loaded.spec.name} has no BatchNorm: nothing to calibrate")
        words.say(f"{path}: statistics of {len(images)} images of {images.name} at {len(nets)} widths")
    return CalibrateReport(
        checkpoint=path,
        images=len(images),
        data_sha256=images.data_sha256,
        widths=tuple(width.permille for width in nets),
        aliases={str(width.permille): tuple(alias.permille for alias in aliases) for width, aliases in nets.items()},
    )
