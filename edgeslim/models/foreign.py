"""Weights out of the files that people have: which of their dictionaries, and what their keys are called.

    document ─► container ─► prefixes ─► {key: tensor} ─► ``layouts`` or ``published``
                   │            └ module. (DDP), _orig_mod. (torch.compile), model. (Lightning), in any order
                   └ state_dict_ema, model_ema, ema, else state_dict, model; else the document itself

An average over training steps is better than the last step, and what such a file is kept for: it is preferred.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from edgeslim.errors import CheckpointError

_AVERAGED = ("state_dict_ema", "model_ema", "ema")
_CONTAINERS = (*_AVERAGED, "state_dict", "model")
_PREFIXES = ("module.", "model.")
_COMPILED = "_orig_mod."
_BOOKKEEPING = ("n_averaged",)  # torch.optim.swa_utils.AveragedModel's own counter


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weights:
    """Tensors by key, the wrappers' prefixes taken off; ``notes`` say which of a file's weights these are."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def weights_of(document: Any, what: str) -> Weights:
    """The weights in ``document``: a state dict, or what training programs wrap around one.

    Raises:
        CheckpointError: there is no dictionary of tensors in it.
    """
    path: list[str] = []
    found = document
    while isinstance(found, Mapping) and not _is_state_dict(found):
        inner = [name for name in _CONTAINERS if isinstance(found.get(name), Mapping) and found[name]]
        if not inner:
            break
        path.append(inner[0])
        found = found[inner[0]]
    if not isinstance(found, Mapping) or not _is_state_dict(found):
        raise CheckpointError(
            f"{what} is neither an edgeslim checkpoint nor a state dict",
            hint=f"a state dict maps names to tensors; it may stand under {', '.join(_CONTAINERS)}",
        )
    averaged = [name for name in path if name in _AVERAGED]
    notes = (f"the averaged weights are taken ({'.'.join(path)})",) if averaged else ()
    return Weights(tensors=_without_prefixes(found), notes=notes)


def _is_state_dict(document: Mapping[Any, Any]) -> bool:
    return bool(document) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in document.items())


def _without_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keys as the network's author chose them. ``torch.compile`` may have wrapped any part; other prefixes go where
    most keys have them, so that a stranger among the keys (a loss with weights, say) is still seen."""
    named = {key.replace(_COMPILED, ""): tensor for key, tensor in tensors.items() if key not in _BOOKKEEPING}
    while prefixes := [p for p in _PREFIXES if 2 * sum(key.startswith(p) for key in named) > len(named)]:
        named = {key.removeprefix(prefixes[0]): tensor for key, tensor in named.items()}
    return named
