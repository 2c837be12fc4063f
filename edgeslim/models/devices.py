"""The device that a run uses, and how exactly it computes there."""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager, nullcontext

import torch

from edgeslim.errors import HostError, UsageError


def pick(name: str) -> torch.device:
    """``cpu``, ``cuda``, ``cuda:1`` or ``auto``: CUDA where there is one. A process of ``torchrun`` takes the GPU of
    its own number.

    Raises:
        UsageError: another kind of device, or one GPU for several processes.
        HostError: no CUDA here, or not so many GPUs.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    known = re.fullmatch(r"cpu|cuda(?::(\d+))?", name)  # torch.device takes cuda:256 for GPU 0
    if known is None:
        raise UsageError(f"no such device {name!r}", hint="--device cpu, cuda or cuda:0")
    if name == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise HostError("this machine has no CUDA device that PyTorch can use", hint="--device cpu")
    count, processes = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if known[1] is not None and processes > 1:
        raise UsageError(f"{processes} processes cannot share {name}", hint="--device cuda gives each its own GPU")
    index = int(known[1] or os.environ.get("LOCAL_RANK", "0"))
    if index >= count:
        hint = (
            f"--nproc-per-node {count}, or --device cpu" if processes > 1 else f"--device cuda:{count - 1} is the last"
        )
        raise HostError(f"no GPU {index} here: there are {count}", hint=hint)
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def mixed(device: torch.device) -> AbstractContextManager[object]:
    """For training: bf16 on CUDA. On CPUs bf16 is slower than float32 in channels_last unless they have AMX."""
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()


def exact(device: torch.device) -> AbstractContextManager[object]:
    """For calibration and evaluation: float32 as it says. PyTorch lets convolutions on CUDA round to TF32 (10 bits of
    mantissa) otherwise, a hundred times what calibration promises."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False) if device.type == "cuda" else nullcontext()
