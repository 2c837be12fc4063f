"""What an app may hand to ``run``, and how it becomes the named arrays that an artifact takes.

    array                    ─┐ every rung takes the same input
    {name: array}            ─┴─────────────────────────────────► checked ─► {name: array}
    fill(plan) ─► either one ──► asked when it is clear what runs ─┘

A mistake of the caller must never count against an artifact, so it is found before a runtime is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeslim.core.manifest import TensorInfo
from edgeslim.errors import UsageError
from edgeslim.runtime.deployment import ArtifactPlan
from edgeslim.targets.base import check_inputs

Arrays = Mapping[str, NDArray[Any]]
Given = NDArray[Any] | Arrays
Fill = Callable[[ArtifactPlan], Given]


def named_inputs(given: object, taken: Sequence[TensorInfo]) -> dict[str, NDArray[Any]]:
    """``given`` under the names of ``taken``.

    Raises:
        UsageError: not arrays, or other names, shapes or dtypes.
    """
    if isinstance(given, Mapping):
        found = dict(given)
    elif len(taken) == 1:
        found = {taken[0].name: given}
    else:
        raise UsageError(
            f"there are {len(taken)} inputs: give a mapping of {', '.join(tensor.name for tensor in taken)}"
        )
    for name, array in found.items():
        if not isinstance(array, np.ndarray):
            raise UsageError(f"input {name!r} takes a numpy array, got {type(array).__name__}")
    check_inputs(taken, found)
    return found
