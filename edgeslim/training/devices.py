"""The device that a run uses, and how exactly it computes there."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext

import torch

from edgeslim.errors import HostError, UsageError


def pick(name: str) -> torch.device:
    """``cpu``, ``cuda``, ``cuda:1`` or ``auto``: CUDA where there is one. A process of ``torchrun`` takes the GPU of
    its own number unless one is named.

    Raises:
        UsageError: another kind of device.
        HostError: no CUDA here, or not so many GPUs.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"no such device {name!r}", hint="--device cpu, cuda or cuda:0")
    if device.type == "cpu":
        return device
    if not torch.cuda.is_available():
        raise HostError("this machine has no CUDA device that PyTorch can use", hint="--device cpu")
    index = int(os.environ.get("LOCAL_RANK", "0")) if device.index is None else device.index
    count = torch.cuda.device_count()
    if index >= count:
        raise HostError(
            f"no GPU {index} here: there are {count}", hint=f"--device cuda, with at most {count} processes"
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def mixed(device: torch.device) -> AbstractContextManager[object]:
    """For training: bf16 on CUDA. On CPUs bf16 is slower than float32 in channels_last unless they have AMX."""
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()


def exact(device: torch.device) -> AbstractContextManager[object]:
    """For calibration and evaluation: float32 as it says. PyTorch lets convolutions on CUDA round to TF32 (10 bits of
    mantissa) otherwise, a hundred times what calibration promises."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False) if device.type == "cuda" else nullcontext()
