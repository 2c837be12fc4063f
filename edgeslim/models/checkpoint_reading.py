"""Reading weights from files nobody vouches for: nothing executed, everything checked before it is used."""

from __future__ import annotations

import argparse
import math
import os
import pickle
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from edgeslim.core.pixels import ImageContract
from edgeslim.core.strict_json import StrictJsonError, decode
from edgeslim.errors import CheckpointError, ImageError, MissingExtraError, did_you_mean
from edgeslim.files import open_file
from edgeslim.models.registry import skeleton
from edgeslim.models.selection import Selection
from edgeslim.models.spec import ModelSpec
from edgeslim.models.torch_file import COPY_AGAIN, NO_PYTORCH_FILE, check_file, check_values

StatisticsByNet = dict[Selection, dict[str, tuple[Tensor, Tensor]]]
"""Net → BatchNorm name → (mean, population variance)."""

V = TypeVar("V")


def read_document(path: Path) -> Any:
    """What ``torch.save`` wrote, with ``weights_only=True``, on the CPU; or the tensors of a safetensors file.

    Of foreign classes only ``argparse.Namespace`` is allowed, which training programs keep their options in: reading
    one sets attributes and runs nothing.

    Raises:
        CheckpointError: no such file, not such a file, truncated, or it holds pickled objects of other classes.
        MissingExtraError: a safetensors file, and nothing that reads it.
    """
    path = Path(path)
    if path.is_dir() or not os.path.lexists(path):
        raise CheckpointError(
            f"there is no file {path}" if not path.is_dir() else f"{path} is a directory, not a file",
            hint="a checkpoint is expected; edgeslim train --model us_mobilenet_v2 --data digits --out us.pt makes one",
        )
    if _is_safetensors(path):
        return _read_safetensors(path)
    size_bytes = check_file(path)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
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


def _is_safetensors(path: Path) -> bool:
    """After eight bytes of length its JSON begins."""
    try:
        with os.fdopen(open_file(path), "rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError as error:
        raise MissingExtraError("safetensors", "train") from error
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("format") == "edgeslim":
                raise CheckpointError(
                    f"{path} is a bundle, not a checkpoint", hint=f"edgeslim inspect {path} shows what is in it"
                )
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no dictionary
    except (SafetensorError, OSError, TypeError) as error:
        raise CheckpointError(
            f"cannot read {path}: truncated, damaged or no safetensors file ({error})",
            hint="copy the file again and compare its size with the original's",
        ) from error


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
    """Raise CheckpointError naming the missing and the unexpected keys, five of each."""
    expected, met = list(expected), list(met)
    known, given = set(expected), set(met)
    missing = [name for name in expected if name not in given]
    unexpected = [name for name in met if name not in known]
    if missing or unexpected:
        kinds = (("missing", missing), ("unexpected", unexpected))
        told = "; ".join(f"{kind} {_listed(names)}" for kind, names in kinds if names)
        texts = sorted(name for name in unexpected if isinstance(name, str))
        hint = did_you_mean(missing[0], texts) if missing else None
        raise CheckpointError(f"{what}: {told}"[:600], hint=hint)


_LISTED = 5


def _listed(names: list[str]) -> str:
    told = ", ".join(repr(name) for name in names[:_LISTED])
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"key{'s' if len(names) > 1 else ''} {told}{more}"


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


def read_input(document: Any, spec: ModelSpec, what: str) -> ImageContract | None:
    """What ``spec``'s nets want to see.

    Raises:
        CheckpointError: no such contract, or one of another size.
    """
    if document is None:
        return None
    try:
        contract = decode(ImageContract, document)
    except (StrictJsonError, ImageError) as error:
        raise CheckpointError(f"{what}: its input: {error}"[:300]) from error
    if (contract.channels, contract.height, contract.width) != (spec.in_channels, spec.input_size, spec.input_size):
        raise CheckpointError(f"{what}: its input has another size than its net")
    return contract


def read_labels(document: Any, what: str) -> tuple[str, ...] | None:
    """The classes' names.

    Raises:
        CheckpointError: no list of text.
    """
    if document is None:
        return None
    if not isinstance(document, list | tuple) or not all(isinstance(label, str) for label in document):
        raise CheckpointError(f"{what}: labels are a list of text")
    return tuple(document)


def plain_values(value: Any, what: str) -> Any:
    """``value`` if it is made of plain finite JSON-like values only (keys may be whole numbers)."""
    if isinstance(value, str):
        return str(value)  # torch.__version__ is a str of a class that weights_only loading refuses
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list | tuple):
        return [plain_values(item, what) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str | int) for key in value):
        return {key: plain_values(item, f"{what}.{key}") for key, item in value.items()}
    raise CheckpointError(f"{what}: expected plain finite values, got {shown(value)}")


def shown(value: Any) -> str:
    """What a file holds, for a message: short, whatever it is."""
    return repr(value)[:40] if isinstance(value, str | int | float | None) else f"of type {type(value).__name__}"
