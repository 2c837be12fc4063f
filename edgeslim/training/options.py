"""The options of ``edgeslim train``, the same on the command line, in Python and in ``us.args.json``.

    command line, args.json (--config) ─► TrainOptions ─► edgeslim.train ─► args.json beside the checkpoint

Nothing here needs PyTorch.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgeslim.core.strict_json import StrictJsonError, decode, encode, parse
from edgeslim.errors import UsageError, did_you_mean
from edgeslim.files import read_file, write_atomically

MAX_ARGS_BYTES = 1 << 20

Schedule = Literal["cosine", "linear"]
Optimizer = Literal["sgd", "adamw"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """One run. None: what suits the data set or the network, as ``edgeslim train --help`` says.

    Widths are texts as on the command line: ``widths`` ``"0.35:1.0"`` (for an S network ``"0.25,0.5,1.0"``), ``ladder``
    ``"0.35,0.5,1.0"`` or a number of widths, ``trained_widths`` those of a published state dict that ``init`` or
    ``teacher`` names.
    """

    model: str | None = None
    data: str = "digits"
    task: str = "classify"
    data_root: str | None = None
    download: bool = False
    images: int | None = None
    val_images: int | None = None
    calib_images: int | None = None
    test_images: int | None = None
    workers: int = 2
    widths: str | None = None
    ladder: str | None = None
    input_size: int | None = None
    norm: Literal["batch", "none"] = "batch"
    init: str | None = None
    trained_widths: str | None = None
    teacher: str = "none"
    epochs: int | None = None
    batch_size: int | None = None
    optimizer: Optimizer = "sgd"
    lr: float | None = None
    schedule: Schedule = "cosine"
    warmup: float = 1.0
    weight_decay: float | None = None
    label_smoothing: float | None = None
    clip: float = 5.0
    jitter: float = 0.0
    n_widths: int | None = None
    sample: Literal["ladder", "continuous"] | None = None
    no_distill: bool = False
    plain_distill: bool = False
    no_bounds: bool = False
    alone: str | None = None
    seed: int = 0
    device: str = "auto"
    save_seconds: float = 60.0
    tensorboard: str | None = None

    def write(self, path: Path, out: Path) -> None:
        """As ``args.json`` of the run whose result is ``out``; ``read_args`` reads it back."""
        text = json.dumps({"out": str(out), **encode(self)}, indent=2, ensure_ascii=False) + "\n"
        with write_atomically(path, overwrite=True) as stream:
            stream.write(text.encode())


def read_args(path: Path) -> dict[str, Any]:
    """The options in an ``args.json``, checked, and ``out`` where it has one; those that are missing stay out.

    Raises:
        UsageError: unreadable, not JSON, an unknown option or a value of another kind.
    """
    hint = "edgeslim train writes one beside its checkpoint, such as us.args.json"
    try:
        text = read_file(path, most_bytes=MAX_ARGS_BYTES)
    except OSError as error:
        raise UsageError(f"cannot read the options in {path}: {error.strerror}", hint=hint) from None
    try:
        document = parse(text)
        if not isinstance(document, dict):
            raise StrictJsonError(f"expected an object, got {type(document).__name__}")
        known = {field.name for field in dataclasses.fields(TrainOptions)} | {"out"}
        for name in document:
            if name not in known:
                raise UsageError(f"{path} has an unknown option {name!r}", hint=did_you_mean(name, known) or hint)
        if not isinstance(document.get("out", ""), str):
            raise StrictJsonError("out: expected text")
        decode(TrainOptions, {name: value for name, value in document.items() if name != "out"})
    except (StrictJsonError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} holds no options: {error}", hint=hint) from None
    return document
