"""Reading weights from files nobody vouches for: nothing executed, everything checked before it is used."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from edgeslim.errors import CheckpointError, did_you_mean
from edgeslim.models.registry import skeleton
from edgeslim.models.selection import Selection
from edgeslim.models.spec import ModelSpec
from edgeslim.models.torch_file import COPY_AGAIN, NO_PYTORCH_FILE, check_file, check_values

StatisticsByNet = dict[Selection, dict[str, tuple[Tensor, Tensor]]]
"""Net → BatchNorm name → (mean, population variance)."""

V = TypeVar("V")


def read_document(path: Path) -> Any:
    """What ``torch.save`` wrote, with ``weights_only=True``, on the CPU.

    Raises:
        CheckpointError: no such file, not such a file, truncated, or it holds pickled objects of foreign classes.
    """
    path = Path(path)
    if path.is_dir() or not os.path.lexists(path):
        raise CheckpointError(
            f"there is no file {path}" if not path.is_dir() else f"{path} is a directory, not a file",
            hint="a checkpoint is expected; edgeslim train --model us_mobilenet_v2 --data digits --out us.pt makes one",
        )
    size_bytes = check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what a damaged file asks of torch
            document = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused_pickle(path, error) from error
    except Exception as error:  # torch.load answers damage with a dozen kinds of exception
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"cannot read {path}: {NO_PYTORCH_FILE} ({reason})",
            hint=COPY_AGAIN,
        ) from error
    check_values(document, str(path), size_bytes)
    return document


def _refused_pickle(path: Path, error: pickle.UnpicklingError) -> CheckpointError:
    text = str(error)
    if "Unsupported global" in text or "Unsupported class" in text or "GLOBAL" in text:
        return CheckpointError(
            f"{path} holds pickled objects besides tensors (a resume file of another program?); "
            "they could run code when read, so it is refused",
            hint="where you trust it, write only the weights: torch.save({'model': state_dict}, 'weights.pt')",
        )
    return CheckpointError(
        f"cannot read {path}: {NO_PYTORCH_FILE}",
        hint=COPY_AGAIN,
    )


def check_names(expected: Iterable[str], met: Iterable[Any], what: str) -> None:
    """Raise CheckpointError naming the first missing, else the first unexpected key."""
    expected, met = list(expected), list(met)
    known, given = set(expected), set(met)
    for name in expected:
        if name not in given:
            raise CheckpointError(f"{what}: missing key {name!r}", hint=did_you_mean(name, _texts(given - known)))
    for name in met:
        if name not in known:
            raise CheckpointError(f"{what}: unexpected key {name!r}"[:300])


def _texts(names: set[Any]) -> list[str]:
    return sorted(name for name in names if isinstance(name, str))


def checked_tensor(value: Any, shape: tuple[int, ...], what: str) -> Tensor:
    """``value`` as a contiguous float32 CPU tensor of its own.

    Raises:
        CheckpointError: not a dense floating tensor of this shape, or a NaN or infinity in it.
    """
    if not isinstance(value, Tensor) or value.layout != torch.strided or not value.is_floating_point():
        met = f"{value.dtype} tensor" if isinstance(value, Tensor) else type(value).__name__
        raise CheckpointError(f"{what}: expected a floating-point tensor, got {met}")
    if tuple(value.shape) != shape:
        raise CheckpointError(f"{what}: expected shape {shape}, got {tuple(value.shape)}")
    tensor = value.detach().to(device="cpu", dtype=torch.float32, copy=True).contiguous()
    if not bool(torch.isfinite(tensor).all()):
        raise CheckpointError(f"{what}: holds NaN or infinity", hint="this training run diverged; use an earlier file")
    return tensor


def checked_state_dict(spec: ModelSpec, state_dict: Any, what: str) -> dict[str, Tensor]:
    """All weights of ``spec``'s network, each key and shape checked.

    Raises:
        CheckpointError: names the first missing, unexpected, misshapen or non-finite key.
    """
    if not isinstance(state_dict, Mapping) or not all(isinstance(key, str) for key in state_dict):
        raise CheckpointError(f"{what}: expected a dictionary of tensors, got {type(state_dict).__name__}")
    expected = {name: tuple(tensor.shape) for name, tensor in skeleton(spec).state_dict().items()}
    check_names(expected, state_dict, what)
    return {name: checked_tensor(state_dict[name], shape, f"{what}: {name}") for name, shape in expected.items()}


def checked_statistics(spec: ModelSpec, statistics: Any, what: str) -> StatisticsByNet:
    """Statistics of every BatchNorm of every net of ``statistics``, by the net's channels.

    Raises:
        CheckpointError: names the first missing, unexpected, misshapen, non-finite or negative entry.
        WidthError, ModelError: the model has no such net.
    """
    if not isinstance(statistics, Mapping):
        raise CheckpointError(f"{what}: expected statistics by net, got {type(statistics).__name__}")
    model = skeleton(spec)
    norms = model.norms()
    checked: StatisticsByNet = {}
    for asked, by_name in statistics.items():
        net = model.selection(asked)
        if not isinstance(by_name, Mapping):
            raise CheckpointError(f"{what}: statistics of net {net} are no dictionary")
        check_names(norms, by_name, f"{what}: statistics of net {net}")
        checked[net] = {}
        for name, norm in norms.items():
            pair, shape = by_name[name], (norm.outputs.at(net),)
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise CheckpointError(f"{what}: statistics of {name} in net {net} are no pair of mean and variance")
            mean = checked_tensor(pair[0], shape, f"{what}: mean of {name} in net {net}")
            var = checked_tensor(pair[1], shape, f"{what}: variance of {name} in net {net}")
            if bool((var < 0).any()):
                raise CheckpointError(f"{what}: variance of {name} in net {net} is negative")
            checked[net][name] = (mean, var)
    return in_order(checked)


def in_order(by_net: Mapping[Selection, V]) -> dict[Selection, V]:
    """The same, fewest channels first."""
    return {net: by_net[net] for net in sorted(by_net, key=lambda net: (net.channels, net.label))}
