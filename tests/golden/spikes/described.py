"""What a spike hands over: masters with parts, nets, an exporter's files, and the constants that stand in them.

    parts, masters ─┬─► constants (arithmetic.py) ─► where they stand (look.py)
    nets (cut, fold) ───►  torch module (layers.py) ─► exporter's files (exporters.py)

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """Channels that are cut together. A net may leave all of an ``optional`` one out."""

    name: str
    size: int
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Master:
    """One full-size constant.

    ``axes``: per dimension the parts (by index) that stand along it. ``rows``: the axis of output channels, 1 for a
    transposed convolution. ``groups``: of the convolution at full size; a depthwise one has as many as rows.
    ``values`` is None for an ``own`` master.
    """

    name: str
    role: str  # weight: takes scales | tensor: cut, never scaled | own: every net brings its own numbers
    axes: tuple[tuple[int, ...], ...]
    values: Float32 | None
    rows: int = 0
    groups: int = 1
    bias: str | None = None  # of a weight without shift: the tensor master with its bias


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fold:
    """What a net brings to one master; ``input_scale`` is that of the int8 tensor which a weight reads."""

    in_scale: Float32 | None = None
    scale: Float32 | None = None
    shift: Float32 | None = None
    own: Float32 | None = None
    input_scale: Float32 | None = None  # (1,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Net:
    """``cut``: the first n of every part. ``folds``: by master, where there is something to say."""

    id: str
    cut: tuple[int, ...]
    folds: Mapping[str, Fold]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Place:
    """``path`` at byte ``offset`` holds positions ``first`` to ``first + rows`` of the constant's axis 0 as ``dtype``.

    ``layout`` names the constant's axes from the slowest to the fastest.
    """

    path: str
    offset: int
    layout: tuple[int, ...]
    first: int
    rows: int
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
    parts: tuple[Part, ...]
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
    np.savez_compressed(folder / "arrays.npz", allow_pickle=False, **arrays)
    (folder / "spike.json").write_text(json.dumps(document, separators=(",", ":")) + "\n")


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
        parts=tuple(Part(**part) for part in document["parts"]),
        masters=tuple(Master(**full(master)) for master in document["masters"]),
        nets=tuple(Net(id=net["id"], cut=full(net["cut"]), folds=net["folds"]) for net in nets),
        artifacts=tuple(_artifact(full(item), folder) for item in document["artifacts"]),
    )


def _artifact(item: dict[str, Any], folder: Path) -> Artifact:
    constants = tuple(Constant(**{**c, "places": tuple(Place(**p) for p in c["places"])}) for c in item["constants"])
    bare = Artifact(**{**item, "files": {}, "constants": constants})
    root = folder / "files" / bare.id
    return Artifact(
        **{**item, "files": {path: (root / path).read_bytes() for path in item["files"]}, "constants": constants}
    )
