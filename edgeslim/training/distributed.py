"""Several processes, one run (``torchrun``).

    every rank: same weights, same widths, its share of the batch
        ─► backward of all widths, locally ─► one flat all-reduce of the gradients ─► the same step everywhere

DistributedDataParallel reduces during every backward and expects each parameter to take part in it. A sandwich
step has one backward per width, and a private BatchNorm takes part in only one of them; so the gradients are
summed once, after the last width. BatchNorm normalises each rank's own share.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """This process among all that train together."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks to people."""
        return self.rank == 0

    def share_weights(self, module: nn.Module) -> None:
        """Rank 0's parameters and buffers go to all."""
        if self.count > 1:
            for tensor in (*module.parameters(), *module.buffers()):
                dist.broadcast(tensor.detach(), src=0)

    def average(self, parameters: Iterable[nn.Parameter], losses: Tensor) -> Tensor:
        """One all-reduce of all gradients, and of the losses, which come back as their means, (n,).

        The same widths ran everywhere, so the same parameters have gradients. Losses go along so that every rank can
        look at them whenever its clock says so, without waiting for the others.
        """
        if self.count == 1:
            return losses
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([*(gradient.flatten() for gradient in gradients), losses.to(gradients[0].dtype)])
        dist.all_reduce(flat)
        flat /= self.count
        *pieces, means = torch.split(flat, [*(gradient.numel() for gradient in gradients), len(losses)])
        torch._foreach_copy_(gradients, [p.view(g.shape) for p, g in zip(pieces, gradients, strict=True)])
        return means.to(losses.dtype)


ALONE = Ranks()


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the processes that ``torchrun`` started; alone when it did not."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(rank=dist.get_rank(), count=dist.get_world_size())
    finally:
        dist.destroy_process_group()
