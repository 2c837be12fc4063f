"""What a spike hands over: masters with parts, nets, an exporter's files, and the constants that stand in them.

    axes ── parts ──┐
    masters ────────┼─► constants (arithmetic.py) ─► where they stand (look.py)
    nets (cuts, folds) ─► torch module (layers.py) ─► exporter's files (exporters.py)

A spike folder holds ``spike.json``, ``arrays.npz`` and ``files/<artifact id>/<path>``; ``load`` needs numpy only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]
Parts = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Master:
    """One full-width tensor.

    ``axes`` index the spike's list of axes, one per dimension. ``groups`` are those of the convolution at full width
    (a depthwise one has as many as rows); its columns are those of one group.
    """

    name: str
    role: str  # weight: takes scales | own: bias of the weight of the same name | tensor: cut, never scaled
    values: Float32
    axes: tuple[int, ...]
    rows_axis: int = 0
    groups: int = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fold:
    """What a net adds to one weight; ``input_scale`` is that of the int8 tensor which the weight reads."""

    in_scale: Float32 | None = None
    scale: Float32 | None = None
    shift: Float32 | None = None
    input_scale: np.float32 | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Net:
    """``cuts``: per axis, how many of every part. ``folds``: per weight master."""

    id: str
    cuts: tuple[Parts, ...]
    folds: Mapping[str, Fold]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Place:
    """``path`` at byte ``offset`` holds the constant's axes in the order ``layout`` as ``dtype``."""

    path: str
    offset: int
    layout: tuple[int, ...]
    dtype: str  # f32 f16 f16-coreml i8 i32 | sha256 (of those bytes, 64 hexadecimal digits)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Constant:
    """``kind`` of ``master`` at the artifact's net, in the master's order of axes, and every place where it stands."""

    kind: str
    master: str
    values: Array
    places: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Artifact:
    target: str
    precision: str
    net: str
    input_shape: tuple[int, ...]  # NCHW
    files: Mapping[str, bytes]
    constants: tuple[Constant, ...] = ()

    @property
    def id(self) -> str:
        height, width = self.input_shape[2:]
        size = str(height) if height == width else f"{height}x{width}"
        return f"{self.target}-{self.precision}-{size}/{self.net}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spike:
    name: str
    axes: tuple[Parts, ...]
    masters: tuple[Master, ...]
    nets: tuple[Net, ...]
    artifacts: tuple[Artifact, ...] = field(default=())


def save(spike: Spike, folder: Path) -> None:
    """Write ``folder`` anew; arrays are named after their path in ``spike.json``."""
    arrays: dict[str, Array] = {}

    def plain(value: Any, where: str) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            arrays[where] = np.asarray(value)
            return {"array": where}
        if isinstance(value, bytes):
            return {"file": where}
        if isinstance(value, Mapping):
            return {key: plain(item, f"{where}/{key}") for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item, f"{where}/{index}") for index, item in enumerate(value)]
        return value

    folder.mkdir(parents=True, exist_ok=True)
    document = plain(asdict(spike), "")
    for artifact in spike.artifacts:
        for path, content in artifact.files.items():
            file = folder / "files" / artifact.id / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    np.savez_compressed(folder / "arrays.npz", **arrays)
    (folder / "spike.json").write_text(json.dumps(document, indent=1) + "\n")


def load(folder: Path) -> Spike:
    """The inverse of ``save``."""
    arrays = np.load(folder / "arrays.npz")

    def full(value: Any) -> Any:
        if isinstance(value, dict):
            return arrays[value["array"]] if value.keys() == {"array"} else {k: full(v) for k, v in value.items()}
        return tuple(full(item) for item in value) if isinstance(value, list) else value

    document = json.loads((folder / "spike.json").read_text())
    nets = [{**net, "folds": {k: Fold(**full(v)) for k, v in net["folds"].items()}} for net in document["nets"]]
    return Spike(
        name=document["name"],
        axes=full(document["axes"]),
        masters=tuple(Master(**full(master)) for master in document["masters"]),
        nets=tuple(Net(id=net["id"], cuts=full(net["cuts"]), folds=net["folds"]) for net in nets),
        artifacts=tuple(_artifact(full(item), folder) for item in document["artifacts"]),
    )


def _artifact(item: dict[str, Any], folder: Path) -> Artifact:
    constants = tuple(Constant(**{**c, "places": tuple(Place(**p) for p in c["places"])}) for c in item["constants"])
    bare = Artifact(**{**item, "files": {}, "constants": constants})
    root = folder / "files" / bare.id
    return Artifact(
        **{**item, "files": {path: (root / path).read_bytes() for path in item["files"]}, "constants": constants}
    )
