"""One pass that finds the exact statistics of every BatchNorm of a plain network.

    images ─► stage 0 ─► held values ─► stage 1 ─► … ─► stage K-1
                 └► moments of every BatchNorm of the stage, over all images (and ranks)

Calibration takes the whole set as **one batch** ("Universally Slimmable Networks", ICCV 2019, §3.3, with the exact
averages of its eq. 5): the moments of a BatchNorm are those of what really reaches it once the BatchNorms before it
use their final statistics. Averaging the statistics of batches in one sweep is not that: deeper layers then see
upstream layers normalised by each batch's own statistics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, fx, nn
from torch.nn import functional as F

from edgeslim.deploy.calibration.moments import Gathering, Moments, merge_over_ranks
from edgeslim.deploy.calibration.stages import Stage, TracedNet
from edgeslim.deploy.calibration.store import ActivationStore, Spans, Workspace
from edgeslim.errors import CheckpointError, DataError, UsageError
from edgeslim.models.devices import exact

# A chunk's working set should stay in the cache: measured best on a 2-core machine with 32 MiB of it.
_CHUNK_BYTES = 8 << 20
_MAX_CHUNK = 256

Statistics = dict[str, tuple[Tensor, Tensor]]
"""BatchNorm's module name → mean and population variance, both float64 [C] on the CPU."""


class Images(Protocol):
    """Images that can be walked through in batches of any size, always in the same order."""

    def __len__(self) -> int: ...

    def batches(self, batch_size: int, device: torch.device | str = "cpu") -> Iterator[tuple[Tensor, Tensor]]:
        """Float32 images [B, C, H, W] and labels [B]."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PassUsage:
    """What a pass took: ``peak_bytes`` of activations in memory at once, ``spilled_bytes`` written to files."""

    stages: int
    peak_bytes: int
    spilled_bytes: int


def pooled_statistics(
    net: nn.Module,
    images: Tensor | Images,
    *,
    workspace: Workspace | None = None,
    chunk: int | None = None,
    group: dist.ProcessGroup | None = None,
    on_stage: Callable[[int, int], None] | None = None,
    on_usage: Callable[[PassUsage], None] | None = None,
) -> Statistics:
    """Mean and population variance of what reaches every BatchNorm of ``net``, all images taken as one batch.

    Args:
        net: any traceable network with one input and BatchNorm modules; it is not changed.
        images: float32 [N, C, H, W], or anything with ``batches``.
        workspace: device, and bound of the activations in memory at once (weights, images and the convolutions'
            scratch space aside); what does not fit goes through a temporary file. None: up to 4 GiB on the CPU.
        chunk: images that go through a stage at a time; None: as many as suit the cache.
        group: ranks to pool over, each with its own share of the images; None: this process alone.
        on_stage: called with (stages done, stages).
        on_usage: called at the end.

    The result does not depend on the memory, ``chunk``, the order of the images or the number of ranks, apart
    from rounding in the last float32 digits of the activations.

    Raises:
        DataError: no images, or images with NaN or infinity.
        ModelError: the network cannot be traced.
        CheckpointError: the network itself turns finite images into NaN or infinity.
        UsageError: the memory does not even hold one image's activations; names the least that does.
        OutputError: no space for the temporary file.
    """
    workspace = workspace or Workspace()
    with torch.inference_mode(), exact(workspace.device), _room(workspace):
        run = _Pass(net, images, workspace=workspace, chunk=chunk, group=group)
        try:
            for index, stage in enumerate(run.stages):
                run.through(stage)
                if on_stage is not None:
                    on_stage(index + 1, len(run.stages))
        finally:
            run.store.close()
    if on_usage is not None:
        on_usage(PassUsage(stages=len(run.stages), peak_bytes=run.peak_bytes, spilled_bytes=run.store.spilled_bytes))
    pooled = {name: (mean.cpu(), variance.cpu()) for name, (mean, variance) in run.statistics.items()}
    return {name: pooled[name] for name, _ in net.named_modules() if name in pooled}


@contextmanager
def _room(workspace: Workspace) -> Iterator[None]:
    """Says what to do when a GPU is full: what convolutions take there besides is not in our books."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UsageError(
            f"the GPU has no room for {workspace.memory_bytes:,} bytes of activations and what computing takes besides",
            hint=f"--memory {workspace.memory_bytes // 4}, or --device cpu",
        ) from error


class _Pass:
    """The state of one pass: statistics so far, held values, and the memory they take."""

    def __init__(
        self,
        net: nn.Module,
        images: Tensor | Images,
        *,
        workspace: Workspace,
        chunk: int | None,
        group: dist.ProcessGroup | None,
    ) -> None:
        device, memory_bytes = workspace.device, workspace.memory_bytes
        if _any_rank(len(images) == 0, device, group):
            raise DataError("no images to take statistics of")
        self.images = images
        self.device = device
        self.group = group
        self.net = TracedNet(net, device)
        self.sizes = self.net.probe(next(self._batches(1)))
        self.stages = self.net.stages(self.sizes)
        working = max((stage.working_bytes(self.sizes) for stage in self.stages), default=0)
        if working > memory_bytes:
            raise UsageError(
                f"{memory_bytes:,} bytes cannot hold one image's activations: they take {working:,}",
                hint=f"--memory {4 * working} or more",
            )
        self.chunks = {stage: self._chunk_of(stage, chunk, memory_bytes) for stage in self.stages}
        largest = max((self.chunks[stage] * stage.working_bytes(self.sizes) for stage in self.stages), default=0)
        self.store = ActivationStore(
            workspace.arena(min(workspace.memory_bytes - largest, self._arena_bytes())), len(images)
        )
        self.statistics: dict[str, tuple[Tensor, Tensor]] = {}
        self._in_use: dict[str, tuple[Tensor, Tensor]] = {}  # the same in float32, as the network will use them
        self.peak_bytes = 0

    def _chunk_of(self, stage: Stage, chunk: int | None, memory_bytes: int) -> int:
        working = max(stage.working_bytes(self.sizes), 1)
        if chunk is None:
            chunk = min(min(_CHUNK_BYTES, memory_bytes // 4) // working, _MAX_CHUNK)
        return max(1, min(chunk, memory_bytes // working, len(self.images)))

    def _arena_bytes(self) -> int:
        """What the held values take when nothing has to be spilled."""
        spans, taken = Spans(1 << 62), {}
        for stage in self.stages:
            for node in stage.run:
                if node in stage.hold:
                    size = self.sizes[node] * len(self.images)
                    taken[node] = spans.take(size), size
            for node in stage.release:
                spans.give_back(*taken.pop(node))
        return spans.high_water

    def _batches(self, size: int) -> Iterator[Tensor]:
        """The images in order, float32 in channels_last."""
        if isinstance(self.images, Tensor):
            for start in range(0, len(self.images), size):
                batch = self.images[start : start + size].to(self.device, torch.float32)
                yield batch.contiguous(memory_format=torch.channels_last) if batch.dim() == 4 else batch
        else:
            yield from (batch for batch, _ in self.images.batches(size, self.device))

    def through(self, stage: Stage) -> None:
        """Send all images through ``stage`` and make the statistics of its BatchNorms final."""
        moments = {name: Gathering(self._channels(name), self.device) for name, _ in stage.targets}
        size, broken = self.chunks[stage], False
        reads_images = self.net.input in stage.run
        batches = self._batches(size) if reads_images else None
        for start in range(0, len(self.images), size):
            values: dict[fx.Node, Any] = {}
            if batches is not None:
                values[self.net.input] = next(batches)
                broken = broken or not _is_finite(values[self.net.input])
            self._one_chunk(stage, values, start, min(start + size, len(self.images)), moments)
        for node in stage.release:
            self.store.forget(node)
        if reads_images and _any_rank(broken, self.device, self.group):
            raise DataError("the images hold NaN or infinity", hint="check the data and its normalisation")
        merged = [gathering.total() for gathering in moments.values()]
        if self.group is not None:
            merged = merge_over_ranks(merged, self.group)
        for name, total in zip(moments, merged, strict=True):
            self._finish(name, total)

    def _one_chunk(
        self, stage: Stage, values: dict[fx.Node, Any], start: int, stop: int, moments: dict[str, Gathering]
    ) -> None:
        wanted: dict[fx.Node, list[str]] = {}
        for name, node in stage.targets:
            wanted.setdefault(node, []).append(name)
        alive: dict[fx.Node, int] = {}  # bytes of `values` that the store does not count

        def arrived(node: fx.Node, own_bytes: int) -> None:
            alive[node] = own_bytes
            self.peak_bytes = max(self.peak_bytes, self.store.held_bytes + sum(alive.values()))
            for name in wanted.get(node, ()):
                moments[name].add(values[node])

        for node in stage.load:
            values[node], own_bytes = self.store.rows(node, start, stop)
            arrived(node, own_bytes)
        for node in stage.run:
            if node not in values:
                values[node] = self.net.evaluate(node, values, self._normalise)
            arrived(node, values[node].nbytes if node in self.sizes else 0)
            if node in stage.hold:
                self.store.append(node, values[node])
            for done in stage.drop_after.get(node, ()):
                del values[done], alive[done]

    def _channels(self, name: str) -> int:
        norm = self.net.module.get_submodule(name)
        assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
        return norm.num_features

    def _normalise(self, node: fx.Node, x: Tensor) -> Tensor:
        norm = self.net.norm(node)
        mean, variance = self._in_use[self.net.norms[node]]
        return F.batch_norm(x, mean, variance, norm.weight, norm.bias, False, 0.0, norm.eps)

    def _finish(self, name: str, total: Moments) -> None:
        mean, variance = total.mean, total.variance
        in_use = mean.float(), variance.float()
        if not _is_finite(in_use[0]) or not _is_finite(in_use[1]):
            raise CheckpointError(f"what reaches BatchNorm {name!r} is not finite", hint="the weights are damaged")
        self.statistics[name] = mean, variance
        self._in_use[name] = in_use


def _is_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinity. Their sum says so in a fifth of the time, unless it overflows."""
    return math.isfinite(values.sum().item()) or bool(torch.isfinite(values).all())


def _any_rank(condition: bool, device: torch.device, group: dist.ProcessGroup | None) -> bool:
    """Whether ``condition`` holds on any rank: an error has to be raised by all, or the others would wait for ever."""
    if group is None:
        return condition
    flag = torch.tensor(float(condition), device=device)
    dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=group)
    return bool(flag)
